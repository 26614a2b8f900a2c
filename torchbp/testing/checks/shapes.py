"""Other sizes: an empty batch, a batch of one, one row more; other lengths of a row; extra leading dimensions."""

import copy
from dataclasses import replace

import torch

from torchbp.testing.diagnosis.message import judged
from torchbp.testing.numerics.gradients import backward, expect_outputs, incoming_for, need
from torchbp.testing.numerics.jacobian import compare
from torchbp.testing.numerics.tensors import first_line, is_inexact, symmetric
from torchbp.testing.report import Defect, Skipped
from torchbp.testing.subject.graph import custom
from torchbp.testing.subject.prepare import probe

FEW = 12  # entries of a tensor up to which it is looked at whole
FEW_SIZES = 3  # different sizes in a row that are varied


def shapes(subject):
    """Sizes that the forward takes, the backward takes, with the right gradient."""
    need(subject)
    if any(bool(block.wrong.any()) for block in compare(subject, whole=FEW).blocks):
        raise Skipped("the values are wrong at the sizes given: see values")
    tried = []
    mapped = mapped_inputs(subject)
    for words, point in variations(subject):
        subject.report_progress(f"with {words}")
        other = resized_subject(subject, point)
        if other is None:  # the function does not take these sizes, and says so
            continue
        try:
            audited(other)
        except Defect as defect:
            if not written_by_hand(other):  # torch's own operations, with an index of a fixed size, say
                continue
            raise Defect(f"with {words}: {defect.message}", defect.details) from None
        tried.append(words)
    if mapped:
        tried += batches(subject, mapped)
    if not tried:
        raise Skipped("the function takes no other sizes than those given")
    return f"also with {', '.join(tried[:6])}"


def written_by_hand(subject):
    """Whether somebody wrote a backward."""
    return bool(custom(subject.call(subject.fresh_tensors(subject.differentiable))))


def resized_subject(subject, point):
    """The subject at a point of other sizes; None where the forward raises."""
    other = subject.at(point)
    other.random = copy.copy(subject.random)  # of no rows, nothing is drawn
    try:
        probe(other)
    except Exception:
        return None
    other.random = subject.random
    return other


def audited(subject):
    wanted = subject.differentiable
    tensors = subject.fresh_tensors(wanted)
    outputs = subject.call(tensors)
    if not any(o.requires_grad for o in outputs):
        if all(subject.point[i].numel() for i in wanted):
            raise Defect("no output has a gradient")
        return
    found = backward(outputs, [tensors[i] for i in wanted], incoming_for(subject, outputs))
    if not any(output.numel() for output in outputs):
        for name, gradient in zip(subject.names(), found, strict=True):
            if bool((gradient != 0).any()):
                raise Defect(f"the outputs are empty, and the gradient of {name} is not zero")
    elif all(bool(output.isfinite().all()) for output in outputs):
        try:
            judged(compare(subject, whole=FEW))
        except Skipped:
            return


def variations(subject):
    """(words, point): another number of rows, in every input that has as many as the first; then of numbers in one.

    Rows are only made longer: in a shorter one an index that the function holds itself may lie outside, which some
    operations of torch do not look at.
    """
    inputs = [i for i, argument in enumerate(subject.arguments) if argument.kind == "input"]
    shapes = {i: subject.point[i].shape for i in inputs}
    rows = next((shape[0] for shape in shapes.values() if shape), 0)
    others = dict.fromkeys(size for shape in shapes.values() for size in shape[1:] if size > 1)
    for new in (1, rows + 1, 0):
        if new != rows and rows:
            dims = {i: [0] for i, shape in shapes.items() if shape[:1] == (rows,)}
            yield f"{new} instead of {rows} rows", resized_point(subject.point, dims, new)
    for i, shape in shapes.items():
        for new in (1, rows + 1) if len(shapes) > 1 and shape[:1] == (rows,) and rows > 1 else ():
            words = f"{new} instead of {rows} rows of {subject.arguments[i].name} alone"
            yield words, resized_point(subject.point, {i: [0]}, new)
    for size in list(others)[:FEW_SIZES]:
        dims = {i: [d for d, s in enumerate(shape) if s == size and (d or s != rows)] for i, shape in shapes.items()}
        if any(along and symmetric(subject.point[i]) for i, along in dims.items()):  # it would be so no more
            continue
        yield f"{size + 1} instead of {size} in a row", resized_point(subject.point, dims, size + 1)


def resized_point(point, dims, new):
    """The point with `new` entries along these dimensions: the same ones again, so that they stay in the domain."""
    changed = list(point)
    for i, along in dims.items():
        for dim in along:
            changed[i] = resized(changed[i], dim, new)
    return changed


def resized(tensor, dim, new):
    size = tensor.shape[dim]
    longer = tensor.index_select(dim, torch.arange(new, device=tensor.device) % size)
    if new <= size or not is_inexact(tensor):
        return longer
    # no two alike: the one that is added has its numbers in another order, or smaller where the order matters
    factors = 1 - 1e-2 * torch.linspace(0, 1, new, device=tensor.device)
    longer = longer * factors.view([-1 if d == dim else 1 for d in range(tensor.dim())])
    if not symmetric(tensor) or tensor.dim() - dim < 3:
        longer.select(dim, size).copy_(longer.select(dim, size).reshape(-1).roll(1).view_as(longer.select(dim, size)))
    return longer


def mapped_inputs(subject):
    """{an input: the number of its leading dimensions that the function is said to map over}"""
    inputs = [(i, argument) for i, argument in enumerate(subject.arguments) if argument.kind == "input"]
    counts = {i: subject.options.batch_of(argument) for i, argument in inputs}
    return {i: count for i, count in counts.items() if count}


def batches(subject, mapped):
    """Each dimension of the batch in another number and order, and one more of them: the outputs are those of the rows.

    One more dimension was not promised: only where the forward takes it and maps over it, the backward must.
    """
    count = next(iter(mapped.values()))
    size = subject.point[next(iter(mapped))].shape[:count]
    outputs = subject.call_no_grad()
    for name, output in zip(subject.outputs.compared_names, outputs, strict=True):
        if output.shape[:count] != size:
            raise Defect(
                f"batch_dims={count} says that {name} has the leading dimensions {list(size)} of the inputs, and its "
                f"shape is {list(output.shape)}",
                ["drop batch_dims if the function is meant to reduce over them"],
            )
    if subject.random.is_used:
        return
    for dim, rows in enumerate(size):
        again = [k % rows for k in range(rows + 1)] if rows else []
        where = f" along dimension {dim}" if count > 1 else ""
        for words, places in (("no rows", []), ("one row", [0][:rows]), ("a row more", again)):
            batch(subject, mapped, outputs, f"a batch of {words}{where}", along(places, dim))
            yield f"a batch of {words}{where}"
    if batch(subject, mapped, outputs, "two batches", lambda t: torch.stack([t, t.flip(0)]), promised=False):
        yield "two batches"


def along(places, dim):
    return lambda t: t.index_select(dim, torch.tensor(places, dtype=torch.long, device=t.device))


def batch(subject, mapped, outputs, words, change, promised=True):
    """Change the batch of inputs and outputs alike, and audit there; False where the forward does not do the same."""
    subject.report_progress(words)
    other = subject.at([change(t) if i in mapped else t for i, t in enumerate(subject.point)])
    expected = [change(output) for output in outputs]
    try:
        found = other.call_no_grad()
        for name, a, b in zip(subject.outputs.compared_names, found, expected, strict=True):
            if a.shape != b.shape:
                raise Defect(f"{words} gives {name} of the shape {list(a.shape)}, not {list(b.shape)}")
        expect_outputs(subject, found, expected, f"{words}: not the function of each row")
    except Exception as error:
        if not promised:
            return False
        if isinstance(error, Defect):
            raise
        raise Defect(f"{words} raises {type(error).__name__}: {first_line(error)}") from None
    shapes = dict(enumerate(subject.outputs.shapes)) | dict(
        zip(subject.outputs.compared, (output.shape for output in found), strict=True)
    )
    other.outputs = replace(other.outputs, shapes=list(shapes.values()))
    try:
        audited(other)
    except Defect as defect:
        raise Defect(f"{words}: {defect.message}", defect.details) from None
    return True
