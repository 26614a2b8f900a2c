"""What low precision does to the gradient, entry by entry: by magnitude, in mixed dtypes, with many rows."""

import torch

from torchbp.testing.checks.inputs.magnitudes import points_of_magnitudes
from torchbp.testing.checks.inputs.resizing import with_rows
from torchbp.testing.numerics.gradients import backward, incoming_for, need_float64, usual_size
from torchbp.testing.numerics.low_precision import results_at
from torchbp.testing.numerics.rounding import PythonCalls, Roundings, Sizes
from torchbp.testing.numerics.tensors import cast, is_inexact, largest
from torchbp.testing.numerics.ulp import ALIKE, gradients_at, wrong_entry
from torchbp.testing.report import ROUNDED, Defect, Skipped
from torchbp.testing.subject.graph import custom_nodes
from torchbp.testing.subject.naming import listing

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_MODERATE = 10.0  # up to this size a row is looked at by itself
_RAISED, _COLUMNS = 7.0, 6
_MANY_ROWS = 200_000  # more than float16 can count
_ROWS_TO_ADD = 20_000
_FEW_ROWS = (128, 256)
_MOST_NUMBERS = 2**20
_MOST_CALLS = 10_000  # of operations and Python functions; it is called about 50 times with so many rows
_IN_BACKWARD = "likely cause: .float() or a tensor of a lower precision in the backward"
_CAUSE = (
    "likely cause: numbers that cancel, overflow or underflow in the backward, or in what the forward saves for it; "
    "compute in float32 inside"
)
_NOT_CAST = (
    "likely cause: the incoming gradient has the dtype of the output; cast it to that of what it is multiplied with"
)
_MIXED = "likely cause: a branch for one dtype alone, or a gradient cast to the dtype of another argument"


def precision(subject):
    """The backward loses no more to rounding than a few roundings of its inputs do."""
    need_float64(subject)
    if subject.precision.unit <= 1e-10:
        _expect_precision_in_backward(subject, torch.float64, 1e-11)
    if subject.random.is_used or subject.precision.unit > 1e-10:
        raise Skipped("random, or computed in low precision itself")
    if any(t.is_complex() for t in subject.point):
        raise Skipped("complex")
    if not custom_nodes(subject.call(subject.fresh_tensors(subject.differentiable))):
        raise Skipped("torch's own operations")
    _expect_precision_in_backward(subject, torch.float32, 1e-5)
    usual = usual_size(subject)
    for dtype in _DTYPES:
        _audit_magnitudes(subject, dtype, usual)
    reason = _reason_for_few_rows(subject)
    if reason is None:
        _audit_many_rows(subject, usual)
    mixed = _audit_mixed(subject, usual)
    notes = [f"mixed dtypes: {'; '.join(mixed)}"] if mixed else []
    return "; ".join([*notes, *([f"not with {_ROWS_TO_ADD} rows, as it {reason}"] if reason else [])])


def _word(dtype):
    return str(dtype).removeprefix("torch.")


def _expect_precision_in_backward(subject, dtype, tolerance):
    """The backward rounds nothing to a lower precision than the forward does."""
    point = [cast(t, dtype) for t in subject.point]  # here, as in `results` the casts would be roundings too
    incoming = [cast(g, dtype) for g in incoming_for(subject, subject.call_no_grad())]

    def results():
        return results_at(subject, point, dtype, incoming)

    seen = Roundings()
    try:
        usual = results()
        with seen:
            results()
        with Roundings(lifted=True):
            unrounded = results()
    except Exception:  # it dislikes a dispatch mode
        return
    if not seen.unit or usual is None or unrounded is None:
        return
    if any(_is_off(a, b, tolerance) for a, b in zip(usual[0], unrounded[0], strict=True)):
        return  # the forward rounds too
    for name, a, b in zip(subject.names(), usual[1], unrounded[1], strict=True):
        if _is_off(a, b, tolerance):
            what = f"the backward computes the gradient of {name} in lower precision than the forward"
            where = "" if dtype == torch.float64 else f" of {_word(dtype)}"
            raise Defect(f"{what}{where}: rounded to {seen.unit:.1g}", [_IN_BACKWARD], ROUNDED)


def _is_off(a, b, tolerance):
    gap = (a.detach().to(b.dtype) - b.detach()).abs().nan_to_num(0, 0, 0)
    return bool(gap.numel()) and float(gap.max()) > tolerance * largest(b)


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
    for rows, alike in ((_ROWS_TO_ADD, True), (_MANY_ROWS, False)):
        point = with_rows(subject, rows, _MOST_NUMBERS)
        if point is not None:
            tensors = [cast(t, torch.float16) for t in point]
            more = max(a.numel() / b.numel() for a, b in zip(point, subject.point, strict=True) if b.numel())
            # of a sum that grows with the rows; where it cancels, its size is noise
            size = ALIKE * usual * more if alike else 0.0
            _expect_near(subject, tensors, f"with {rows} rows, float16", _CAUSE, size, alike=alike)


def _reason_for_few_rows(subject):
    """Words, if many rows take gigabytes, each with each other as in attention, or minutes, one after another."""
    sizes, numbers, calls = [], [], []
    for rows in _FEW_ROWS:
        point = with_rows(subject, rows, _MOST_NUMBERS)
        if point is None:
            return None
        try:
            with PythonCalls() as called:
                subject.call_no_grad(point)
            with Sizes() as made:
                subject.call_no_grad(point)
            with Sizes() as with_backward:
                gradients_at(subject, point)
        except Exception:  # it does not take so many, or dislikes a dispatch mode
            return None
        sizes.append(made.largest)
        numbers.append(with_backward.numbers)
        calls.append(called.count + made.operations)
    if sizes[1] > 3 * sizes[0]:
        return "makes a tensor that grows with the square of the rows"
    if numbers[1] > 3 * numbers[0]:
        return "does work that grows with the square of the rows"
    calls_of_a_row = (calls[1] - calls[0]) / (_FEW_ROWS[1] - _FEW_ROWS[0])
    return "loops over the rows" if calls_of_a_row * _ROWS_TO_ADD > _MOST_CALLS else None


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
