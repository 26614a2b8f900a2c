"""Other sizes: an empty batch, a batch of one, one row more; other lengths of a row; extra leading dimensions."""

import copy
from dataclasses import replace

import torch

from torchbp.testing.checks.resizing import batch_changes, resizings
from torchbp.testing.diagnosis.message import judged
from torchbp.testing.numerics.gradients import backward, expect_outputs, incoming_for, need
from torchbp.testing.numerics.jacobian import compare
from torchbp.testing.numerics.tensors import first_line
from torchbp.testing.report import Defect, Skipped
from torchbp.testing.subject.graph import custom_nodes
from torchbp.testing.subject.prepare import probe

_FEW = 12  # entries of a tensor up to which it is looked at whole


def shapes(subject):
    """Sizes that the forward takes, the backward takes, with the right gradient."""
    need(subject)
    if compare(subject, whole=_FEW).any_wrong:
        raise Skipped("the values are wrong at the sizes given: see values")
    tried = [words for resizing in resizings(subject) if (words := _audit_resized(subject, resizing))]
    tried += _audit_batches(subject)
    if not tried:
        raise Skipped("the function takes no other sizes than those given")
    return f"also with {', '.join(tried[:6])}"


def _audit_resized(subject, resizing):
    """Audit at other sizes; the words if the function takes them, else None."""
    words = resizing.words
    subject.report_progress(f"with {words}")
    other = subject.at(resizing.point)
    other.random = copy.copy(subject.random)  # with no rows nothing is drawn, which the probe would take to be usual
    try:
        probe(other)
    except Exception:  # the function does not take these sizes, and says so
        return None
    other.random = subject.random
    try:
        _audit_values(other)
    except Defect as defect:
        has_custom_backward = bool(custom_nodes(other.call(other.fresh_tensors(other.differentiable))))
        if not has_custom_backward:  # torch's own operations, for example with an index of a fixed size
            return None
        raise Defect(f"with {words}: {defect.message}", defect.details) from None
    return words


def _audit_values(subject):
    """The gradients are right, and zero if the outputs are empty."""
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
            judged(compare(subject, whole=_FEW))
        except Skipped:
            return


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
                ["drop batch_dims if the function is meant to reduce over them"],
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
                raise Defect(f"{words} gives {name} of the shape {list(a.shape)}, not {list(b.shape)}")
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
        _audit_values(other)
    except Defect as defect:
        raise Defect(f"{words}: {defect.message}", defect.details) from None
    return True
