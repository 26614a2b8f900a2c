"""What an explanation consists of: one record for each quantity, in the order of the article."""

import math
from dataclasses import dataclass, replace

import torch

STAGES = {
    "forward": "Forward",
    "loss": "Loss",
    "backward": "Backward",
    "update": "Update",
    "again": "Forward again",
}


OVERFLOW = "numbers overflow on the way to it, in torch too"  # why nothing is compared


@dataclass(frozen=True)
class Factor:
    """One factor of the chain rule: `name` in words of the equations, such as ∂A1/∂Z1, and its tensor."""

    name: str
    tensor: torch.Tensor


@dataclass(frozen=True)
class Check:
    """A comparison of a record, and its verdict.

        ok:  |value − reference| ≤ bound

    by: what the reference is from.
    error, bound: the largest difference, and what rounding, or the step of a difference quotient, explains of it; of an
        element beyond its bound if there is one. None where there is no comparison.
    why: the reason, where there is none.
    """

    by: str
    error: float | None = None
    bound: float | None = None
    why: str = ""

    @property
    def ok(self):
        """None where there is no comparison; nan and inf are never ok."""
        return None if self.error is None else self.error <= self.bound < math.inf


@dataclass(frozen=True)
class Record:
    """One quantity of the step.

    name: Z1, A1, L, dL/dW1; of what comes after the update with a prime, W1′, Z1′, L′.
    stage: "forward", "loss", "backward", "update" or "again".
    number: of its linear layer, from 1; None of the loss. layer: the name of its module in the model.
    equation: it by other quantities. sizes: the same with their shapes, rows × units.
    tensor: its value.
    rule: the chain rule that it follows from, of a derivative. factors: those of the rule, one by one.
    numbers: the equation of its largest element, with the numbers filled in.
    why: a sentence.
    reference: what torch says, a tensor: its layer, autograd, or torch.optim.SGD.
    checks: the `Check` against it, and of a derivative that against central difference quotients, in float64.
    """

    name: str
    stage: str
    number: int | None
    layer: str
    equation: str
    tensor: torch.Tensor
    why: str
    sizes: str = ""
    rule: str = ""
    factors: tuple[Factor, ...] = ()
    numbers: str = ""
    reference: torch.Tensor | None = None
    checks: tuple[Check, ...] = ()

    @property
    def error(self):
        """The largest difference to the reference."""
        return self.checks[0].error

    @property
    def quotient_error(self):
        """The difference to a central difference quotient; None of what is no derivative, or where there is none."""
        return self.checks[1].error if len(self.checks) > 1 else None

    @property
    def by(self):
        """Who the reference is from, in a word."""
        return {"backward": "autograd", "update": "torch.optim.SGD"}.get(self.stage, "torch")

    def checked(self, reference, bound, *checks):
        """With its checks: against the reference, up to the bound, a number or a tensor, and those that are given. The
        same is ok, of inf and nan too; other numbers than an inf or a nan are not compared with it."""
        same = (self.tensor == reference) | (self.tensor.isnan() & reference.isnan())
        errors = torch.where(same, 0.0, (self.tensor - reference).abs())
        bounds = torch.as_tensor(bound, device=errors.device).expand_as(errors).where(reference.isfinite(), math.inf)
        error, bound = worst(errors, bounds.where(bounds.isfinite() | ~same, 0.0))
        check = Check(self.by, error, bound) if math.isfinite(bound) else Check(self.by, why=OVERFLOW)
        return replace(self, reference=reference, checks=(check, *checks))


def worst(errors, bounds):
    """The largest error and its bound, numbers, of those beyond their bounds if there are any; nan is the largest."""
    errors = errors.double().reshape(-1)
    bounds = torch.as_tensor(bounds, dtype=torch.float64, device=errors.device).reshape(-1).expand_as(errors)
    off = ~(errors <= bounds)
    among = errors.nan_to_num(nan=math.inf, posinf=math.inf)
    place = (among.where(off, -1.0) if off.any() else among).argmax()
    return errors[place].item(), bounds[place].item()
