"""Strides carry no meaning: neither those of the incoming gradient nor those of the inputs."""

import torch

from torchbp.testing.checks.inputs.resizing import wide_points
from torchbp.testing.numerics.gradients import (
    backward,
    expect,
    expect_outputs,
    generator,
    graph_of,
    incoming_for,
    with_ties_settled,
)
from torchbp.testing.numerics.tensors import difference, first_line, is_inexact, largest, random_like
from torchbp.testing.report import Defect, Unsupported
from torchbp.testing.subject.graph import custom_nodes


def _strided(tensor):
    """The same numbers, every second one of a larger tensor."""
    return torch.stack([tensor, torch.full_like(tensor, 7)], dim=-1)[..., 0]


def _padded(tensor):
    """The same numbers, with a gap in memory after each row."""
    return torch.cat([tensor, torch.full_like(tensor[..., :1], 7)], dim=-1)[..., :-1]


def _transposed(tensor):
    """The same numbers, with the last two dimensions in the other order in memory."""
    return tensor.mT.contiguous().mT


def _offset(tensor):
    """The same numbers, behind others in memory."""
    return torch.cat([tensor.new_full((3,), 7), tensor.reshape(-1)])[3:].view(tensor.shape)


def _expanded(tensor):
    """The first number of the tensor everywhere, in the memory of one: as the gradient of `.sum()` and `.mean()`."""
    return tensor.reshape(-1)[:1].view([1] * tensor.dim()).expand(tensor.shape)


def _rows_expanded(tensor):
    """The first row of the tensor everywhere: as the gradient of `.sum(dim=0)`."""
    return tensor[:1].expand(tensor.shape)


def _front_transposed(tensor):
    """The same numbers, with the first two dimensions in the other order in memory."""
    return tensor.transpose(0, 1).contiguous().transpose(0, 1)


def _channels_last(tensor):
    """The same numbers, with dimension 1 last in memory."""
    return tensor.movedim(1, -1).contiguous().movedim(-1, 1)


LAYOUTS = {  # the layout, and the number of dimensions that it needs
    "strided": (_strided, 1),
    "padded": (_padded, 2),
    "transposed": (_transposed, 2),
    "expanded": (_expanded, 1),
    "offset": (_offset, 1),
    "expanded along dimension 0": (_rows_expanded, 2),
    "transposed in the first dimensions": (_front_transposed, 3),
    "channels last": (_channels_last, 3),
}

_IN_VIEWS = ("padded", "transposed")


def layouts(subject):
    outputs, leaves = graph_of(subject)
    incoming, own = incoming_for(subject, outputs, 5), []
    for name, (lay_out, _) in LAYOUTS.items():
        laid_out = [lay_out(g) if _fits(name, g) else g for g in incoming]
        contiguous = [g.contiguous().clone() for g in laid_out]
        try:
            found = backward(outputs, leaves, laid_out, retain_graph=True)
        except Defect as defect:
            if custom_nodes(outputs):
                raise defect.within(f"an incoming gradient that is {name}: ") from None
            own.append(f"torch's own backward refuses an incoming gradient that is {name}: {defect.message}")
            continue
        expected = backward(outputs, leaves, contiguous, retain_graph=True)
        where = f"an incoming gradient that is {name}"
        expect(subject, found, expected, where, compared_to="that for a contiguous copy")
    refused = [words for i in range(len(subject.arguments)) for words in _audit_input(subject, i)]
    if own:
        raise Unsupported(own[0])
    refused += _refused_wide_inputs(subject)
    if refused:
        raise Unsupported(f"refuses inputs that are {refused[0]}; to add it: call .contiguous() in the forward")


def _refused_wide_inputs(subject):
    """Words on the layouts that are refused of longer rows, which a function may give to another kernel."""
    refused = []
    for point in wide_points(subject):
        other = subject.at(point)
        try:
            _results(other, point)
        except Exception:  # it takes no longer rows; or the backward raises there, which the check shapes says
            continue
        for i, argument in enumerate(other.arguments):
            if argument.tensor.dim() > 1:
                refused += _audit_input(other, i, _IN_VIEWS, f", of {argument.tensor.shape[-1]} columns")
    return refused


def _fits(name, tensor):
    return tensor.numel() > 1 and tensor.dim() >= LAYOUTS[name][1]


def _audit_input(subject, index, names=tuple(LAYOUTS), size=""):
    """Audit the layouts of one argument against a contiguous copy; yield words on each layout that is refused.

    `size` are words on its size, for the messages.
    """
    argument = subject.arguments[index]
    if argument.kind != "input" or subject.random.is_used:  # a random mask follows the order in memory
        return
    usual_outputs, usual = _results(subject, subject.point)
    for name in names:
        lay_out = LAYOUTS[name][0]
        if not _fits(name, argument.tensor) or (name.startswith("expanded") and not argument.differentiable):
            continue
        leaf = lay_out(argument.tensor)
        words = f"the input {argument.name} {name}{size}"
        subject.report_progress(words)
        try:
            contiguous = [leaf.contiguous().clone() if i == index else t for i, t in enumerate(subject.point)]
            expected_outputs, expected = _results(subject, contiguous)
        except Exception:
            continue
        if _is_unstable(subject, contiguous, usual_outputs, expected_outputs):
            continue
        try:
            outputs, found = _results(subject, [leaf if i == index else t for i, t in enumerate(subject.point)])
        except Defect as defect:
            raise defect.within(f"{words}: ") from None
        except Exception as error:
            yield f"{name}{size} ({argument.name}: {first_line(error)})"
            continue
        # For constant inputs a normalisation gives 0, but for the rounding of what it gives elsewhere: hence `usual`.
        expect_outputs(subject, outputs, expected_outputs, words, usual_outputs, "that of a contiguous copy")
        found = with_ties_settled(subject, contiguous, found, expected, lambda point: _results(subject, point)[1])
        expect(subject, found, expected, words, usual=usual, compared_to="that of a contiguous copy")


def _is_unstable(subject, point, usual, outputs):
    """Whether such numbers are not in its domain: an expanded matrix is singular, and its inverse is of rounding."""
    if any(bool((a.isfinite() & ~b.isfinite()).any()) for a, b in zip(usual, outputs, strict=True)):
        return True
    source = generator(subject, 12)
    moved = [t * (1 + 1e-14 * random_like(t, source)) if is_inexact(t) else t for t in point]
    try:
        others = subject.call_no_grad(moved)
    except Exception:
        return True
    return any(difference(a, b, largest(c)) > 1e-9 for a, b, c in zip(others, outputs, usual, strict=True))


def _results(subject, point):
    """Outputs and gradients, with the strides of the point kept."""
    wanted = subject.differentiable
    tensors = [t.detach().requires_grad_(i in wanted) for i, t in enumerate(point)]
    outputs = subject.call(tensors)
    incoming = incoming_for(subject, outputs, 5)
    return [o.detach() for o in outputs], backward(outputs, [tensors[i] for i in wanted], incoming)
