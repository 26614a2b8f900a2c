"""Calls of a module as its users call it, with parameters of its own."""

from contextlib import contextmanager
from types import FunctionType

import torch

from torchbp.testing.numerics.gradients import backward, expect, expect_outputs, incoming_for
from torchbp.testing.subject.graph import leaves_of
from torchbp.testing.subject.module_copy import promote_attributes, tensor_slots
from torchbp.testing.subject.outputs import tensors_of
from torchbp.testing.subject.rng import Randomness


def call(subject, target, point):
    """The tensors that a module of its own parameters gives of the inputs among the tensors of a point."""
    inputs = [t for a, t in zip(subject.arguments, point, strict=True) if a.kind == "input"]
    args, kwargs = subject.callee.inputs.unflatten(
        [t.clone() for t in inputs] if subject.behaviour.in_place else inputs
    )
    Randomness(subject.options.seed).seed()  # every generator: the other mode may draw where this one does not
    return tensors_of(target(*args, **kwargs))


def graph(subject, target, between=lambda: None):
    """The leaves, those that the graph ends in, and the results; `between` is called before the backward."""
    tensors = subject.fresh_tensors(subject.differentiable)
    held = {**dict(target.named_parameters()), **dict(target.named_buffers())}
    pairs = zip(subject.arguments, tensors, strict=True)
    tensors = [t if a.kind == "input" else held.get(a.name, t) for a, t in pairs]
    raw = call(subject, target, tensors)
    outputs = [raw[i] for i in subject.outputs.compared]
    leaves = [tensors[i] for i in subject.differentiable]
    reached = leaves_of(outputs)
    between()
    found = backward(outputs, leaves, incoming_for(subject, outputs, 61))
    return leaves, reached, ([o.detach() for o in outputs], found)


def results(subject, target):
    """The outputs and the gradients."""
    return graph(subject, target)[2]


def compared(subject, found, expected, what):
    expect_outputs(subject, found[0], expected[0], what)
    expect(subject, found[1], expected[1], f"{what} gives another gradient")


def strays(module):
    """Whether it keeps functions, as hooks are, that hold one of its modules: deepcopy does not copy functions."""
    own = {id(child) for child in module.modules()}
    attributes = [value for child in module.modules() for value in vars(child).values()]
    kept = [v for value in attributes for v in (value.values() if isinstance(value, dict) else [value])]
    return any(id(held) in own for function in kept if isinstance(function, FunctionType) for held in held_by(function))


def held_by(function):
    """What a function closes over, and its defaults."""
    cells = [cell.cell_contents for cell in function.__closure__ or () if cell != type(cell)()]
    return [*cells, *(function.__defaults__ or ())]


def original_outputs(subject):
    """What the caller's module gives at the point, or None where it raises."""
    with borrowed(subject.callee.original):
        if any(tensor.dtype == torch.float64 for tensor in subject.point):
            promote_attributes(subject.callee.original)
        holders = tensor_slots(subject.callee.original)
        for argument, tensor in zip(subject.arguments, subject.fresh_tensors(), strict=True):
            for held, key in holders.get(argument.name, ()) if argument.kind != "input" else ():
                held[key] = tensor
        try:
            return [tensor.detach() for tensor in call(subject, subject.callee.original, subject.fresh_tensors())]
        except Exception:
            return None


@contextmanager
def borrowed(module):
    """The caller's module, for a call: its attributes, and the dicts among them, are put back."""
    attributes = [vars(child) for child in module.modules()]
    dicts = [value for held in attributes for value in held.values() if isinstance(value, dict)]
    before = [(held, dict(held)) for held in [*attributes, *dicts]]
    try:
        yield
    finally:
        for held, old in before:
            held.clear()
            held.update(old)
