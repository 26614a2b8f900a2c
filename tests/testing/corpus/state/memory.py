"""Graphs that are not freed, and saved values that may be altered unseen."""

import gc
import weakref

import torch
from torch.autograd import Function

from tests.testing.corpus.entry import Defect, draw, raised


class Exp(Function):
    @staticmethod
    def forward(ctx, x):
        y = torch.exp(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return grad * y


class ExpOutputOnCtx(Exp):
    @staticmethod
    def forward(ctx, x):
        ctx.y = torch.exp(x)
        return ctx.y

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.y


class Square(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * grad * x


class SquareInputOnCtx(Square):
    @staticmethod
    def forward(ctx, x):
        ctx.x = x
        return x.square()

    @staticmethod
    def backward(ctx, grad):
        return 2 * grad * ctx.x


class SquareDataSaved(Square):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x.data)
        return x.square()


class SquareHistory(Square):
    history: list = []  # noqa: RUF012

    @staticmethod
    def forward(ctx, x):
        SquareHistory.history.append(x)
        ctx.save_for_backward(x)
        return x.square()


class SquareClosure(Square):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        ctx.slope = lambda: 2 * ctx.saved_tensors[0]
        return x.square()

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.slope()


def freed(subject):
    """Whether a graph that nobody holds is gone without the garbage collector."""
    gc.collect()
    gc.disable()
    try:
        x = draw(3)
        y = subject.apply(x)
        references = weakref.ref(y.grad_fn), weakref.ref(x)
        del x, y
        return [reference() is None for reference in references], [True, True]
    finally:
        gc.enable()


def altered(subject):
    """What the backward does where its saved value was altered."""
    x = draw(3)
    inner = 1 * x
    y = subject.apply(inner)
    inner.mul_(10)
    return raised(lambda: y.sum().backward()), "RuntimeError"


def entry(name, what, twin, shows, checks=("memory",), source=""):
    return Defect(name, what, lambda: (draw(3),), twin=twin, checks=checks, kind=7, shows=shows, source=source)


DEFECTS = [
    # the output on ctx holds ctx: never freed, not even by the garbage collector
    entry(
        "output_on_ctx",
        ExpOutputOnCtx,
        Exp,
        freed,
        ("memory", "second_order"),
        "pytorch/pytorch#25340: a context that holds its output as an attribute is not collected",
    ),
    # the input on ctx: altered in place later, and nobody notices
    entry(
        "input_on_ctx",
        SquareInputOnCtx,
        Square,
        altered,
        source="asappresearch/sru#171: tensors kept on ctx instead of saved for backward, a potential leak",
    ),
    # .data has another version counter: altered in place later, and nobody notices
    entry("data_saved", SquareDataSaved, Square, altered, ("memory", "second_order")),
    # a list on the class keeps every input
    entry(
        "history_on_the_class",
        SquareHistory,
        Square,
        freed,
        ("memory", "side_effects"),
        "dmlc/dgl#1060: a cache of tensors on ctx was not freed until it was cleared by hand",
    ),
    # a closure on ctx holds ctx: freed by the garbage collector only
    entry(
        "closure_on_ctx",
        SquareClosure,
        Square,
        freed,
        source="RobinBruegger/RevTorch#1: tensors kept on ctx stay where the backward is never called",
    ),
]
