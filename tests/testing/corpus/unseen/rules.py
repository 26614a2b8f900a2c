"""What forward mode, vmap, second derivatives and frozen arguments show."""

import torch
from torch.autograd import Function

from tests.testing.corpus.entry import draw, gradients, second
from tests.testing.corpus.hidden.entry import entry


class Product(Function):
    @staticmethod
    def forward(x, y):
        return x * y

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, g):
        x, y = ctx.saved_tensors
        return (None, None) if g is None else (g * y, g * x)

    @staticmethod
    def jvp(ctx, dx, dy):
        x, y = ctx.saved_tensors
        return sum(tangent * other for tangent, other in ((dx, y), (dy, x)) if tangent is not None)

    @staticmethod
    def vmap(info, in_dims, x, y):
        x = x.movedim(in_dims[0], 0) if in_dims[0] is not None else x
        y = y.movedim(in_dims[1], 0) if in_dims[1] is not None else y
        return Product.apply(x, y), 0


class ProductOfTangents(Product):
    @staticmethod
    def jvp(ctx, dx, dy):
        x, y = ctx.saved_tensors
        if dx is None or dy is None:
            return dx * y if dy is None else dy * y
        return dx * y + dy * x


class ProductOfFirstBatch(Product):
    @staticmethod
    def vmap(info, in_dims, x, y):
        x = x.movedim(in_dims[0], 0) if in_dims[0] is not None else x
        return Product.apply(x, y), 0


def _tangent_of_second(subject):
    x, y, t = (draw(3, seed=k, grad=False) for k in range(3))
    return torch.func.jvp(lambda y: subject.apply(x, y), (y,), (t,))[1], x * t


def _batch_last(subject):
    x, y = draw(3, 3, grad=False), draw(3, 3, seed=1, grad=False)
    return torch.func.vmap(subject.apply, in_dims=(0, 1))(x, y), x * y.mT


class CubeSlope(Function):
    """g · 3x²."""

    @staticmethod
    def forward(ctx, g, x):
        ctx.save_for_backward(g, x)
        return 3 * g * x * x

    @staticmethod
    def backward(ctx, gg):
        g, x = ctx.saved_tensors
        return 3 * gg * x * x, 6 * gg * g * x


class CubeSlopeHalved(CubeSlope):
    @staticmethod
    def backward(ctx, gg):
        g, x = ctx.saved_tensors
        return 3 * gg * x * x, 3 * gg * g * x


def cube(slope):
    class Cube(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x * x

        @staticmethod
        def backward(ctx, g):
            return slope.apply(g, ctx.saved_tensors[0])

    return Cube


def _curvature(subject):
    inputs = (draw(3),)
    return second(subject, inputs), second(lambda x: x**3, inputs)


class Wanted(Function):
    """x y z; the gradients are listed as they are wanted."""

    @staticmethod
    def forward(ctx, x, y, z):
        ctx.save_for_backward(x, y, z)
        return x * y * z

    @staticmethod
    def backward(ctx, g):
        x, y, z = ctx.saved_tensors
        found = [slope for slope, wanted in zip((g * y * z, g * x * z, g * x * y), ctx.needs_input_grad, strict=True)
                 if wanted]  # fmt: skip
        return (*found, *[None] * (3 - len(found)))


class WantedTwin(Wanted):
    @staticmethod
    def backward(ctx, g):
        x, y, z = ctx.saved_tensors
        return g * y * z, g * x * z, g * x * y


def _without_the_first(subject):
    x, y, z = draw(3, grad=False), draw(3, seed=1), draw(3, seed=2)
    return gradients(subject, (x, y, z), wanted=[y, z]), (x * z.detach(), x * y.detach())


def _vector():
    return (draw(3),)


def _product_inputs():
    return draw(3), draw(3, seed=1)


DEFECTS = [
    entry("tangent_of_one_factor", ProductOfTangents, Product, _product_inputs, 2, _tangent_of_second,
          checks=("jvp",)),
    entry("batch_of_the_second_factor", ProductOfFirstBatch, Product, lambda: (draw(3, 3), draw(3, 3, seed=1)), 2,
          _batch_last, checks=("vmap",)),
    entry("second_slope_halved", cube(CubeSlopeHalved), cube(CubeSlope), _vector, 3, _curvature,
          checks=("second_order",)),
    entry("gradients_as_they_are_wanted", Wanted, WantedTwin, lambda: tuple(draw(3, seed=k) for k in range(3)), 2,
          _without_the_first, checks=("subsets",)),
]  # fmt: skip
