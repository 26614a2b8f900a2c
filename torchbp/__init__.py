"""torchbp: backpropagation with its formulas in plain sight."""

from torchbp import nn, ops

__version__ = "0.1.0"
__all__ = ["nn", "ops"]
