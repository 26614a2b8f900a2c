"""Calls of a module as its users call it, with its own parameters."""

from contextlib import contextmanager

import torch

from torchbp.testing.numerics.gradients import backward, expect, expect_outputs, incoming_for
from torchbp.testing.subject.graph import leaves_of
from torchbp.testing.subject.module_copy import promote_attributes, tensor_slots
from torchbp.testing.subject.outputs import tensors_of
from torchbp.testing.subject.rng import Randomness


def call_module(subject, target, point):
    """The tensors that a module returns for the inputs among the tensors of a point."""
    inputs = [t for a, t in zip(subject.arguments, point, strict=True) if a.kind == "input"]
    inputs = [t.clone() for t in inputs] if subject.behaviour.in_place else inputs
    args, kwargs = subject.callee.inputs.unflatten(inputs)
    Randomness(subject.options.seed).seed()  # every generator: the other mode may draw where this one does not
    return tensors_of(target(*args, **kwargs))


def call_and_differentiate(subject, target, before_backward=lambda: None):
    """The leaves by which it is differentiated, those in which the graph ends, and (outputs, gradients)."""
    tensors = subject.fresh_tensors(subject.differentiable)
    state = {**dict(target.named_parameters()), **dict(target.named_buffers())}
    pairs = zip(subject.arguments, tensors, strict=True)
    tensors = [t if a.kind == "input" else state.get(a.name, t) for a, t in pairs]
    returned = call_module(subject, target, tensors)
    outputs = [returned[i] for i in subject.outputs.compared]
    leaves = [tensors[i] for i in subject.differentiable]
    graph_leaves = leaves_of(outputs)
    before_backward()
    found = backward(outputs, leaves, incoming_for(subject, outputs, 61))
    return leaves, graph_leaves, ([o.detach() for o in outputs], found)


def results_of(subject, target):
    """(outputs, gradients) of a module."""
    return call_and_differentiate(subject, target)[2]


def expect_results(subject, found, expected, where):
    """Expect outputs and gradients to be those of the module itself."""
    expect_outputs(subject, found[0], expected[0], where)
    expect(subject, found[1], expected[1], where)


def call_original(subject):
    """What the caller's module returns at the point, or None if it raises."""
    original = subject.callee.original
    with _restored(original):
        if any(tensor.dtype == torch.float64 for tensor in subject.point):
            promote_attributes(original)
        slots = tensor_slots(original)
        for argument, tensor in zip(subject.arguments, subject.fresh_tensors(), strict=True):
            for holder, key in slots.get(argument.name, ()) if argument.kind != "input" else ():
                holder[key] = tensor
        try:
            return [tensor.detach() for tensor in call_module(subject, original, subject.fresh_tensors())]
        except Exception:
            return None


@contextmanager
def _restored(module):
    """At the end, restore the attributes of the caller's module, and the dicts among them."""
    attributes = [vars(child) for child in module.modules()]
    dicts = [value for values in attributes for value in values.values() if isinstance(value, dict)]
    before = [(current, dict(current)) for current in [*attributes, *dicts]]
    try:
        yield
    finally:
        for current, old in before:
            current.clear()
            current.update(old)
