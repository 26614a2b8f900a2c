"""Gradients at other points and in low precisions, against those in float64."""

import math

import torch

from torchbp.testing.numerics.gradients import backward, generator, incoming_for
from torchbp.testing.numerics.tensors import is_inexact, largest, random_like
from torchbp.testing.report import Defect
from torchbp.testing.subject.naming import six_digits

OUT_OF_RANGE = 1e30  # float32 may overflow on the way to such a result
STEEP = 1e3
UNSTABLE = "likely cause: numbers that cancel, overflow or underflow in the backward; a fused formula is stable"


def results_at(subject, point, dtype, incoming=None):
    """(outputs, gradients) at a point, in a precision; None if the function refuses it, or an output is not finite."""
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


def is_real(tensor):
    return is_inexact(tensor) and not tensor.is_complex()


def agree(subject, point, dtype, words, found, usual, tolerance, forgive_noise=False):
    """Expect outputs and gradients in a low precision to be those in float64, but for the rounding of the inputs.

    Where they differ by more, all numbers are rounded otherwise, to see how much that changes the results in float64.

    Args:
        found: (outputs, gradients) in the low precision.
        usual: the size of a gradient at the usual point.
        forgive_noise: let the low-precision results, too, vary by what they change when their inputs are rounded
            otherwise. At extreme points rounding errors may be magnified, which is no defect of a formula.
    """
    outputs, low = found
    tolerance = max(tolerance, 8 * subject.precision.unit)  # both may compute in less, and round otherwise
    rounded = [t.to(dtype) if is_real(t) else t for t in point]
    incoming = incoming_for(subject, outputs, 7)
    exact = results_at(subject, rounded, torch.float64, incoming)
    if exact is None or subject.random.is_used:  # in another precision other numbers are drawn
        return
    names = [*subject.outputs.compared_names, *(f"the gradient of {name}" for name in subject.names())]
    sizes = [0.0] * len(outputs) + [usual] * len(low)
    rows = list(zip(names, (*outputs, *low), (*exact[0], *exact[1]), sizes, strict=True))
    unit = torch.finfo(dtype).eps
    # what underflows, and what is left where numbers cancel
    typical = [subject.size_of_outputs / 4] * len(outputs)
    typical += [subject.typical_gradient(name) for name in subject.names()]
    least = [1e3 * torch.finfo(dtype).tiny + 8 * unit * size for size in typical]
    spread = [0.0] * len(rows)
    for spread_is_known in (False, True):  # the spread costs much, and is seldom needed
        wrong = [
            row for row, s, t in zip(rows, spread, least, strict=True) if _differs(*row[1:], tolerance, 20 * s + t)
        ]
        if not wrong:
            return
        if not spread_is_known:
            spread = _spread(subject, rounded, unit, incoming, exact)
            if spread is None:
                return
            noise = _spread(subject, rounded, unit, incoming, found, dtype) if forgive_noise else None
            spread = [max(pair) for pair in zip(spread, noise or spread, strict=True)]
    name, a, b, _ = wrong[0]
    k = int((a.detach().to(b.dtype) - b.detach()).abs().reshape(-1).nan_to_num(math.inf).argmax())
    values = [six_digits(float(t.reshape(-1)[k].real)) for t in (a, b)]
    raise Defect(f"at {words}: {name} is {values[0]}, and {values[1]} in float64", [UNSTABLE])


def _differs(low, exact, size, tolerance, slack):
    """Whether numbers in a low precision are further from the exact ones than the tolerance and the slack."""
    limit = min(OUT_OF_RANGE, torch.finfo(low.dtype).max / 4)
    if not low.numel() or largest(exact) > limit or not bool(exact.isfinite().all()):
        return False
    if size and largest(exact) > STEEP * size:  # next to a pole, which an eps of the dtype may guard
        return False
    gap = float((low.detach().to(exact.dtype) - exact.detach()).abs().max())
    return not gap <= tolerance * max(largest(exact), size) + slack


def _spread(subject, point, unit, incoming, results, dtype=torch.float64):
    """How much each of the results changes if all inputs are rounded otherwise; None if the function refuses those."""
    source = generator(subject, 8)
    results = [*results[0], *results[1]]
    spread = [0.0] * len(results)
    for scale in (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1, 4):
        moved = [_rounded_otherwise(t, scale * unit, source) if is_real(t) else t for t in point]
        other = results_at(subject, moved, dtype, incoming)
        if other is None:
            return None
        spread = [max(s, largest(a - b)) for s, a, b in zip(spread, (*other[0], *other[1]), results, strict=True)]
    return spread


def _rounded_otherwise(tensor, unit, source):
    tensor = tensor.double()
    return tensor * (1 + unit * random_like(tensor, source))
