"""Where the output is finite the gradient is, and float32 agrees with float64."""

import math

import torch

from torchbp.testing.diagnosis.elsewhere import expect_between_slopes, expect_right_along
from torchbp.testing.numerics.gradients import generator, incoming_for, need_float64, usual_size
from torchbp.testing.numerics.low_precision import OUT_OF_RANGE, agree, is_real, results_at
from torchbp.testing.numerics.tensors import largest, random_like
from torchbp.testing.report import Defect
from torchbp.testing.subject.graph import custom_nodes
from torchbp.testing.subject.naming import six_digits

_SPECIAL = (0.0, 1.0, -1.0, 100.0, -100.0, 1e4, -1e4, "denormal", math.inf, -math.inf)
_BRANCHES = (0.0, 1.0, -1.0, 100.0, -100.0)  # numbers at which functions change their formula
_LOW_PRECISION = (0.0, 10.0, -10.0, 100.0, -100.0)
_MOST_IN_FLOAT16 = 10.0  # of a function of torch's operations, such as 1 / (1 + x⁴): float16 ends at 65504
_FEW = 4096  # numbers of all arguments
_DENORMAL = {torch.float64: 1e-310, torch.float32: 1e-40}
_OVERFLOW = "likely cause: the forward overflows on the way, as exp(x) does from 89 on; a stable formula does not"
_CAUSE = "likely cause: ∞ − ∞, 0 · ∞ or 0 / 0 in the backward, or a torch.where over such a branch"


def extremes(subject):
    need_float64(subject)
    usual = usual_size(subject)
    seen = 0
    for dtype in (torch.float64, torch.float32):
        for index, value, words, point, _ in special_points(subject, dtype):
            if subject.precision.is_half and abs(value) > 1e3:  # out of the range of float16
                continue
            words = f"{words}, {str(dtype).removeprefix('torch.')}"
            subject.report_progress(f"at {words}")
            try:
                found = results_at(subject, point, dtype)
            except Defect as defect:
                raise defect.within(f"at {words}: ") from None
            if found is None:
                _expect_no_overflow(subject, point, dtype, words, value)
                continue
            seen += 1
            indices = [index] if math.isinf(value) else subject.differentiable
            if math.isinf(value) and not _is_alone(found, subject.differentiable.index(index)):
                indices = []
            _expect_finite(subject, point, dtype, words, found, indices)
            if dtype == torch.float32 and not math.isinf(value) and value != _DENORMAL[dtype]:
                agree(subject, point, dtype, words, found, usual, 0.01, forgive_noise=True)
    is_custom = bool(custom_nodes(subject.call(subject.fresh_tensors(subject.differentiable))))
    _audit_low_precision(subject, torch.bfloat16, 100.0)  # an eps of 1e-8 is 0 there, and 1 - 1e-6 is 1
    _audit_low_precision(subject, torch.float16, 100.0 if is_custom else _MOST_IN_FLOAT16)
    _audit_derivatives(subject, is_custom)
    return f"at {seen} points where the outputs are finite"


def _is_alone(found, k):
    """Whether at one infinite entry the gradient of a custom Function is not finite at that entry alone.

    The gradient of whatever is multiplied with ∞ is 0 · ∞, and so it is in many chains of operations.
    """
    outputs, gradients = found
    return len(custom_nodes(outputs)) == 1 and int((~gradients[k].isfinite()).sum()) <= 1


def _expect_no_overflow(subject, point, dtype, words, value):
    """Where the forward is finite in float64, and far from the end of float32, it is so in float32."""
    if dtype != torch.float32 or not 1 <= abs(value) < math.inf or subject.random.is_used:
        return
    rounded = [t.to(dtype) if is_real(t) else t for t in point]
    exact = results_at(subject, rounded, torch.float64)
    if exact is None or max(map(largest, (*exact[0], *exact[1]))) > OUT_OF_RANGE:
        return
    with torch.no_grad():
        try:
            outputs = subject.call(subject.fresh_tensors(point=rounded, dtype=dtype))
        except Exception:  # refused, which the check dtypes says
            return
    for name, low, right in zip(subject.outputs.compared_names, outputs, exact[0], strict=True):
        bad = ~low.isfinite().reshape(-1)
        if bool(bad.any()):
            k = int(bad.nonzero()[0])
            numbers = [six_digits(float(t.reshape(-1)[k].real)) for t in (low, right)]
            raise Defect(f"at {words}: {name} is {numbers[0]}, and {numbers[1]} in float64", [_OVERFLOW])


def special_points(subject, dtype):
    """(argument, number, words, point, whole): one argument filled with a number, or in part, or equal to another one.

    `whole` says that no entry is that of the inputs.
    """
    for i in subject.differentiable:
        argument = subject.arguments[i]
        if argument.tensor.numel() == 0 or argument.tensor.is_complex():
            continue
        low, high = subject.domain_of(argument)
        wanted = _SPECIAL if argument.kind == "input" else (0.0,)
        for value in dict.fromkeys([*wanted, *(v for v in (low, high) if math.isfinite(v))]):
            value = _DENORMAL[dtype] if value == "denormal" else float(value)
            if not low <= value <= high:
                continue
            filled, first = torch.full_like(argument.tensor, value), argument.tensor.contiguous().clone()
            first.view(-1)[0] = value
            several = [(filled, argument.name, True), (first, f"the first entry of {argument.name}", False)]
            if value == 0 and argument.kind == "input" and filled.shape[-1:] > (1,):  # a point on an axis
                last = argument.tensor.contiguous().clone()
                last[..., :-1] = 0
                several.append((last, f"all but the last column of {argument.name}", False))
            for tensor, words, whole in several:
                point = [tensor if j == i else t for j, t in enumerate(subject.point)]
                yield i, value, f"{words} = {six_digits(value)}", point, whole
        for j in subject.differentiable:
            other = subject.arguments[j]
            if i < j and other.tensor.shape == argument.tensor.shape and other.kind == argument.kind == "input":
                point = [argument.tensor if k == j else t for k, t in enumerate(subject.point)]
                yield j, 1.0, f"{other.name} = {argument.name}", point, True


def _audit_low_precision(subject, dtype, most):
    """Each input as zeros, and as ±10 and ±100, in a low precision."""
    for i in subject.differentiable:
        argument = subject.arguments[i]
        low, high = subject.domain_of(argument)
        if argument.kind != "input" or argument.tensor.is_complex():
            continue
        for value in (v for v in _LOW_PRECISION if low <= v <= high and abs(v) <= most):
            point = [torch.full_like(t, value) if j == i else t for j, t in enumerate(subject.point)]
            words = f"{argument.name} = {value:g}, {str(dtype).removeprefix('torch.')}"
            try:
                found = results_at(subject, point, dtype)
            except Defect:  # what raises in low precision is a matter of the check dtypes
                continue
            if found is not None:
                _expect_finite(subject, point, dtype, words, found, subject.differentiable)


def _audit_derivatives(subject, is_custom):
    """The values again where functions have their branches: at 0, ±1 and ±100, and where two arguments are equal."""
    is_large = sum(subject.point[i].numel() for i in subject.differentiable) > _FEW
    if is_large or subject.random.is_used or subject.precision.is_half:
        return
    for index, value, words, point, whole in special_points(subject, torch.float64):
        if value not in _BRANCHES or not whole:
            continue
        expect_right_along(subject, point, index, f"at {words}", screened=False)
        if is_custom:
            expect_between_slopes(subject, point, index, f"at {words}")


def _expect_finite(subject, point, dtype, words, found, indices):
    """The gradients of these arguments are finite, where the derivatives are."""
    outputs, grads = found
    for i, gradient in zip(subject.differentiable, grads, strict=True):
        bad = (~gradient.isfinite()).reshape(-1)
        if i not in indices or gradient.is_complex() or not bool(bad.any()):
            continue
        entry = int(bad.nonzero()[0])
        if _derivative_is_infinite(subject, point, dtype, i, entry):
            continue
        value = six_digits(float(gradient.reshape(-1)[entry]))
        output = six_digits(float(outputs[0].reshape(-1)[0].real))
        raise Defect(
            f"at {words}: the output is finite, and the gradient of {subject.arguments[i].name} is {value}",
            [f"{int(bad.sum())} of its {bad.numel()} entries; the first output is {output}", _CAUSE],
        )


def _derivative_is_infinite(subject, point, dtype, index, entry):
    """Whether the derivative itself is not finite, or too large for the dtype: the slopes grow as the step shrinks."""
    if dtype != torch.float64:
        point = [t.to(dtype).to(t) if is_real(t) else t for t in point]
        exact = results_at(subject, point, torch.float64)
        if exact is None:
            return True
        limit = min(OUT_OF_RANGE, torch.finfo(dtype).max / 4)
        if not abs(float(exact[1][subject.differentiable.index(index)].reshape(-1)[entry])) < limit:
            return True
    where = float(point[index].reshape(-1)[entry])
    if math.isinf(where):
        return False
    along_entry = torch.zeros_like(point[index], memory_format=torch.contiguous_format)
    along_entry.view(-1)[entry] = 1.0
    # Along the entry, and along no axis: at a jump, such as that of eigenvectors at 0, some entries show none.
    for direction in (along_entry, random_like(along_entry, generator(subject, 10))):
        if _slope_converges(subject, point, index, direction, max(abs(where), 1.0)):
            return False
    return True


def _slope_converges(subject, point, index, direction, unit):
    """Whether the slope of one number, a projection of the outputs, converges to either side of the point.

    Beside a large slope that of a root is small, but it grows.
    """

    def terms(t):
        moved = subject.fresh_tensors(point=point)
        moved[index] = moved[index] + t * direction
        outputs = subject.call_no_grad(moved)
        pairs = zip(incoming_for(subject, outputs, 7), outputs, strict=True)
        return torch.cat([(g.conj() * o).real.reshape(-1) for g, o in pairs])

    for side in (unit, -unit):
        try:
            slopes = [float((terms(h * side) - terms(0.0)).sum()) / (h * side) for h in (1e-4, 1e-5, 1e-6)]
        except Exception:  # outside of its domain on that side
            continue
        if not all(map(math.isfinite, slopes)):
            continue
        rounded = float(terms(0.0).abs().sum()) + max(map(abs, slopes)) * largest(point[index])
        noise = 4 * subject.precision.unit * rounded / (1e-6 * unit)
        gap, first, last = max(slopes) - min(slopes), abs(slopes[1] - slopes[0]), abs(slopes[2] - slopes[1])
        if last > max(2 * first, 100 * noise):
            continue
        if gap <= 1e-2 * max(map(abs, slopes)) + 1e-8 or abs(slopes[2]) < 0.5 * abs(slopes[0]):
            return True
    return False
