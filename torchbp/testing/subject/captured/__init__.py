"""Tensors and modules that a function uses without taking them as arguments."""
