"""The auditor of gradients, for any PyTorch code. It knows torch, and nothing of torchbp."""

import importlib

from torchbp.testing.audit import check
from torchbp.testing.report import GradientError, Report, Result

__all__ = ["GradientError", "Report", "Result", "case", "check", "gradcases"]


def __getattr__(name):
    """What needs pytest, imported when it is first used."""
    if name in ("case", "gradcases"):
        return getattr(importlib.import_module("torchbp.testing.pytest_cases"), name)
    raise AttributeError(f"module 'torchbp.testing' has no attribute {name!r}")
