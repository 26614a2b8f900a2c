"""Derivatives: analytical and numerical, compared in each precision."""
