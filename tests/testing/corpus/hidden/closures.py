"""Leaves that a function holds without taking them as arguments."""

import functools

import torch
from torch import nn
from torch.autograd import Function

from tests.testing.corpus.entry import DOUBLE, draw
from tests.testing.corpus.hidden.entry import entry

HIDDEN = draw(4, seed=5)


def scaled_by_a_cut_leaf(x):
    return x * HIDDEN.detach()


def scaled_by_a_leaf(x):
    return x * HIDDEN


class _Tanh(Function):
    @staticmethod
    def forward(ctx, x, bias):
        ctx.save_for_backward(x, bias)
        return torch.tanh(x + bias)

    @staticmethod
    def backward(ctx, g):
        x, bias = ctx.saved_tensors
        slope = g * (1 - torch.tanh(x + bias) ** 2)
        return slope, slope.sum(0) if ctx.needs_input_grad[1] else None


class _TanhWrong(_Tanh):
    @staticmethod
    def backward(ctx, g):
        x, bias = ctx.saved_tensors
        slope = g * (1 - torch.tanh(x + bias) ** 2)
        return slope, slope[0]


class Layer:
    """No module: an object with a parameter, as a closure would hold it."""

    def __init__(self, function):
        self.bias = nn.Parameter(draw(4, seed=6, grad=False))
        self.function = function

    def __call__(self, x):
        return self.function.apply(x, self.bias)


def _closed_over(subject):
    leaf = HIDDEN
    out = subject(draw(3, 4)).sum()
    got = torch.autograd.grad(out, leaf, allow_unused=True)[0]
    return torch.zeros_like(leaf) if got is None else got, draw(3, 4, grad=False).sum(0)


def _layer(subject):
    x = draw(3, 4)
    right = (1 - torch.tanh(x + subject.bias) ** 2).sum(0)
    return torch.autograd.grad(subject(x).sum(), subject.bias)[0], right.detach()


class ScaledSine(Function):
    @staticmethod
    def forward(ctx, x, scale):
        ctx.save_for_backward(x, scale)
        return scale * x.sin()

    @staticmethod
    def backward(ctx, g):
        x, scale = ctx.saved_tensors
        return g * scale * x.cos(), (g * x.sin()).sum_to_size(scale.shape)


class ScaledCosine(ScaledSine):
    @staticmethod
    def backward(ctx, g):
        x, scale = ctx.saved_tensors
        return g * scale * x.cos(), (g * x.cos()).sum_to_size(scale.shape)


def scaled(x, scale, function):
    return function.apply(x, scale)


SCALE = draw(4, seed=21)

LINEAR = nn.Linear(4, 4, bias=False, dtype=DOUBLE)


def through_a_module(function):
    def call(x):
        return function.apply(x, LINEAR.weight[0]) + 0 * LINEAR(x)

    return call


def _leaf_gradient(leaf, right):
    def shows(subject):
        x = draw(3, 4)
        got = torch.autograd.grad(subject(x).sum(), leaf, allow_unused=True)[0]
        return got[0] if got.dim() > 1 else got, right(x.detach())

    return shows


class Gain(Function):
    @staticmethod
    def forward(ctx, x, gain):
        ctx.save_for_backward(x, gain)
        return x * gain

    @staticmethod
    def backward(ctx, g):
        x, gain = ctx.saved_tensors
        return g * gain, (g * x).sum_to_size(gain.shape)


class GainOfFirstRow(Gain):
    @staticmethod
    def backward(ctx, g):
        x, gain = ctx.saved_tensors
        return g * gain, (g * x)[0]


LEAF = draw(4, seed=31)


def of_a_dict(function):
    parameters = {"gain": LEAF}
    return lambda x: function.apply(x, parameters["gain"])


def of_a_default(function):
    def call(x, gain=LEAF):
        return function.apply(x, gain)

    return call


class Holder:
    """An object that holds an object that holds a parameter."""

    def __init__(self, function):
        self.layers = [nn.Module()]
        self.layers[0].gain = nn.Parameter(LEAF.detach().clone())
        self.function = function

    def run(self, x):
        return self.function.apply(x, self.layers[0].gain)


def _of_leaf(leaf):
    def shows(subject):
        x, held = draw(3, 4), leaf(subject)
        return torch.autograd.grad(subject(x).sum(), held)[0], x.detach().sum(0)

    return shows


def the_leaf(subject):
    return LEAF


def of_the_holder(subject):
    return subject.__self__.layers[0].gain


DEFECTS = [
    entry("unseen: a leaf that is cut", scaled_by_a_cut_leaf, scaled_by_a_leaf, lambda: (draw(3, 4),), 9,
          _closed_over),
    entry("unseen: an object's parameter", Layer(_TanhWrong), Layer(_Tanh), lambda: (draw(3, 4),), 9, _layer),
    entry("leaf_of_a_partial", functools.partial(scaled, scale=SCALE, function=ScaledCosine),
          functools.partial(scaled, scale=SCALE, function=ScaledSine), lambda: (draw(3, 4),), 9,
          _leaf_gradient(SCALE, lambda x: x.sin().sum(0))),
    entry("weight_of_a_module_in_a_closure", through_a_module(ScaledCosine), through_a_module(ScaledSine),
          lambda: (draw(3, 4),), 9, _leaf_gradient(LINEAR.weight, lambda x: x.sin().sum(0))),
    entry("leaf_in_a_dict", of_a_dict(GainOfFirstRow), of_a_dict(Gain), lambda: (draw(3, 4),), 9, _of_leaf(the_leaf)),
    entry("leaf_as_a_default", of_a_default(GainOfFirstRow), of_a_default(Gain), lambda: (draw(3, 4),), 9,
          _of_leaf(the_leaf)),
    entry("parameter_of_a_layer_of_an_object", Holder(GainOfFirstRow).run, Holder(Gain).run, lambda: (draw(3, 4),), 9,
          _of_leaf(of_the_holder)),
]  # fmt: skip
