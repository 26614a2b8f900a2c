"""Layers that shift numbers to mean 0 and scale them to variance 1."""
