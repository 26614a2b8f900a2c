"""Gradients in low precision beside those in float64 at the same numbers.

A difference such as 1 − y² of tanh loses every digit where y is 1 but for rounding, in torch's own kernels too. So an
entry is measured by the usual size of the gradient. But where a row has one output, as of a loss, its greatest entry
must not be lost where a smaller one is right: σ(z) − y of the true class, whose row sums to 0. And where a number
overflows on the way, each entry is measured by itself.
"""

import torch

from torchbp.testing.numerics.gradients import backward, dense, generator
from torchbp.testing.numerics.rounding import Overflows
from torchbp.testing.numerics.tensors import is_inexact, largest, random_like
from torchbp.testing.subject.naming import entry, six_digits

OFF, RIGHT = 0.3, 0.1  # relative errors: more than a chain of a few roundings, and less
ALIKE = 0.25  # the size of incoming gradients of one sign: float16 holds the sum of 20,000 of them
_ROUNDINGS = 6  # how many roundings of the inputs' size a formula may add up
_DRAWS = 6
_WORST = 4  # entries


def gradients_at(subject, tensors, incoming=None, alike=False):
    """(outputs, gradients, incoming) for tensors in their dtypes; None if the function refuses them, or overflows.

    The incoming gradients are rounded to the dtypes of the outputs.
    """
    wanted = subject.differentiable
    tensors = [t.detach().clone().requires_grad_(i in wanted) for i, t in enumerate(tensors)]
    try:
        outputs = subject.call(tensors)
    except Exception:
        return None
    if not all(bool(o.isfinite().all()) for o in outputs) or not any(o.requires_grad for o in outputs):
        return None
    if incoming is None:
        source = generator(subject, 17)
        incoming = [random_like(o.detach().double(), source) for o in outputs]
        incoming = [ALIKE * (g.abs() + 1) / 2 for g in incoming] if alike else incoming
        incoming = [g.to(o.dtype) for g, o in zip(incoming, outputs, strict=True)]
    sent = [g.to(o.dtype) for g, o in zip(incoming, outputs, strict=True)]
    return outputs, backward(outputs, [tensors[i] for i in wanted], sent), incoming


def wrong_entry(subject, tensors, usual, by_row=False, alike=False):
    """(argument, words) of the worst entry of a gradient that is off by more than rounding explains; else None.

    Args:
        tensors: the point, in the dtypes to look at.
        usual: the size of a gradient at the usual point.
        by_row: look for the greatest entry of a row too.
        alike: send incoming gradients of one sign, so that sums over rows grow.
    """
    low = gradients_at(subject, tensors, alike=alike)
    if low is None:
        return None
    exact_point = [t.double() if is_inexact(t) else t for t in tensors]
    incoming = [g.double() for g in low[2]]
    exact = gradients_at(subject, exact_point, incoming)
    if exact is None:
        return None
    spread, overflows, count = None, None, sum(o.numel() for o in low[0])
    for k, (i, found, right) in enumerate(zip(subject.differentiable, low[1], exact[1], strict=True)):
        right, found = dense(tensors[i], right).double(), dense(tensors[i], found).double()
        dtype = tensors[i].dtype
        if not bool(right.isfinite().all()) or largest(right) > torch.finfo(dtype).max / 4:
            continue
        gap = (found - right).abs().nan_to_num(torch.inf)
        underflow = 16 * torch.finfo(dtype).tiny * torch.finfo(dtype).eps
        lenient = torch.full_like(right, OFF * max(largest(right), usual) + underflow)
        if by_row and count < right.numel():
            lenient = torch.where(_is_lost(gap, right), OFF * right.abs() + underflow, lenient)
        by_entry = OFF * right.abs() + torch.finfo(dtype).tiny
        if usual and not alike and overflows is None and bool((gap > by_entry).any()):
            overflows = _overflows(subject, tensors, low[2])
        allowed = torch.minimum(lenient, by_entry) if overflows else lenient
        if not bool((gap > allowed).any()):
            continue
        spread = spread or _spread(subject, tensors, exact_point, incoming, exact[1])
        off = gap > allowed + _ROUNDINGS * spread[k]
        for at in _worst(off, gap / allowed):
            alone = [torch.full_like(t, float(t.reshape(-1)[at])) if j == i else t for j, t in enumerate(tensors)]
            if not bool((gap > lenient).reshape(-1)[at]) and not _overflows(subject, alone, low[2]):
                continue  # another entry overflows, and here numbers may cancel
            numbers = [six_digits(float(t.reshape(-1)[at])) for t in (found, right)]
            where = entry(subject.arguments[i].name, at, tuple(right.shape))
            return i, f"the gradient of {where} is {numbers[0]}, and {numbers[1]} in float64 at the same numbers"
    return None


def _worst(off, ratio):
    """The indices of the entries that are off, those of the greatest ratios."""
    found = torch.where(off, ratio, 0.0).reshape(-1).topk(min(_WORST, off.numel()))
    return found.indices[found.values > 0].tolist()


def _overflows(subject, tensors, incoming):
    """Whether a number becomes infinite on the way of the backward, as x² does in float16 from 256 on."""
    wanted = subject.differentiable
    tensors = [t.detach().clone().requires_grad_(i in wanted) for i, t in enumerate(tensors)]
    try:
        outputs = subject.call(tensors)
        sent = [g.to(o.dtype) for g, o in zip(incoming, outputs, strict=True)]
        with Overflows() as found:
            backward(outputs, [tensors[i] for i in wanted], sent)
    except Exception:  # it refuses the numbers, or dislikes a dispatch mode
        return False
    return found.seen


def _is_lost(gap, right):
    """Whether an entry is the greatest one of a row whose sum is 0, and wrong, where another one is right."""
    if not right.dim():
        return torch.zeros_like(gap, dtype=torch.bool)
    sizes = right.abs()
    most = sizes.amax(-1, keepdim=True)
    is_right = (gap <= RIGHT * sizes) & (sizes > RIGHT * most)
    balanced = right.sum(-1, keepdim=True).abs() <= 1e-6 * most
    return (sizes >= 0.9 * most) & (most > 0) & balanced & is_right.any(-1, keepdim=True)


def _spread(subject, tensors, point, incoming, gradients):
    """How much each entry changes at most, if all inputs and incoming gradients are rounded otherwise."""
    source = generator(subject, 18)
    units = [torch.finfo(t.dtype).eps / 2 if is_inexact(t) else 0.0 for t in tensors]
    coarsest = max(units)
    found = [torch.zeros_like(g) for g in gradients]
    for _ in range(_DRAWS):
        moved = [t * (1 + u * random_like(t, source)) if u else t for t, u in zip(point, units, strict=True)]
        sent = [g * (1 + coarsest * random_like(g, source)) for g in incoming]
        other = gradients_at(subject, moved, sent)
        if other is None:
            return [torch.full_like(g, torch.inf) for g in gradients]
        found = [torch.maximum(f, (a - b).abs()) for f, a, b in zip(found, other[1], gradients, strict=True)]
    return found
