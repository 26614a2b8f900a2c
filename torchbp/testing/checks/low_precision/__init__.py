"""Precisions lower than float64, and mixed ones."""
