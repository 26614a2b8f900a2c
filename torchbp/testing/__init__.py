"""The auditor of gradients, for any PyTorch code. It knows torch, and nothing of torchbp."""

from typing import TYPE_CHECKING

from torchbp._imports import lazy

if TYPE_CHECKING:
    from torchbp.testing.audit import GradientError, check
    from torchbp.testing.pytest_cases import case, gradcases
    from torchbp.testing.report import Report, Result

__all__ = ["GradientError", "Report", "Result", "case", "check", "gradcases"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(
        __name__,
        __all__,
        {
            "GradientError": "torchbp.testing.audit",
            "Report": "torchbp.testing.report",
            "Result": "torchbp.testing.report",
            "case": "torchbp.testing.pytest_cases",
            "check": "torchbp.testing.audit",
            "gradcases": "torchbp.testing.pytest_cases",
        },
        extra="test",
    )
