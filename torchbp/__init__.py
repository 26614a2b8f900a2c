"""torchbp: backpropagation with its formulas in plain sight."""

from torchbp import nn, ops
from torchbp.conversion import convert, revert

__version__ = "0.1.0"
__all__ = ["convert", "nn", "ops", "revert"]
