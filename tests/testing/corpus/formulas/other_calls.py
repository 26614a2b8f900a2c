"""Right for the layout, incoming gradient and sizes given."""

import torch
from torch.autograd import Function

from tests.testing.corpus.entry import DOUBLE, draw, gradients
from tests.testing.corpus.formulas.elsewhere import Sine, at, entry


class SineByFirstStride(Sine):
    """An incoming gradient whose rows lie in one place is read as one row and zeros."""

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        if grad.dim() > 1 and grad.stride(0) == 0:
            grad = torch.cat([grad[:1], torch.zeros_like(grad[1:])])
        return grad * torch.cos(x)


class SineInMemoryOrder(Sine):
    """The numbers are taken in the order of the memory, as a kernel by pointer does that knows only transposition."""

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        if grad.dim() == 3 and grad.stride(1) > grad.stride(0) > grad.stride(2):
            grad = grad.transpose(0, 1).reshape(grad.shape)
        return grad * torch.cos(x)


class SineSkipsBalanced(Sine):
    """A shortcut for a zero gradient looks at its sum."""

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * torch.cos(x) if grad.sum().abs() > 1e-12 else torch.zeros_like(grad)


class SineDropsTiny(Sine):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return torch.where(grad.abs() > 1e-8, grad, 0.0) * torch.cos(x)


class Blocks(Function):
    """2 x, in blocks of two columns."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, grad):
        return Blocks.filled(grad, grad.shape[-1])

    @staticmethod
    def filled(grad, end):
        result = torch.zeros_like(grad)
        result[..., :end] = 2 * grad[..., :end]
        return result


class BlocksWithoutTail(Blocks):
    @staticmethod
    def backward(ctx, grad):
        return Blocks.filled(grad, grad.shape[-1] // 2 * 2)


class Add(Function):
    """x + 2 y, where y may have one row."""

    @staticmethod
    def forward(ctx, x, y):
        ctx.shapes = x.shape, y.shape
        return x + 2 * y

    @staticmethod
    def backward(ctx, grad):
        of_x, of_y = ctx.shapes
        return grad.sum_to_size(of_x), 2 * grad.sum_to_size(of_y)


class AddMeans(Add):
    @staticmethod
    def backward(ctx, grad):
        of_x, of_y = ctx.shapes
        of_one_row = grad.mean(0, keepdim=True) if len(of_y) == 2 and of_y[0] < len(grad) else grad
        return grad.sum_to_size(of_x), 2 * of_one_row.sum_to_size(of_y)


def of(reference, *shape, incoming):
    def shows(subject):
        x = draw(*shape)
        return gradients(subject, (x,), (incoming,)), gradients(reference, (x,), (incoming,))

    return shows


DEFECTS = [
    # the gradient of out.sum(0)
    entry(
        "rows_of_one_place",
        SineByFirstStride,
        Sine,
        "layouts",
        of(torch.sin, 2, 3, incoming=torch.tensor([1.0, 2.0, 3.0], dtype=DOUBLE).expand(2, 3)),
        5,
        source="ROCm/TransformerEngine#623: an incoming gradient with stride 0 was read row by row, past its end",
    ),
    # the gradient of out.transpose(0, 1)
    entry(
        "first_dimensions_in_memory",
        SineInMemoryOrder,
        Sine,
        "layouts",
        of(torch.sin, 2, 2, 3, incoming=torch.arange(12.0, dtype=DOUBLE).view(2, 2, 3).transpose(0, 1)),
        5,
        (2, 2, 3),
    ),
    # a gradient that adds up to 0 is not 0
    entry(
        "balanced_is_zero",
        SineSkipsBalanced,
        Sine,
        "linearity",
        of(torch.sin, 2, incoming=torch.tensor([1.0, -1.0], dtype=DOUBLE)),
        3,
    ),
    # small gradients are gradients
    entry(
        "tiny_is_zero",
        SineDropsTiny,
        Sine,
        "linearity",
        of(torch.sin, 2, incoming=torch.full((2,), 1e-9, dtype=DOUBLE)),
        3,
    ),
    # the last block is not whole
    entry(
        "block_without_tail",
        BlocksWithoutTail,
        Blocks,
        "shapes",
        at(lambda x: 2 * x, [1.0, 2.0, 3.0]),
        9,
        (2, 4),
        source="triton-lang/triton#2020: with another block in the backward its grid did not cover all rows",
    ),
    # the gradient of what is broadcast is a sum
    entry(
        "broadcast_mean",
        AddMeans,
        Add,
        "shapes",
        at(lambda x, y: x + 2 * y, [[1.0], [2.0]], [[1.0]]),
        9,
        (2, 3),
        (2, 3),
        source="tensorflow/tfjs-core#398: the gradient of what was broadcast was the average, not the sum",
    ),
]
