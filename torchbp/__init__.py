"""torchbp: backpropagation with its formulas in plain sight."""

import importlib

__version__ = "0.1.0"
__all__ = ["SGD", "backprop", "check", "convert", "explain", "nn", "ops", "revert", "stack", "testing"]

# name: the module that has it. Each is imported when it is first used, so that pytest's plugin loads without torch.
LATER = {
    "SGD": "torchbp.engine",
    "backprop": "torchbp.engine",
    "check": "torchbp.testing",
    "convert": "torchbp.conversion",
    "explain": "torchbp.explanation",
    "revert": "torchbp.conversion",
    "stack": "torchbp.nn.mlp",
}


def __getattr__(name):
    if name in ("nn", "ops", "testing"):
        return importlib.import_module(f"torchbp.{name}")
    if name in LATER:
        return getattr(importlib.import_module(LATER[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
