"""The auditor of gradients, for any PyTorch code. It knows torch, and nothing of torchbp."""

import importlib

__all__ = ["GradientError", "Report", "Result", "case", "check", "gradcases"]

# name: the module that has it. Each is imported when it is first used, so that pytest's plugin loads without torch.
_LATER = {
    "GradientError": "report",
    "Report": "report",
    "Result": "report",
    "case": "pytest_cases",
    "check": "audit",
    "gradcases": "pytest_cases",
}


def __getattr__(name):
    if name in _LATER:
        return getattr(importlib.import_module(f"torchbp.testing.{_LATER[name]}"), name)
    raise AttributeError(f"module 'torchbp.testing' has no attribute {name!r}")


def __dir__():
    return [*globals(), *_LATER]
