"""Gradients at other points and in other precisions, against those in float64."""

import math

import torch

from torchbp.testing.numerics.gradients import backward, generator, incoming_for
from torchbp.testing.numerics.tensors import is_inexact, largest, random_like
from torchbp.testing.report import Defect
from torchbp.testing.subject.naming import number

OUT_OF_RANGE = 1e30  # what float32 may well not hold on the way to the result
STEEP = 1e3
UNSTABLE = "likely cause: numbers that cancel, overflow or underflow in the backward; a fused formula is stable"


def at(subject, point, dtype, incoming=None):
    """Outputs and gradients at a point, in a precision; None where the function does not take it or gives no number."""
    wanted = subject.differentiable
    tensors = subject.fresh_tensors(wanted, point, dtype)
    try:
        outputs = subject.call(tensors)
    except Exception:
        return None
    if not all(bool(o.isfinite().all()) for o in outputs) or not any(o.requires_grad for o in outputs):
        return None
    incoming = incoming_for(subject, outputs, 7) if incoming is None else incoming
    incoming = [g.to(o.dtype) for g, o in zip(incoming, outputs, strict=True)]
    return outputs, backward(outputs, [tensors[i] for i in wanted], incoming)


def real(tensor):
    return is_inexact(tensor) and not tensor.is_complex()


def agree(subject, point, dtype, words, found, usual, fraction, forgive_noise=False):
    """Outputs and gradients in a low precision against those in float64, with what the rounding of inputs may cost.

    `forgive_noise`: and with what they themselves vary by, where the inputs are rounded otherwise: at extreme points
    the rounding on the way may be magnified, which is no defect of a formula.
    """
    outputs, low = found
    fraction = max(fraction, 8 * subject.precision.unit)  # both may compute in less, and round otherwise
    rounded = [t.to(dtype) if real(t) else t for t in point]
    incoming = incoming_for(subject, outputs, 7)
    exact = at(subject, rounded, torch.float64, incoming)
    if exact is None or subject.random.is_used:  # in another precision other numbers are drawn
        return
    names = [*subject.outputs.compared_names, *(f"the gradient of {name}" for name in subject.names())]
    sizes = [0.0] * len(outputs) + [usual] * len(low)
    rows = list(zip(names, (*outputs, *low), (*exact[0], *exact[1]), sizes, strict=True))
    unit = torch.finfo(dtype).eps
    # what underflows, and what is left where numbers cancel
    usual_sizes = [subject.outputs.largest / 4] * len(outputs) + [
        subject.typical_gradient(name) for name in subject.names()
    ]
    least = [1e3 * torch.finfo(dtype).tiny + 8 * unit * size for size in usual_sizes]
    spread = [0.0] * len(rows)
    for asked in (False, True):  # the spread costs much, and is seldom needed
        wrong = [row for row, s, t in zip(rows, spread, least, strict=True) if off(*row[1:], fraction, 20 * s + t)]
        if not wrong:
            return
        if not asked:
            spread = spread_of(subject, rounded, unit, incoming, exact)
            if spread is None:
                return
            noise = spread_of(subject, rounded, unit, incoming, found, dtype) if forgive_noise else None
            spread = [max(pair) for pair in zip(spread, noise or spread, strict=True)]
    name, a, b, _ = wrong[0]
    k = int((a.detach().to(b.dtype) - b.detach()).abs().reshape(-1).nan_to_num(math.inf).argmax())
    values = [number(float(t.reshape(-1)[k].real)) for t in (a, b)]
    raise Defect(f"at {words}: {name} is {values[0]}, and {values[1]} in float64", [UNSTABLE])


def off(low, exact, size, fraction, slack):
    """Whether numbers in a low precision are further from the exact ones than the fraction and the slack."""
    limit = min(OUT_OF_RANGE, torch.finfo(low.dtype).max / 4)
    if not low.numel() or largest(exact) > limit or not bool(exact.isfinite().all()):
        return False
    if size and largest(exact) > STEEP * size:  # next to a pole, which an eps of the dtype may guard
        return False
    gap = float((low.detach().to(exact.dtype) - exact.detach()).abs().max())
    return not gap <= fraction * max(largest(exact), size) + slack


def spread_of(subject, point, unit, incoming, exact, dtype=torch.float64):
    """How much the exact outputs and gradients change where all numbers are rounded otherwise; None if they cannot."""
    source = generator(subject, 8)
    exact = [*exact[0], *exact[1]]
    spread = [0.0] * len(exact)
    for scale in (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1, 4):
        moved = [rounded_otherwise(t, scale * unit, source) if real(t) else t for t in point]
        other = at(subject, moved, dtype, incoming)
        if other is None:
            return None
        spread = [max(s, largest(a - b)) for s, a, b in zip(spread, (*other[0], *other[1]), exact, strict=True)]
    return spread


def rounded_otherwise(tensor, unit, source):
    tensor = tensor.double()
    return tensor * (1 + unit * random_like(tensor, source))
