"""Rules for forward mode and vmap that differ from the formula."""

import torch
from torch.autograd import Function

from tests.testing.corpus.entry import draw, function
from tests.testing.corpus.transforms.demonstrations import entry, matrix


class Sine(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return torch.sin(x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * torch.cos(x)

    @staticmethod
    def jvp(ctx, tangent):
        (x,) = ctx.saved_tensors
        return tangent * torch.cos(x)


class SineJvpSign(Sine):
    @staticmethod
    def jvp(ctx, tangent):
        (x,) = ctx.saved_tensors
        return -tangent * torch.cos(x)


class SineJvpSlopeOnly(Sine):
    @staticmethod
    def jvp(ctx, tangent):
        (x,) = ctx.saved_tensors
        return torch.cos(x)


class Product(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(a, b):
        return a * b

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        return grad * b, grad * a

    @staticmethod
    def jvp(ctx, of_a, of_b):
        a, b = ctx.saved_tensors
        return of_a * b + of_b * a


class ProductJvpOfFirst(Product):
    @staticmethod
    def jvp(ctx, of_a, of_b):
        _, b = ctx.saved_tensors
        return of_a * b


class RunningSum(Function):
    """Sums up to each row."""

    @staticmethod
    def forward(x):
        return torch.cumsum(x, 0)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, grad):
        return grad.flip(0).cumsum(0).flip(0)

    @staticmethod
    def vmap(info, in_dims, x):
        return torch.cumsum(x.movedim(in_dims[0], 0), 1), 0


class RunningSumOverBatch(RunningSum):
    @staticmethod
    def vmap(info, in_dims, x):
        return torch.cumsum(x.movedim(in_dims[0], 0), 0), 0


class Scaled(Function):
    """A matrix times a number for each column."""

    @staticmethod
    def forward(x, scale):
        return x * scale

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad):
        x, scale = ctx.saved_tensors
        return grad * scale, (grad * x).sum(0)

    @staticmethod
    def vmap(info, in_dims, x, scale):
        x = x.expand(info.batch_size, *x.shape) if in_dims[0] is None else x.movedim(in_dims[0], 0)
        scale = scale.expand(info.batch_size, -1) if in_dims[1] is None else scale.movedim(in_dims[1], 0)
        return x * scale.unsqueeze(1), 0


class ScaledBatchOfFirst(Scaled):
    @staticmethod
    def vmap(info, in_dims, x, scale):
        result, _ = Scaled.vmap(info, in_dims, x, scale)
        return result, in_dims[0]


def tangents(reference, *inputs):
    """The directional derivative along twos."""

    def shows(subject):
        along = tuple(torch.full_like(x, 2) for x in inputs)
        points = tuple(x.detach() for x in inputs)
        return tuple(torch.func.jvp(f, points, along)[1] for f in (function(subject), reference))

    return shows


def mapped(reference, in_dims, *inputs):
    def shows(subject):
        points = tuple(x.detach() for x in inputs)
        return tuple(torch.vmap(f, in_dims)(*points) for f in (function(subject), reference))

    return shows


DEFECTS = [
    # the jvp has the wrong sign
    entry(
        "jvp_sign",
        SineJvpSign,
        Sine,
        matrix,
        tangents(torch.sin, *matrix()),
        "jvp",
        source="HIPS/autograd#550: a custom forward-mode rule was wrong while the reverse one passed the check",
    ),
    # the jvp is the slope, without the tangent
    entry(
        "jvp_without_tangent",
        SineJvpSlopeOnly,
        Sine,
        matrix,
        tangents(torch.sin, *matrix()),
        "jvp",
        source="pytorch/functorch#207: in its thread a jvp returned the derivative and ignored the tangent",
    ),
    # the jvp forgets the second argument's tangent
    entry(
        "jvp_of_first_only",
        ProductJvpOfFirst,
        Product,
        lambda: (draw(3), draw(3, seed=1)),
        tangents(torch.mul, draw(3), draw(3, seed=1)),
        "jvp",
        source="vgvassilev/clad#1960: forward mode gave 0 as soon as one of the operands had no tangent",
    ),
    # the vmap rule sums over the batch
    entry(
        "vmap_over_the_batch",
        RunningSumOverBatch,
        RunningSum,
        matrix,
        mapped(lambda x: torch.cumsum(x, 0), 0, draw(4, 3, 2)),
        "vmap",
        source="ml-explore/mlx#442: under vmap a sum ran over the batch, too, and gave one number",
    ),
    # the vmap rule takes the place of the batch from the first argument, which may have none
    entry(
        "vmap_batch_of_first_argument",
        ScaledBatchOfFirst,
        Scaled,
        lambda: (draw(3, 2), draw(2, seed=1)),
        mapped(torch.mul, (None, 0), draw(3, 2), draw(4, 2, seed=1)),
        "vmap",
        source="jax-ml/jax#6618: the tutorial's rule for two arguments was wrong where one had no batch",
    ),
]
