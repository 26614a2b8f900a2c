"""What a subject is made of: its arguments, and what `check` was told."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Argument:
    """One tensor that the function takes: an input, or a parameter or a buffer of a module."""

    name: str
    tensor: torch.Tensor
    differentiable: bool
    kind: str  # "input", "parameter", "buffer", or "incoming" for the incoming gradient
    assumed: bool = False  # no input said requires_grad, so that every floating one is taken to


@dataclass(frozen=True)
class Options:
    """What `check` was told, for the checks to read."""

    eps: float | None = None
    atol: float | None = None
    rtol: float | None = None
    nondet_tol: float = 0.0
    batch_dims: object = None
    domain: object = None
    reference: object = None
    seed: int = 0


class CannotRun(ValueError):
    """The function raises at the inputs themselves, so that there is nothing to audit."""
