"""What other constants, options, sizes and numbers show: kinds 2, 3 and 10."""

import torch
from torch.autograd import Function

from tests.testing.corpus.entry import draw, gradients
from tests.testing.corpus.hidden.entry import entry


def at(make_inputs, right):
    """The gradients of the differentiable inputs at others than those given, and what is right."""

    def shows(subject):
        return gradients(subject, make_inputs())[0], right(*make_inputs())

    return shows


class MeanSquareOfKept(Function):
    """The mean of x² over the entries that a mask keeps."""

    @staticmethod
    def forward(ctx, x, mask):
        ctx.save_for_backward(x, mask)
        return (x * x * mask).sum() / mask.sum()

    @staticmethod
    def backward(ctx, g):
        x, mask = ctx.saved_tensors
        return 2 * g * x * mask / mask.sum(), None


class MeanSquareOfAll(MeanSquareOfKept):
    @staticmethod
    def backward(ctx, g):
        x, mask = ctx.saved_tensors
        return 2 * g * x * mask / mask.numel(), None


class Rows(Function):
    """Rows of a table by their index."""

    @staticmethod
    def forward(ctx, table, index):
        ctx.save_for_backward(index)
        ctx.shape = table.shape
        return table[index]

    @staticmethod
    def backward(ctx, g):
        return g.new_zeros(ctx.shape).index_add(0, ctx.saved_tensors[0], g), None


class RowsCopied(Rows):
    @staticmethod
    def backward(ctx, g):
        return g.new_zeros(ctx.shape).index_copy(0, ctx.saved_tensors[0], g), None


class Huber(Function):
    @staticmethod
    def forward(ctx, x, delta):
        ctx.save_for_backward(x)
        ctx.delta = delta
        return torch.where(x.abs() < delta, 0.5 * x * x, delta * (x.abs() - 0.5 * delta))

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0].clamp(-ctx.delta, ctx.delta), None


class HuberOfOne(Huber):
    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0].clamp(-1, 1), None


def huber(x, delta=1.0):
    return Huber.apply(x, delta)


def huber_of_one(x, delta=1.0):
    return HuberOfOne.apply(x, delta)


def _with_delta_2(subject):
    x = draw(3, 4, low=-3, high=3)
    return torch.autograd.grad(subject(x, 2.0).sum(), x)[0], x.detach().clamp(-2, 2)


class CumulatedSquares(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x * x).cumsum(-1)

    @staticmethod
    def backward(ctx, g):
        return 2 * ctx.saved_tensors[0] * g.flip(-1).cumsum(-1).flip(-1)


class CumulatedInBlocks(CumulatedSquares):
    """Blocks of 32 columns, without what one block adds to the next."""

    @staticmethod
    def backward(ctx, g):
        blocks = [block.flip(-1).cumsum(-1).flip(-1) for block in g.split(32, -1)]
        return 2 * ctx.saved_tensors[0] * torch.cat(blocks, -1)


class SoftPlus(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.nn.functional.softplus(x, threshold=30)

    @staticmethod
    def backward(ctx, g):
        return g * torch.sigmoid(ctx.saved_tensors[0])


class SoftPlusAboveThirty(SoftPlus):
    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * torch.where(x > 30, x, torch.sigmoid(x))


class ClampedProduct(Function):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return clamped(x, weight)

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        g = g * ((x * weight).abs() <= 50)
        return g * weight, g * x


class ClampedProductStraightThrough(ClampedProduct):
    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        return g * weight, g * x


def clamped(x, weight):
    return (x * weight).clamp(-50, 50)


def _of_squares(x):
    return 2 * x.detach() * torch.arange(x.shape[-1], 0, -1)


def _far(*shape):
    return (draw(*shape).detach() * 100).requires_grad_()


DEFECTS = [
    entry("mean_over_the_masked_too", MeanSquareOfAll, MeanSquareOfKept,
          lambda: (draw(3, 4), torch.ones(3, 4, dtype=torch.bool)), 2,
          at(lambda: (draw(3, 4), draw(3, 4, seed=1, grad=False) > 0),
             lambda x, m: 2 * x.detach() * m / m.sum())),
    entry("repeated_rows_copied", RowsCopied, Rows, lambda: (draw(5, 2), torch.tensor([2, 0, 4])), 2,
          at(lambda: (draw(5, 2), torch.tensor([2, 2, 2])),
             lambda x, i: 3.0 * torch.nn.functional.one_hot(i[:1], 5).T.expand(5, 2).to(x))),
    entry("delta_is_one", huber_of_one, huber, lambda: (draw(3, 4, low=-3, high=3),), 2, _with_delta_2),
    entry("blocks_without_a_carry", CumulatedInBlocks, CumulatedSquares, lambda: (draw(3, 4),), 3,
          at(lambda: (draw(2, 40),), _of_squares), checks=("shapes",)),
    entry("linear_part_squared", SoftPlusAboveThirty, SoftPlus, lambda: (draw(3, 4),), 3,
          at(lambda: (_far(3, 4),), lambda x: torch.sigmoid(x.detach())), checks=("magnitudes",)),
    entry("straight_through_beyond_50", ClampedProductStraightThrough, ClampedProduct,
          lambda: (draw(3, 4), draw(3, 4, seed=1)), 10,
          at(lambda: (_far(3, 4), draw(3, 4, seed=1)),
             lambda x, w: (w * ((x * w).abs() <= 50)).detach()), reference=clamped),
]  # fmt: skip
