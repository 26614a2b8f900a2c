"""Other sizes: an empty batch, a batch of one, one row more; other lengths of a row; other dimensions."""

from dataclasses import replace

import torch

from torchbp.testing.checks.inputs.other_calls import FEW, audit_other_call, expect_right_values
from torchbp.testing.checks.inputs.resizing import batch_changes, other_dimensions, resizings, sweeps, with_rows
from torchbp.testing.cpu_clock import cpu_seconds
from torchbp.testing.numerics.gradients import backward, expect_outputs, incoming_for, need
from torchbp.testing.numerics.jacobian import compare
from torchbp.testing.numerics.screen import seems_right
from torchbp.testing.numerics.tensors import first_line
from torchbp.testing.report import Defect, Skipped, Unsupported
from torchbp.testing.subject.graph import custom_nodes

_NO_BATCH = "to do: drop batch_dims, if the function is not meant to map over each row alone"
_NO_ROWS = "to add it: sizes written out, such as x.flatten(1) or x.view(len(x), d), instead of view(B, -1)"
_MOST_IN_A_ROW = 2**17  # numbers
_REFUSALS = 4
_SECONDS = 2.0  # of the CPU, after which the sweep of sizes ends; the report says how far it came


def shapes(subject):
    """Sizes that the forward takes, the backward takes, with the right gradient."""
    need(subject)
    if compare(subject, whole=FEW).any_wrong:
        raise Skipped("the values are wrong at the sizes given: see values")
    refused = []
    tried = _taken(subject, resizings(subject), refused)
    _take_no_rows(subject, tried, refused)
    tried += _audit_batches(subject)
    tried += _taken(subject, other_dimensions(subject), [])
    swept = _sweep(subject, refused)
    _take_a_row_of_zeros(subject)
    if not tried:
        raise Skipped("the function takes no other sizes than those given")
    if refused:
        raise Unsupported(refused[0])
    return f"also with {', '.join(tried[:6])}" + (f"; sizes up to {swept}" if swept else "")


def _taken(subject, changes, refused):
    """Words on each of the resizings that the function takes."""
    return [
        resizing.words
        for resizing in changes
        if audit_other_call(subject, subject.at(resizing.point), resizing.words, resizing.promised, refused)
    ]


def _take_no_rows(subject, tried, refused):
    """A function of other numbers of rows should take none too: a filter may leave none."""
    point = with_rows(subject, 0, 1)
    other_rows = [words for words in tried if words.endswith("rows")]
    if point is None or subject.options.batch_dims or len(other_rows) < 2:
        return
    try:
        subject.at(point).call_no_grad()
    except Exception as error:
        refused.append(f"a batch of no rows raises {type(error).__name__}: {first_line(error)}; {_NO_ROWS}")


def _take_a_row_of_zeros(subject):
    """A backward that goes another way at zeros, as that of a product does, takes one row of them too."""
    point = with_rows(subject, 1, _MOST_IN_A_ROW)
    excluded = any(not low <= 0 <= high for low, high in map(subject.domain_of, subject.arguments))
    if point is None or excluded or subject.random.is_used:
        return
    zeros = [torch.zeros_like(t) if a.differentiable and a.kind == "input" else t
             for a, t in zip(subject.arguments, point, strict=True)]  # fmt: skip
    other = subject.at(zeros)
    subject.report_progress("with a row of zeros")
    tensors = other.fresh_tensors(other.differentiable)
    try:
        outputs = other.call(tensors)
    except Exception:  # it does not take them
        return
    if custom_nodes(outputs):
        try:
            backward(outputs, [tensors[i] for i in other.differentiable], incoming_for(other, outputs))
        except Defect as defect:
            if not isinstance(defect.__cause__, torch.linalg.LinAlgError):  # of a singular matrix
                raise defect.within("with a row of zeros: ") from None


def _sweep(subject, refused):
    """The largest size that was looked at, from 15 to 1025."""
    end, largest = cpu_seconds() + _SECONDS, 0
    for family in sweeps(subject):
        refusals = 0  # in a row: a function may take multiples of 2 or 16 alone
        for resizing in family:
            other = subject.at(resizing.point)
            subject.report_progress(f"with {resizing.words}")
            try:
                right = seems_right(other)
            except Exception:  # refused, or it raises: a closer look tells
                right = False
            taken = right or audit_other_call(subject, other, resizing.words, resizing.promised, refused)
            refusals = 0 if taken else refusals + 1
            if taken:
                largest = max(largest, max(max(t.shape, default=0) for t in resizing.point))
            if refusals > _REFUSALS or cpu_seconds() > end:
                break
    return largest


def _audit_batches(subject):
    """With batch_dims: other numbers of rows in another order, and one more leading dimension. Yields what was tried.

    The outputs must be those of the rows. One more dimension was not promised: only if the forward takes it and maps
    over it, the backward must.
    """
    inputs = [(i, argument) for i, argument in enumerate(subject.arguments) if argument.kind == "input"]
    counts = {i: subject.options.batch_of(argument) for i, argument in inputs}
    mapped = [i for i, count in counts.items() if count]
    if not mapped:
        return
    count, size = counts[mapped[0]], subject.point[mapped[0]].shape[: counts[mapped[0]]]
    outputs = subject.call_no_grad()
    for name, output in zip(subject.outputs.compared_names, outputs, strict=True):
        if output.shape[:count] != size:
            raise Defect(
                f"batch_dims={count} says that {name} has the leading dimensions {list(size)} of the inputs, and its "
                f"shape is {list(output.shape)}",
                [_NO_BATCH],
            )
    if subject.random.is_used:
        return
    for words, change in batch_changes(size):
        _audit_batch(subject, mapped, outputs, words, change)
        yield words
    words = "two batches"
    if _audit_batch(subject, mapped, outputs, words, lambda t: torch.stack([t, t.flip(0)]), promised=False):
        yield words


def _audit_batch(subject, mapped, outputs, words, change, promised=True):
    """Change the batch of inputs and outputs alike, and audit there; False if the forward does not do the same."""
    subject.report_progress(words)
    other = subject.at([change(t) if i in mapped else t for i, t in enumerate(subject.point)])
    expected = [change(output) for output in outputs]
    try:
        found = other.call_no_grad()
        for name, a, b in zip(subject.outputs.compared_names, found, expected, strict=True):
            if a.shape != b.shape:
                shapes = f"{list(a.shape)}, not {list(b.shape)}"
                raise Defect(f"{words} gives {name} of the shape {shapes}", [_NO_BATCH])
        expect_outputs(subject, found, expected, f"{words}: not the function of each row")
    except Exception as error:
        if not promised:
            return False
        if isinstance(error, Defect):
            raise
        raise Defect(f"{words} raises {type(error).__name__}: {first_line(error)}") from None
    shapes = dict(enumerate(subject.outputs.shapes))
    shapes.update(zip(subject.outputs.compared, (output.shape for output in found), strict=True))
    other.outputs = replace(other.outputs, shapes=list(shapes.values()))
    try:
        expect_right_values(other)
    except Defect as defect:
        raise defect.within(f"{words}: ") from None
    return True
