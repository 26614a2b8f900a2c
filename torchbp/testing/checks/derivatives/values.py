"""Analytical against numerical derivatives, entry by entry."""

import torch

from torchbp.testing.checks.model.directions import DIRECTIONS, STEPS, audit_along_directions
from torchbp.testing.diagnosis.message import judged
from torchbp.testing.numerics.gradients import generator
from torchbp.testing.numerics.jacobian import compare
from torchbp.testing.numerics.screen import seems_right
from torchbp.testing.numerics.tensors import first_line, is_inexact, random_like
from torchbp.testing.report import CannotRun, Skipped, Unsupported
from torchbp.testing.subject.arguments import Call
from torchbp.testing.subject.prepare import subject_of

_MANY = 16  # arguments from which on they are looked at together first


def values(subject):
    if subject.is_large_model:
        return audit_along_directions(subject)
    if len(subject.differentiable) > _MANY and all(
        seems_right(subject, None, 70 + k, STEPS) for k in range(DIRECTIONS)
    ):
        return f"along {DIRECTIONS} random directions of all {len(subject.differentiable)} arguments at once"
    return judged(compare(subject))


def complex(subject):
    """The values again with complex numbers. Opt-in: few functions are meant to take them."""
    if any(subject.arguments[i].tensor.is_complex() for i in subject.differentiable):
        return values(subject)
    if subject.callee.module is not None:
        raise Skipped("a module of real parameters")
    source, tensors = generator(subject, 81), []
    for argument in subject.arguments:
        tensor = argument.tensor
        if argument.differentiable and is_inexact(tensor):
            imaginary = 0.5 * random_like(tensor, source)
            tensor = torch.complex(tensor, imaginary).requires_grad_()
        tensors.append(tensor)
    args, kwargs = subject.callee.inputs.unflatten(tensors)
    try:
        other = subject_of(subject.callee.original, Call(args, kwargs), subject.options)
    except CannotRun as error:
        raise Unsupported(f"refuses complex numbers: {first_line(error)}") from None
    return judged(compare(other))
