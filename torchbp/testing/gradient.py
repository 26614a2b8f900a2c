"""Analytical gradients of a subject."""

import torch

from torchbp.testing.report import Defect, Skipped
from torchbp.testing.tensors import first_line, largest, random_like, unlike


def generator(subject, salt=0):
    return torch.Generator().manual_seed(subject.options.seed * 1000 + salt)


def incoming_for(subject, outputs, salt=1):
    """A dense incoming gradient for each output."""
    source = generator(subject, salt)
    return [random_like(output, source) for output in outputs]


def need(subject):
    if not subject.differentiable or not subject.attached:
        raise Skipped("nothing to differentiate")


def graph_of(subject):
    """Fresh outputs and the leaves that they are differentiated by."""
    need(subject)
    tensors = subject.tensors(subject.differentiable)
    return subject(tensors), [tensors[i] for i in subject.differentiable]


def backward(outputs, inputs, incoming, **options):
    """The gradients of the inputs, zeros where none arrives; a Defect where the backward raises."""
    pairs = [(o, g) for o, g in zip(outputs, incoming, strict=True) if g is not None and o.requires_grad]
    if not pairs:
        return [torch.zeros_like(tensor) for tensor in inputs]
    attached, grads = zip(*pairs, strict=True)
    try:
        found = torch.autograd.grad(attached, inputs, grads, allow_unused=True, **options)
    except Exception as error:
        raise Defect(f"the backward raises {type(error).__name__}: {first_line(error)}") from error
    return [dense(t, g) for t, g in zip(inputs, found, strict=True)]


def dense(tensor, gradient):
    if gradient is None:
        return torch.zeros_like(tensor)
    return gradient if gradient.layout == torch.strided else gradient.to_dense()


def gradients(subject, incoming=None, wanted=None, point=None):
    """The gradients at the point, of a fresh graph, for the arguments in `wanted`."""
    wanted = subject.differentiable if wanted is None else wanted
    tensors = subject.tensors(wanted, point)
    outputs = subject(tensors)
    incoming = incoming_for(subject, outputs) if incoming is None else incoming
    return backward(outputs, [tensors[i] for i in wanted], incoming)


def usual_size(subject):
    """The greatest entry of the gradients at the point, beside which rounding is judged elsewhere."""
    return max(map(largest, gradients(subject)), default=0.0)


def gaps(subject, found, expected, names=None, usual=None):
    """(name, difference) of the gradients that are not those expected."""
    names = names or subject.names()
    return unlike(names, found, expected, subject.tolerance, map(subject.negligible, names), usual)


def expect(subject, found, expected, what, names=None, usual=None):
    """The gradients are those expected."""
    wrong = gaps(subject, found, expected, names, usual)
    if wrong:
        raise Defect(f"{what}: the gradient of {wrong[0][0]}", [f"{name}: off by {gap:.2g}" for name, gap in wrong[:6]])


def expect_outputs(subject, found, expected, what, usual=None):
    """The outputs are those expected."""
    slacks = [subject.rounding * max(map(largest, subject.point), default=0.0)] * len(found)
    wrong = unlike(subject.output_names(), found, expected, subject.tolerance, slacks, usual)
    if wrong:
        raise Defect(f"{what}: {wrong[0][0]} is another", [f"{name}: off by {gap:.2g}" for name, gap in wrong[:6]])
