"""In what precision a function computes, and what the audit therefore tolerates."""

from dataclasses import dataclass

import torch

from torchbp.testing.numerics.rounding import HALF_UNIT, unit_inside
from torchbp.testing.numerics.tensors import coarseness, flat, is_inexact, nudged


@dataclass(frozen=True)
class Precision:
    """Rounding units: 2.2e-16 in float64, 1.2e-7 in float32."""

    input_unit: float  # of the dtype of the arguments
    unit: float  # of the outputs, which may be computed in less than they are returned in
    is_half: bool  # it computes in bfloat16 or float16 somewhere
    draws: bool = False  # an operation in it draws random numbers, perhaps from a generator that it seeds itself
    removable: bool = False  # without the conversions inside, the function gives the same but for rounding

    @property
    def removes_rounding(self):
        """Whether numerical derivatives are taken without the function's conversions to a lower precision."""
        return self.removable and self.unit > self.input_unit

    @property
    def tolerance(self):
        """The relative difference between two ways to the same number that differ in the order of their sums."""
        return max(1e-6, 32 * self.unit)

    @property
    def cancellation_error(self):
        """The error to tolerate where numbers cancel, relative to the size of the operands."""
        return 1e3 * self.unit


def precision_of(subject):
    """Measured by calls at two points whose numbers float32 cannot hold."""
    given = max((torch.finfo(subject.arguments[i].tensor.dtype).eps for i in subject.differentiable), default=2.2e-16)
    unknown = Precision(given, given, given > HALF_UNIT)
    held = {i for i, a in enumerate(subject.arguments) if subject.is_large_model and a.kind == "parameter"}
    point = [t if i in held else nudged(t) for i, t in enumerate(subject.point)]
    try:
        outputs = subject.call_no_grad(point)
    except Exception:  # outside of its domain
        return unknown
    if not outputs:
        return unknown
    moved = [  # a zero is never rounded
        t + 0.0123 * (1 + t.abs()) if is_inexact(t) and i not in held else t for i, t in enumerate(subject.point)
    ]
    points = [point, subject.clamp_to_domain(moved)]
    unit, removable, draws = unit_inside(subject.call_no_grad, points, subject.outputs.largest)
    seen = coarseness(torch.cat([flat(output).double() for output in outputs]))
    returned = min(torch.finfo(output.dtype).eps for output in outputs)  # of 0 and 1 no rounding is seen
    return Precision(given, max(given, seen, unit, returned), max(unit, given) > HALF_UNIT, draws, removable)
