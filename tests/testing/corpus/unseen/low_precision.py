"""What lower precisions and their mixtures show: kinds 4, 5 and 12."""

import torch
from torch.autograd import Function

from tests.testing.corpus.entry import draw, raised
from tests.testing.corpus.hidden.entry import entry


def in_dtype(dtype, make_inputs, right, digits):
    """The first gradient, of a sum, rounded to so many decimals of its greatest number; and what is right."""

    def shows(subject):
        inputs = [t.detach().to(dtype).requires_grad_() for t in make_inputs()]
        found = torch.autograd.grad(subject.apply(*inputs).sum(), inputs[-1])[0].double()
        expected = right(*(t.detach().double() for t in inputs))
        return tuple((t / expected.abs().max()).round(decimals=digits).tolist() for t in (found, expected))

    return shows


class Swish(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx, g):
        x = ctx.saved_tensors[0].to(g.dtype)
        y = torch.sigmoid(x)
        return g * (y + x * y * (1 - y))


class SwishCompressed(Swish):
    """The input is saved in bfloat16, where it is float32."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x.bfloat16() if x.dtype == torch.float32 else x)
        return x * torch.sigmoid(x)


class ShiftedBySine(Function):
    @staticmethod
    def forward(ctx, x, bias):
        ctx.save_for_backward(bias)
        return x + bias.sin()

    @staticmethod
    def backward(ctx, g):
        (bias,) = ctx.saved_tensors
        return g, g.double().sum_to_size(bias.shape).to(g.dtype) * bias.cos()


class ShiftedRowByRow(ShiftedBySine):
    """In float16 a sum of 2048 stays what it is, where 1 is added."""

    @staticmethod
    def backward(ctx, g):
        (bias,) = ctx.saved_tensors
        total = torch.zeros_like(bias)
        for row in g:
            total = total + row
        return g, total * bias.cos()


class InverseRoot(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.rsqrt()

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return -0.5 * g * x.rsqrt() / x


class InverseRootOfCube(InverseRoot):
    """x³ overflows in float16 from 41 on."""

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return -0.5 * g * (x * x * x).rsqrt()


class Linear(Function):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return x @ weight.t().to(x.dtype)

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        return g @ weight.to(g.dtype), g.to(weight.dtype).t() @ x.to(weight.dtype)


class LinearOfOneDtype(Linear):
    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        return g @ weight, g.t() @ x


def _mixed(subject):
    x, weight = draw(5, 4, dtype=torch.bfloat16), draw(3, 4, seed=1, dtype=torch.float32)
    return raised(lambda: subject.apply(x, weight).sum().backward()), "nothing"


class Sigmoid(Function):
    @staticmethod
    def forward(ctx, x):
        y = torch.sigmoid(x)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx, g):
        _, y = ctx.saved_tensors
        return g * y * (1 - y)


class SigmoidByExp(Sigmoid):
    @staticmethod
    def backward(ctx, g):
        e = torch.exp(-ctx.saved_tensors[0])
        return g * e / (1 + e) ** 2


def _far(subject):
    x = torch.full((2,), -100.0, requires_grad=True)
    return torch.autograd.grad(subject.apply(x).sum(), x)[0].isnan(), torch.tensor([False, False])


DEFECTS = [
    entry("saved_in_bfloat16", SwishCompressed, Swish, lambda: (draw(3, 4),), 4,
          in_dtype(torch.float32, lambda: (draw(3, 4),), lambda x: x.sigmoid() * (1 + x * (1 - x.sigmoid())), 4)),
    entry("summed_row_by_row", ShiftedRowByRow, ShiftedBySine, lambda: (draw(3, 4), draw(4, seed=1)), 4,
          in_dtype(torch.float16, lambda: (draw(4000, 4), draw(4, seed=1)), lambda _, b: 4000 * b.cos(), 2)),
    entry("cube_overflows_in_float16", InverseRootOfCube, InverseRoot, lambda: (draw(3, 4, low=0.5, high=2),), 4,
          in_dtype(torch.float16, lambda: (torch.full((2,), 64.0),), lambda x: -0.5 * x.rsqrt() / x, 2),
          domain=(0.01, 1e3)),
    entry("backward_of_one_dtype", LinearOfOneDtype, Linear, lambda: (draw(5, 4), draw(3, 4, seed=1)), 5, _mixed),
    entry("exp_overflows_in_the_backward", SigmoidByExp, Sigmoid, lambda: (draw(3, 4),), 12, _far),
]  # fmt: skip
