"""torchbp: backpropagation with its formulas in plain sight."""

from torchbp import nn, ops
from torchbp.conversion import convert, revert
from torchbp.engine import SGD, backprop
from torchbp.nn.mlp import stack

__version__ = "0.1.0"
__all__ = ["SGD", "backprop", "convert", "nn", "ops", "revert", "stack"]
