"""torchbp: backpropagation with its formulas in plain sight."""

from torchbp import nn, ops
from torchbp.conversion import convert, revert
from torchbp.engine import SGD, backprop
from torchbp.nn.mlp import stack

__version__ = "0.1.0"
__all__ = ["SGD", "backprop", "convert", "explain", "nn", "ops", "revert", "stack"]


def __getattr__(name):
    if name == "explain":  # on first use: training needs none of it
        from torchbp.explanation import explain

        return explain
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
