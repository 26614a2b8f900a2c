"""torchbp: backpropagation with its formulas in plain sight."""

import importlib

from torchbp import nn, ops
from torchbp.conversion import convert, revert
from torchbp.engine import SGD, backprop
from torchbp.nn.mlp import stack

__version__ = "0.1.0"
__all__ = ["SGD", "backprop", "check", "convert", "explain", "nn", "ops", "revert", "stack", "testing"]

# name: the module that has it, imported when it is first used: training needs none of them
LATER = {"check": "torchbp.testing", "explain": "torchbp.explanation"}


def __getattr__(name):
    if name == "testing":
        return importlib.import_module("torchbp.testing")
    if name in LATER:
        return getattr(importlib.import_module(LATER[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
