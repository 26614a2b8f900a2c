"""Custom Functions as people write them with care: rules for transforms, helpers, casts, and surrogates."""

import functools

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from tests.testing.corpus.entry import Sound, draw


class Exp(Function):
    """With every rule: forward mode, vmap, and a backward of which the graph is kept."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x.exp()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0]

    @staticmethod
    def jvp(ctx, tangent):
        return tangent * ctx.saved_tensors[0]


class RowSums(Function):
    """With a vmap rule written by hand, where the batch may lie anywhere."""

    @staticmethod
    def forward(x):
        return x.square().sum(-1)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, g):
        return 2 * g.unsqueeze(-1) * ctx.saved_tensors[0]

    @staticmethod
    def vmap(info, in_dims, x):
        return RowSums.apply(x.movedim(in_dims[0], 0)), 0


class TanhBackward(Function):
    """The backward of tanh, with a backward of its own."""

    @staticmethod
    def forward(ctx, g, y):
        ctx.save_for_backward(g, y)
        return g * (1 - y * y)

    @staticmethod
    def backward(ctx, gg):
        g, y = ctx.saved_tensors
        return gg * (1 - y * y), -2 * gg * g * y


class Tanh(Function):
    @staticmethod
    def forward(ctx, x):
        y = x.tanh()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        return TanhBackward.apply(g, *ctx.saved_tensors)


class WideInside(Function):
    """Root mean square, computed in the precision that the dtype allows."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        wide = x.float() if x.element_size() < 4 else x
        return (wide * (wide.square().mean(-1, keepdim=True) + 1e-3).rsqrt()).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        wide, g_wide = (t.float() if t.element_size() < 4 else t for t in (x, g))
        scale = (wide.square().mean(-1, keepdim=True) + 1e-3).rsqrt()
        shared = (g_wide * wide).mean(-1, keepdim=True) * scale**3
        return (g_wide * scale - wide * shared).to(x.dtype)


class Transposed(Function):
    """The output owns its memory, and is not contiguous."""

    @staticmethod
    def forward(ctx, x):
        return (2 * x).mT.contiguous().mT

    @staticmethod
    def backward(ctx, g):
        return 2 * g


class SomeOutputs(Function):
    """Undefined incoming gradients are taken as they are, and give none."""

    @staticmethod
    def forward(ctx, x, y):
        ctx.set_materialize_grads(False)
        return x * 2, y * 3

    @staticmethod
    def backward(ctx, g, h):
        return None if g is None else 2 * g, None if h is None else 3 * h


class CubeRoot(Function):
    """By Newton's method; the gradient is that of the implicit equation y³ = x."""

    @staticmethod
    def forward(ctx, x):
        y = x.sign() * x.abs().clamp(min=1e-30) ** (1 / 3)
        for _ in range(3):
            y = y - (y**3 - x) / (3 * y * y)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return g / (3 * y * y)


class Cached(Function):
    """A table of constants is kept by size, dtype and device."""

    @staticmethod
    def forward(ctx, x):
        table = taper(x.shape[-1], x.dtype, x.device)
        ctx.save_for_backward(table)
        return x * table

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0]


@functools.lru_cache(maxsize=64)
def taper(size, dtype, device):
    return torch.linspace(1, 0.5, size, dtype=dtype, device=device)


class UnderAutocast(Function):
    """As torch.amp says: the forward in float32, the backward in the state of the forward."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return x * weight

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        return g * weight, (g * x).sum_to_size(weight.shape)


class AddInPlace(Function):
    """y += x, and says so."""

    @staticmethod
    def forward(ctx, y, x):
        ctx.mark_dirty(y)
        return y.add_(x)

    @staticmethod
    def backward(ctx, g):
        return g, g.clone()


class Rounded(Function):
    """A straight-through estimator."""

    @staticmethod
    def forward(ctx, x):
        return (x * 8).round() / 8

    @staticmethod
    def backward(ctx, g):
        return g


class Reversal(Function):
    """Gradient reversal."""

    @staticmethod
    def forward(ctx, x, strength):
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx, g):
        return -ctx.strength * g, None


class Spike(Function):
    """A step, with the derivative of a smooth one."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * x.sigmoid() * (-x).sigmoid()


def added_in_place(y, x):
    return AddInPlace.apply(y.clone(), x).tanh()


SOUND = [
    Sound("every_rule", Exp, lambda: (draw(2, 3),), {"require": ("jvp", "vmap", "hessian")}),
    Sound("vmap_by_hand", RowSums, lambda: (draw(2, 3),), {"require": ("vmap",)}),
    Sound("double_backward_helper", Tanh, lambda: (draw(2, 3),), {"require": ("second_order",)}),
    Sound("wide_inside", WideInside, lambda: (draw(2, 4),)),
    Sound("output_not_contiguous", Transposed, lambda: (draw(2, 3),)),
    Sound("undefined_gradients", SomeOutputs, lambda: (draw(3), draw(2, seed=1))),
    Sound("implicit_equation", CubeRoot, lambda: (draw(2, 3, low=0.5, high=2.0),), {"domain": (0.01, 1e3)}),
    Sound("constants_in_a_cache", Cached, lambda: (draw(2, 3),)),
    Sound("custom_fwd_and_bwd", UnderAutocast, lambda: (draw(2, 3), draw(3, seed=1))),
    Sound("added_in_place", added_in_place, lambda: (draw(3), draw(3, seed=1))),
    Sound("straight_through", Rounded, lambda: (draw(2, 3),), {"surrogate": lambda x: x}),
    Sound("gradient_reversal", Reversal, lambda: (draw(2, 3), 0.5), {"surrogate": lambda x, strength: -strength * x}),
    Sound("surrogate_of_a_spike", Spike, lambda: (draw(2, 3),), {"surrogate": torch.sigmoid}),
]
