"""Functions of torch, and custom ones that only look unsound."""

import torch
from torch import nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from tests.testing.corpus.entry import DOUBLE, Sound, draw


class SquareOnce(Function):
    """Refuses second derivatives."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * grad * x


class Affine(Function):
    """Knows neither vmap nor forward mode."""

    @staticmethod
    def forward(ctx, x, scale):
        ctx.save_for_backward(x, scale)
        return x * scale

    @staticmethod
    def backward(ctx, grad):
        x, scale = ctx.saved_tensors
        return grad * scale, (grad * x).sum(0)


class Power(Function):
    """Has an argument that is no tensor."""

    @staticmethod
    def forward(ctx, x, exponent):
        ctx.exponent = exponent
        ctx.save_for_backward(x)
        return x**exponent

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * ctx.exponent * x ** (ctx.exponent - 1), None


class RowMaximum(Function):
    """Two outputs, one of them an index."""

    @staticmethod
    def forward(ctx, x):
        values, places = x.max(-1)
        ctx.mark_non_differentiable(places)
        ctx.save_for_backward(places)
        ctx.columns = x.shape[-1]
        return values, places

    @staticmethod
    def backward(ctx, grad, _):
        (places,) = ctx.saved_tensors
        return grad.unsqueeze(-1) * F.one_hot(places, ctx.columns).to(grad.dtype)


class UnsummedBias(Function):
    """The gradient of the bias has the shape of the output: the engine sums it."""

    @staticmethod
    def forward(ctx, x, bias):
        return x + bias

    @staticmethod
    def backward(ctx, grad):
        return grad, grad


class ReluInPlace(Function):
    """In place, and says so."""

    @staticmethod
    def forward(ctx, x):
        ctx.mark_dirty(x)
        x.clamp_(min=0)
        ctx.save_for_backward(x)
        return x

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return grad * (y > 0)


def relu_of_copy(x):
    return ReluInPlace.apply(1 * x)


def chosen(x, index, mask):
    """Takes integers and booleans."""
    return torch.where(mask, x[index], torch.zeros_like(x))


def cholesky(x):
    """Of the positive definite matrix x·xᵀ + 1."""
    return torch.linalg.cholesky(x @ x.mT + torch.eye(x.shape[-2], dtype=x.dtype, device=x.device))


def inverse(x):
    return torch.linalg.inv(x @ x.mT + torch.eye(x.shape[-2], dtype=x.dtype, device=x.device))


def dropout_by_hand(x):
    return x * (torch.rand_like(x) < 0.8) / 0.8


def maximum(x):
    return x.max(-1)


def ordered(x):
    return torch.sort(x, -1)


def top(x):
    return torch.topk(x, 2, -1)


def clamped(x):
    return x.clamp(-0.5, 0.5)


def norm(x):
    return torch.linalg.vector_norm(x, dim=-1)


def bilinear(x, weight, y):
    return torch.einsum("bi,oij,bj->bo", x, weight, y)


def rows(x, index):
    return torch.index_select(x, 0, index)


def logsumexp(x):
    return torch.logsumexp(x, -1)


def softmax(x):
    return torch.softmax(x, -1)


def cut(x):
    """A part of what it computes takes no gradient, on purpose."""
    return x * torch.sigmoid(x), (x > 0).to(x.dtype)


def special(*values):
    return torch.tensor(values, dtype=DOUBLE, requires_grad=True)


SOUND = [
    Sound("cross_entropy_of_probabilities", F.cross_entropy, lambda: (draw(4, 3), draw(4, 3, seed=1, low=0.0))),
    Sound("sqrt", torch.sqrt, lambda: (draw(2, 3, low=0.5, high=4.0),), {"domain": (1e-2, 1e4)}),
    Sound("abs", torch.abs, lambda: (special(-2.0, -1e-7, 0.0, 1e-7, 3.0),)),
    Sound("relu_at_0", torch.relu, lambda: (special(-1.0, 0.0, 2.0),)),
    Sound("max", maximum, lambda: (draw(2, 4),), {"batch_dims": 1}),
    Sound("max_of_equals", torch.amax, lambda: (special(1.0, 2.0, 2.0),)),
    Sound("sort", ordered, lambda: (draw(2, 4),), {"batch_dims": 1}),
    Sound("topk", top, lambda: (draw(2, 4),), {"batch_dims": 1}),
    Sound("cholesky", cholesky, lambda: (draw(3, 3),)),
    Sound("inverse", inverse, lambda: (draw(3, 3),)),
    Sound("logsumexp", logsumexp, lambda: (draw(2, 4),), {"batch_dims": 1}),
    Sound("softmax", softmax, lambda: (draw(2, 4),), {"batch_dims": 1}),
    Sound("clamp", clamped, lambda: (special(-2.0, -0.5, 0.1, 0.5, 2.0),)),
    Sound("norm", norm, lambda: (draw(2, 3),), {"batch_dims": 1}),
    Sound("matmul", torch.matmul, lambda: (draw(2, 3), draw(3, 4, seed=1))),
    Sound("einsum", bilinear, lambda: (draw(2, 3), draw(2, 3, 2, seed=1), draw(2, 2, seed=2))),
    Sound("index_select", rows, lambda: (draw(4, 2), torch.tensor([0, 2, 2]))),
    Sound(
        "integers_and_booleans", chosen, lambda: (draw(3), torch.tensor([2, 0, 1]), torch.tensor([True, False, True]))
    ),
    Sound("dropout_by_hand", dropout_by_hand, lambda: (draw(4, 3),)),
    Sound("once_differentiable", SquareOnce, lambda: (draw(2, 3),)),
    Sound("neither_vmap_nor_jvp", Affine, lambda: (draw(2, 3), draw(3, seed=1))),
    Sound("argument_not_a_tensor", Power, lambda: (draw(2, 3, low=0.5, high=2.0), 3)),
    Sound("output_not_differentiable", RowMaximum, lambda: (draw(2, 4),)),
    Sound("unsummed_bias", UnsummedBias, lambda: (draw(4, 3), draw(3, seed=1))),
    Sound("in_place_on_a_copy", relu_of_copy, lambda: (draw(2, 3),)),
    Sound("output_without_gradient", cut, lambda: (draw(2, 3),)),
    Sound("mse_with_reference", F.mse_loss, lambda: (draw(4), draw(4, seed=1)), {"reference": nn.MSELoss()}),
]
