"""What low precision does to the gradient, entry by entry: by magnitude, in mixed dtypes, with many rows."""

import torch

from torchbp.testing.checks.magnitudes import points_of_magnitudes
from torchbp.testing.checks.resizing import with_rows
from torchbp.testing.numerics.gradients import backward, gradients, incoming_for, need_float64, usual_size
from torchbp.testing.numerics.rounding import Roundings, Sizes
from torchbp.testing.numerics.tensors import cast, is_inexact, largest
from torchbp.testing.numerics.ulp import wrong_entry
from torchbp.testing.report import Defect, Skipped
from torchbp.testing.subject.graph import custom_nodes
from torchbp.testing.subject.naming import listing

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_MODERATE = 10.0  # up to this size a row is looked at by itself
_RAISED, _COLUMNS = 7.0, 6
_MANY_ROWS = 200_000  # more than float16 can count
_ROWS_TO_ADD = 20_000
_FEW_ROWS = (512, 1024)
_MOST_NUMBERS = 2**20
_IN_BACKWARD = "likely cause: .float() or a tensor of a lower precision in the backward"
_CAUSE = "likely cause: numbers that cancel, overflow or underflow in the backward; compute in float32 inside"
_NOT_CAST = (
    "likely cause: the incoming gradient has the dtype of the output; cast it to that of what it is multiplied with"
)
_MIXED = "likely cause: a branch for one dtype alone, or a gradient cast to the dtype of another argument"


def precision(subject):
    """The backward loses no more to rounding than a few roundings of its inputs do."""
    need_float64(subject)
    _expect_float64_in_backward(subject)
    if subject.random.is_used or subject.precision.unit > 1e-10:
        raise Skipped("random, or computed in low precision itself")
    if any(t.is_complex() for t in subject.point):
        raise Skipped("complex")
    if not custom_nodes(subject.call(subject.fresh_tensors(subject.differentiable))):
        raise Skipped("torch's own operations")
    usual = usual_size(subject)
    for dtype in _DTYPES:
        _audit_magnitudes(subject, dtype, usual)
    _audit_many_rows(subject, usual)
    mixed = _audit_mixed(subject, usual)
    return f"mixed dtypes: {'; '.join(mixed)}" if mixed else ""


def _word(dtype):
    return str(dtype).removeprefix("torch.")


def _expect_float64_in_backward(subject):
    """The backward of a function of float64 rounds nothing to a lower precision."""
    if subject.precision.unit > 1e-10:
        return
    outputs = subject.call(subject.fresh_tensors(subject.differentiable))
    incoming = incoming_for(subject, outputs)
    usual, unrounded, seen = gradients(subject, incoming), None, Roundings()
    try:
        with seen:
            gradients(subject, incoming)
        with Roundings(lifted=True):
            unrounded = gradients(subject, incoming)
    except Exception:  # it dislikes a dispatch mode
        return
    if not seen.unit:
        return
    for name, a, b in zip(subject.names(), usual, unrounded, strict=True):
        if float((a - b).abs().nan_to_num(0, 0, 0).max() if a.numel() else 0.0) > 1e-11 * largest(b):
            what = f"the backward computes the gradient of {name} in lower precision than the forward"
            raise Defect(f"{what}: rounded to {seen.unit:.1g}", [_IN_BACKWARD])


def _audit_magnitudes(subject, dtype, usual):
    points = [(words, point) for _, words, point in points_of_magnitudes(subject, mixed=False)]
    for words, point in [("the inputs", subject.point), *points, *_confident_rows(subject)]:
        tensors = [cast(t, dtype) for t in point]
        size = max((largest(t) for t in tensors if is_inexact(t)), default=0.0)
        if size > torch.finfo(dtype).max / 64:
            continue
        _expect_near(subject, tensors, f"at {words}, {_word(dtype)}", _CAUSE, usual, size <= _MODERATE)


def _confident_rows(subject):
    """(words, point): in each row of one input an entry is far greater than the others, as of a confident answer."""
    for i in subject.differentiable:
        argument, tensor = subject.arguments[i], subject.point[i]
        if argument.kind != "input" or tensor.dim() < 2 or tensor.shape[-1] < 2 or subject.options.domain is not None:
            continue
        for column in range(min(tensor.shape[-1], _COLUMNS)):
            raised = 0.3 * tensor / (largest(tensor) or 1.0)
            raised[..., column] += _RAISED
            words = f"{argument.name} with {_RAISED:g} more in column {column}"
            yield words, [raised if j == i else t for j, t in enumerate(subject.point)]


def _expect_near(subject, tensors, words, cause, usual, by_row=False, alike=False):
    subject.report_progress(words)
    try:
        wrong = wrong_entry(subject, tensors, usual, by_row, alike)
    except Defect as defect:
        raise defect.within(f"{words}: ") from None
    if wrong:
        raise Defect(f"{words}: {wrong[1]}", [cause])


def _audit_many_rows(subject, usual):
    """Counts of more rows than float16 can hold, and sums over so many that a further one is rounded off."""
    if _pairs_rows(subject):
        return  # 20,000 of them, each with each other, take gigabytes
    for rows, alike in ((_ROWS_TO_ADD, True), (_MANY_ROWS, False)):
        point = with_rows(subject, rows, _MOST_NUMBERS)
        if point is not None:
            tensors = [cast(t, torch.float16) for t in point]
            more = max(a.numel() / b.numel() for a, b in zip(point, subject.point, strict=True) if b.numel())
            size = usual * more if alike else 0.0  # of a sum that grows with the rows; where it cancels, it is noise
            _expect_near(subject, tensors, f"with {rows} rows, float16", _CAUSE, size, alike=alike)


def _pairs_rows(subject):
    """Whether the function makes a tensor that grows with the square of the rows, as attention does."""
    sizes = []
    for rows in _FEW_ROWS:
        point = with_rows(subject, rows, _MOST_NUMBERS)
        if point is None:
            return False
        try:
            with Sizes() as made:
                subject.call_no_grad(point)
        except Exception:  # it does not take so many, or dislikes a dispatch mode
            return False
        sizes.append(made.largest)
    return sizes[1] > 3 * sizes[0]


def _audit_mixed(subject, usual):
    """One argument in bfloat16 and the others in float32, and the other way round; names of what was taken."""
    real = [i for i, t in enumerate(subject.point) if is_inexact(t)]
    inputs = [i for i in real if subject.arguments[i].kind == "input"]
    groups = [[i] for i in real[:4]] if len(inputs) == len(real) else [inputs]
    groups += [[j for j in real if j != i] for i in real[:4] if len(real) > 2]
    taken = []
    for low in groups if len(real) > 1 else []:
        point = [cast(t, torch.bfloat16 if i in low else torch.float32) for i, t in enumerate(subject.point)]
        outputs = _forward(subject, point)
        if outputs is None:
            continue
        words = f"{listing(subject.names(low)[:3])} in bfloat16, the others in float32"
        taken.append(words)
        leaves = [t.requires_grad_() for i, t in enumerate(point) if i in subject.differentiable]
        outputs = subject.call(point)
        try:
            backward(outputs, leaves, incoming_for(subject, outputs))
        except Defect as defect:
            raise defect.within(f"with {words}: ", [_NOT_CAST]) from None
        _expect_near(subject, point, f"with {words}", _MIXED, 0.0)
    return taken


def _forward(subject, point):
    try:
        return subject.call([t.clone() for t in point])
    except Exception:  # it takes no such mixture, and says so
        return None
