"""Torch's operations, one after the other, as statements in C."""
