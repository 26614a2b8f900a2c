"""What other threads, two gradients at once and captured leaves show: kinds 6, 7 and 9."""

import contextvars
import threading
from types import SimpleNamespace

import torch
from torch.autograd import Function

from tests.testing.corpus.entry import draw
from tests.testing.corpus.hidden.entry import entry


class WeightedSum(Function):
    """2 x + 2 y + 5 z."""

    @staticmethod
    def forward(ctx, x, y, z):
        return 2 * x + 2 * y + 5 * z

    @staticmethod
    def backward(ctx, g):
        return 2 * g, 2 * g, 5 * g


class WeightedSumInOneBuffer(WeightedSum):
    @staticmethod
    def backward(ctx, g):
        buffer = torch.stack([2 * g, 5 * g])
        return buffer[0], buffer[0], buffer[1]


def _written_into(subject):
    """Of one gradient a half is taken in place, as gradient clipping does; what the other one is then."""
    x, y, z = (draw(3, 4, seed=seed) for seed in range(3))
    subject.apply(x, y, z).sum().backward()
    x.grad.mul_(0.5)
    return y.grad, torch.full_like(y, 2)


SCALE = contextvars.ContextVar("scale", default=1.0)


class ScaledSine(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        SCALE.set(3.0)
        return 3 * x.sin()

    @staticmethod
    def backward(ctx, g):
        return 3 * g * ctx.saved_tensors[0].cos()


class SineScaledByContext(ScaledSine):
    @staticmethod
    def backward(ctx, g):
        return SCALE.get() * g * ctx.saved_tensors[0].cos()


def _in_another_thread(subject):
    x, found = draw(3, 4), []
    y = subject.apply(x).sum()
    thread = threading.Thread(target=lambda: found.append(torch.autograd.grad(y, x)[0]))
    thread.start()
    thread.join()
    return found[0], 3 * x.detach().cos()


class SquareTimes(Function):
    """x w²."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return x * weight * weight

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        return g * weight * weight, (2 * g * x * weight).sum_to_size(weight.shape)


class SquareTimesHalved(SquareTimes):
    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        return g * weight * weight, (g * x * weight).sum_to_size(weight.shape)


LEAF = draw(4, seed=41)


def of_a_tuple(function):
    weights = ((LEAF, "relu"), 2)
    return lambda x: function.apply(x, weights[0][0])


def of_an_object(function):
    settings = SimpleNamespace(layers=({"scale": [LEAF]},))
    return lambda x: function.apply(x, settings.layers[0]["scale"][0])


class Slotted:
    __slots__ = ("function", "weight")

    def __init__(self, function):
        self.function, self.weight = function, LEAF

    def __call__(self, x):
        return self.function.apply(x, self.weight)


def of_a_helper(function):
    def helper(x):
        return function.apply(x, LEAF)

    return lambda x: helper(x) + x


def _of_the_leaf(subject):
    x = draw(3, 4)
    return torch.autograd.grad(subject(x).sum(), LEAF)[0], (2 * x.sum(0) * LEAF).detach()


def _x():
    return (draw(3, 4),)


DEFECTS = [
    entry("one_buffer_for_three", WeightedSumInOneBuffer, WeightedSum,
          lambda: tuple(draw(3, 4, seed=seed) for seed in range(3)), 6, _written_into),
    entry("scale_of_the_context", SineScaledByContext, ScaledSine, _x, 7, _in_another_thread),
    entry("leaf_in_a_tuple", of_a_tuple(SquareTimesHalved), of_a_tuple(SquareTimes), _x, 9, _of_the_leaf),
    entry("leaf_of_an_object", of_an_object(SquareTimesHalved), of_an_object(SquareTimes), _x, 9, _of_the_leaf),
    entry("leaf_in_slots", Slotted(SquareTimesHalved), Slotted(SquareTimes), _x, 9, _of_the_leaf),
    entry("leaf_of_a_helper", of_a_helper(SquareTimesHalved), of_a_helper(SquareTimes), _x, 9, _of_the_leaf),
]  # fmt: skip
