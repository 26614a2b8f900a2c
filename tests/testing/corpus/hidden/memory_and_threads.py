"""Gradients that share memory, and backwards that need the thread of the forward."""

import contextvars
import threading

import torch
from torch.autograd import Function

from tests.testing.corpus.entry import draw, gradients
from tests.testing.corpus.hidden.demonstrations import pair
from tests.testing.corpus.hidden.entry import entry


def _one_gradient(g):
    both = 2 * g
    return both.view(g.shape), both.view(g.shape)


Doubled, DoubledTwin = pair("Doubled", lambda a, b: (2 * a + 2 * b, ()), _one_gradient, lambda g: (2 * g, 2 * g))

Dot, DotTwin = pair(
    "Dot",
    lambda a, b: ((a * b).sum(), (a, b)),
    lambda g, a, b: (b.view(b.shape), a.view(a.shape)) if g.item() == 1 else (g * b, g * a),
    lambda g, a, b: (g * b, g * a),
)

LOCAL = threading.local()

VARIABLE = contextvars.ContextVar("power", default=1)


def _local_sine(x):
    LOCAL.factor = 3.0
    return 3 * x.sin(), (x,)


LocalSine, LocalSineTwin = pair(
    "LocalSine",
    _local_sine,
    lambda g, x: g * x.cos() * getattr(LOCAL, "factor", 1.0),
    lambda g, x: g * x.cos() * 3.0,
)


def _variable_cube(x):
    VARIABLE.set(3)
    return x**3, (x,)


VariableCube, VariableCubeTwin = pair(
    "VariableCube", _variable_cube, lambda g, x: g * VARIABLE.get() * x**2, lambda g, x: g * 3 * x**2
)


def _in_thread(inputs, right):
    def shows(subject):
        seen = []
        apply = subject.apply
        x = inputs()
        out = apply(*x).sum()

        def target():
            try:
                out.backward()
                seen.append(x[0].grad)
            except Exception:
                seen.append(torch.tensor(float("nan")))

        thread = threading.Thread(target=target)
        thread.start()
        thread.join()
        return seen[0], gradients(right, inputs())[0]

    return shows


def _shared(inputs):
    def shows(subject):
        x = inputs()
        before = [i.detach().clone() for i in x]
        grads = torch.autograd.grad(subject.apply(*x).sum(), x)
        held = [grads[0].clone(), before]
        grads[1].data.zero_()
        return (grads[0].clone(), *(i.detach().clone() for i in x)), (held[0], *held[1])

    return shows


def _halves(g):
    half = g / 2
    return half.view(g.shape), half.view(g.shape)


Average, AverageTwin = pair("Average", lambda a, b: ((a + b) / 2, ()), _halves, lambda g: (g / 2, g / 2))


def _shifted_sum(a, b):
    out = torch.zeros(len(a) + 1, dtype=a.dtype)
    out[:-1] += a
    out[1:] += b
    return 2 * out, ()


def _overlapping(copies):
    def backward(g):
        both = 2 * g
        return both[:-1], both[1:].clone() if copies else both[1:]

    return backward


Shifts, ShiftsTwin = pair("Shifts", _shifted_sum, _overlapping(False), _overlapping(True))

RANK, BY_THREAD = threading.local(), {}


def _ranked(x):
    RANK.scale = 2.0
    return 2 * x.exp(), (x,)


Ranked, RankedTwin = pair(
    "Ranked",
    _ranked,
    lambda g, x: g * x.exp() * getattr(RANK, "scale", 0.0),
    lambda g, x: g * x.exp() * 2.0,
)


def _by_thread(x):
    BY_THREAD[threading.get_ident()] = 5.0
    return 5 * x * x, (x,)


ByThread, ByThreadTwin = pair(
    "ByThread",
    _by_thread,
    lambda g, x: g * 2 * BY_THREAD[threading.get_ident()] * x,
    lambda g, x: g * 10 * x,
)


def _three_of_one(g):
    third = g / 3
    return third, third.view_as(third), third.view_as(third)


MeanOfThree, MeanOfThreeTwin = pair(
    "MeanOfThree",
    lambda a, b, c: ((a + b + c) / 3, ()),
    _three_of_one,
    lambda g: (g / 3, g / 3, g / 3),
)


class ScaledInPlace(Function):
    """The sum of squares; its slope is kept, and multiplied by the incoming gradient where it lies."""

    @staticmethod
    def forward(ctx, x):
        ctx.slope = 2 * x.detach()
        return x.square().sum()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        return ctx.slope.mul_(g)


class ScaledAnew(ScaledInPlace):
    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        return ctx.slope * g


STACK, OWNER = threading.local(), {}


def _pushed(x):
    STACK.scales = [4.0]
    return 4 * x.sin(), (x,)


def _stack_gradient(g, x):
    return g * x.cos() * STACK.scales[-1]


Stacked, StackedTwin = pair("Stacked", _pushed, _stack_gradient, lambda g, x: g * x.cos() * 4.0)


def _owned(x):
    OWNER["thread"] = threading.current_thread().name
    return x.exp(), (x,)


Owned, OwnedTwin = pair(
    "Owned",
    _owned,
    lambda g, x: g * x.exp() if threading.current_thread().name == OWNER["thread"] else torch.zeros_like(x),
    lambda g, x: g * x.exp(),
)


def _second_backward(subject):
    x = draw(3)
    loss = 2 * subject.apply(x)
    return tuple(torch.autograd.grad(loss, x, retain_graph=True)[0].clone() for _ in range(2)), (4 * x, 4 * x)


THREE = [lambda: tuple(draw(3, seed=k) for k in range(3))]

DEFECTS = [
    entry("unseen: two views of one gradient", Doubled, DoubledTwin, lambda: (draw(3), draw(3, seed=1)), 6,
          _shared(lambda: (draw(3), draw(3, seed=1)))),
    entry("unseen: a gradient that is an input", Dot, DotTwin, lambda: (draw(3), draw(3, seed=1)), 6,
          _shared(lambda: (draw(3), draw(3, seed=1)))),
    entry("unseen: a number of the forward's thread", LocalSine, LocalSineTwin, lambda: (draw(3),), 7,
          _in_thread(lambda: (draw(3),), lambda x: 3 * x.sin()),
          source="pytorch/pytorch#191777: autograd's threads do not see the caller's values"),
    entry("unseen: a variable of the forward's context", VariableCube, VariableCubeTwin, lambda: (draw(3),), 7,
          _in_thread(lambda: (draw(3),), lambda x: x**3),
          source="pytorch/pytorch#186583: context variables did not reach autograd's threads"),
    entry("two_views_of_a_half", Average, AverageTwin, lambda: (draw(3), draw(3, seed=1)), 6,
          _shared(lambda: (draw(3), draw(3, seed=1))),
          "pytorch/pytorch#46168: gradients of one storage go their ways, and writing into one alters the other"),
    entry("overlapping_slices", Shifts, ShiftsTwin, lambda: (draw(3), draw(3, seed=1)), 6,
          _shared(lambda: (draw(3), draw(3, seed=1)))),
    entry("rank_of_the_thread", Ranked, RankedTwin, lambda: (draw(3),), 7,
          _in_thread(lambda: (draw(3),), lambda x: 2 * x.exp()),
          "pytorch/xla#3949: a rank in a thread local was another one in the backward's thread"),
    entry("cache_by_thread", ByThread, ByThreadTwin, lambda: (draw(3),), 7,
          _in_thread(lambda: (draw(3),), lambda x: 5 * x * x)),
    entry("three_views_of_one", MeanOfThree, MeanOfThreeTwin, THREE[0], 6, _shared(THREE[0])),
    entry("slope_scaled_in_place", ScaledInPlace, ScaledAnew, lambda: (draw(3),), 6, _second_backward,
          "k2-fsa/k2#1106: a loss multiplied its gradient in place, and a second backward was wrong",
          ("side_effects", "determinism", "memory", "linearity")),
    entry("stack_of_the_thread", Stacked, StackedTwin, lambda: (draw(3),), 7,
          _in_thread(lambda: (draw(3),), lambda x: 4 * x.sin())),
    entry("only_the_thread_of_the_forward", Owned, OwnedTwin, lambda: (draw(3),), 7,
          _in_thread(lambda: (draw(3),), torch.exp)),
]  # fmt: skip
