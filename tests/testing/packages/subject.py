"""What the table of audited packages is made of."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch


class Subject(NamedTuple):
    """A function or a module of a package, with inputs to audit it at."""

    name: str
    function: Callable
    inputs: Any  # as `torchbp.check` takes them
    known: dict = {}  # noqa: RUF012 - nobody alters it. {check: reason} of what fails: "defect: …" or "convention: …"
    options: dict = {}  # noqa: RUF012 - of `torchbp.check`


def numbers(*shape):
    """Normal numbers that require a gradient."""
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def positive(*shape):
    """Numbers between 0.5 and 1.5 that require a gradient."""
    return (torch.rand(shape, dtype=torch.float64) + 0.5).requires_grad_()


def probabilities(*shape):
    """Rows that add up to 1, and require a gradient."""
    return torch.randn(shape, dtype=torch.float64).softmax(-1).requires_grad_()


def labels(rows, count):
    return torch.randint(count, (rows,))


NO_GRAPH = "defect: the gradient has no graph: a second derivative lacks it, silently"
NO_CHECKPOINT = "defect: it reads ctx.saved_tensors twice, which checkpoints refuse"
