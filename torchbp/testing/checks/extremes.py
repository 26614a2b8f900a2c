"""Where the output is finite the gradient is, and float32 agrees with float64."""

import math

import torch

from torchbp.testing.context import custom
from torchbp.testing.gradient import incoming_for, need, usual_size
from torchbp.testing.names import number
from torchbp.testing.precision import OUT_OF_RANGE, agree, at
from torchbp.testing.report import Defect, Skipped
from torchbp.testing.tensors import is_inexact

SPECIAL = (0.0, 1.0, -1.0, 100.0, -100.0, 1e4, -1e4, "denormal", math.inf, -math.inf)
DENORMAL = {torch.float64: 1e-310, torch.float32: 1e-40}
CAUSE = "likely cause: ∞ − ∞, 0 · ∞ or 0 / 0 in the backward, or a torch.where over such a branch"


def extremes(subject):
    need(subject)
    if subject.eps > 1e-10:
        raise Skipped("the function does not take float64, which is the measure")
    usual = usual_size(subject)
    seen = 0
    for dtype in (torch.float64, torch.float32):
        for index, value, words, point in special_points(subject, dtype):
            words = f"{words}, {str(dtype).removeprefix('torch.')}"
            try:
                found = at(subject, point, dtype)
            except Defect as defect:
                raise Defect(f"at {words}: {defect.message}") from None
            if found is None:
                continue
            seen += 1
            # at ∞, 0 · ∞ is in the gradient of whatever is multiplied with it, and in many a chain of torch's own
            indices = subject.differentiable
            if math.isinf(value):
                indices = [index] if custom(found[0]) else []
            finite(subject, point, dtype, words, found, indices)
            if dtype == torch.float32 and not math.isinf(value) and value != DENORMAL[dtype]:
                agree(subject, point, dtype, words, found, usual, 0.01, forgive_noise=True)
    return f"{seen} points with finite outputs"


def special_points(subject, dtype):
    """(argument, number, words, point): one argument filled with a number, or with it as its first entry."""
    for i in subject.differentiable:
        argument = subject.arguments[i]
        if argument.tensor.numel() == 0 or argument.tensor.is_complex():
            continue
        low, high = subject.bounds(argument)
        wanted = SPECIAL if argument.kind == "input" else (0.0,)
        for value in dict.fromkeys([*wanted, *(v for v in (low, high) if math.isfinite(v))]):
            value = DENORMAL[dtype] if value == "denormal" else float(value)
            if not low <= value <= high:
                continue
            filled, first = torch.full_like(argument.tensor, value), argument.tensor.contiguous().clone()
            first.view(-1)[0] = value
            for tensor, words in ((filled, argument.name), (first, f"the first entry of {argument.name}")):
                point = [tensor if j == i else t for j, t in enumerate(subject.point)]
                yield i, value, f"{words} = {number(value)}", point


def finite(subject, point, dtype, words, found, indices):
    outputs, grads = found
    for i, gradient in zip(subject.differentiable, grads, strict=True):
        bad = (~gradient.isfinite()).reshape(-1)
        if i not in indices or gradient.is_complex() or not bool(bad.any()):
            continue
        entry = int(bad.nonzero()[0])
        if truly_infinite(subject, point, dtype, i, entry):
            continue
        value = number(float(gradient.reshape(-1)[entry]))
        output = number(float(outputs[0].reshape(-1)[0].real))
        raise Defect(
            f"at {words}: the output is finite, and the gradient of {subject.arguments[i].name} is {value}",
            [f"{int(bad.sum())} of its {bad.numel()} entries; the output is {output} …", CAUSE],
        )


def truly_infinite(subject, point, dtype, index, entry):
    """Whether the derivative itself is not finite, or too large for the dtype: the slopes grow as the step shrinks."""
    if dtype != torch.float64:
        exact = at(subject, [t.to(dtype) if is_inexact(t) else t for t in point], torch.float64)
        if exact is None:
            return True
        return not abs(float(exact[1][subject.differentiable.index(index)].reshape(-1)[entry])) < OUT_OF_RANGE
    where = float(point[index].reshape(-1)[entry])
    if math.isinf(where):
        return False

    def value(t):
        moved = subject.tensors(point=point)
        moved[index] = moved[index].contiguous()
        moved[index].view(-1)[entry] += t
        with torch.no_grad():
            outputs = subject(moved)
        return sum(
            float((g.conj() * o).sum().real) for g, o in zip(incoming_for(subject, outputs, 7), outputs, strict=True)
        )

    for side in (1.0, -1.0):
        unit = side * max(abs(where), 1.0)
        try:
            slopes = [(value(h * unit) - value(0.0)) / (h * unit) for h in (1e-4, 1e-5, 1e-6)]
        except Exception:  # out of its domain on that side
            continue
        if all(math.isfinite(s) for s in slopes):
            gap = max(slopes) - min(slopes)
            if gap <= 1e-2 * max(map(abs, slopes)) + 1e-8:
                return False
    return True
