"""A sine, and how what is wrong elsewhere is shown."""

import torch
from torch.autograd import Function

from tests.testing.corpus.entry import DOUBLE, Defect, draw, gradients


class Sine(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.sin(x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * torch.cos(x)


def at(reference, *points):
    def shows(subject):
        inputs = [torch.tensor(p, dtype=DOUBLE, requires_grad=True) for p in points]
        return gradients(subject, inputs), gradients(reference, inputs)

    return shows


def entry(name, what, twin, checks, shows, kind, *shapes, source="", low=-1.0, high=1.0):
    shapes = shapes or ((2, 3),)
    return Defect(
        name,
        what,
        lambda: tuple(draw(*shape, seed=i, low=low, high=high) for i, shape in enumerate(shapes)),
        twin=twin,
        checks=(checks,),
        kind=kind,
        shows=shows,
        source=source,
    )
