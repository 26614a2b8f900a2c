"""Softmax: each row of X along `dim` becomes positive numbers whose sum is 1; its derivative needs the output alone.

forward     A  = e^X / Σ e^X                (the sum along `dim`; the maximum of X is subtracted first)
backward    dX = A ∘ (dA − Σ dA ∘ A)
tangent     Ȧ  = A ∘ (Ẋ − Σ Ẋ ∘ A)
"""

import torch
import torch.nn.functional as F

from torchbp.ops._dispatch import (
    VmappableFunction,
    float32_on_cuda,
    is_differentiated,
    operation,
    save_for_jvp,
    widened,
)
from torchbp.ops.expressions import X, Z, dZ, exp
from torchbp.ops.layers._dim import VECTOR, chosen_dim, sum_along
from torchbp.ops.registry import register
from torchbp.ops.rules import Layer


def softmax_dx(da, a, dim):
    """dX = A ∘ (dA − Σ dA ∘ A): by torch's kernel where nobody differentiates it. Forward and backward of 512 × 1024
    numbers take twice as long without it."""
    if not is_differentiated():
        return torch._softmax_backward_data(da, a, dim, a.dtype)
    return softmax_dx_written_out(da, a, dim)


def softmax_dx_written_out(da, a, dim):
    """A ∘ (dA − Σ dA ∘ A), by operations that can be differentiated."""
    dtype, da, a = a.dtype, widened(da), widened(a)
    return (a * (da - (da * a).sum(dim, keepdim=True))).to(dtype)


def softmax_tangent(x_t, a, dim):
    """Ȧ = A ∘ (Ẋ − Σ Ẋ ∘ A). The sum is divided by that of A, which rounding keeps from 1."""
    dtype, x_t, a = a.dtype, widened(x_t), widened(a)
    return (a * (x_t - (x_t * a).sum(dim, keepdim=True) / a.sum(dim, keepdim=True))).to(dtype)


class Softmax(VmappableFunction):
    """A = e^X / Σ e^X along `dim`."""

    @staticmethod
    def forward(x, dim):
        return torch.softmax(x, dim)

    @staticmethod
    def setup_context(ctx, inputs, a):
        _, ctx.dim = inputs
        ctx.save_for_backward(a)
        save_for_jvp(ctx, a)

    @staticmethod
    def backward(ctx, da):
        return None if da is None else softmax_dx(da, *ctx.saved_tensors, ctx.dim), None

    @staticmethod
    def jvp(ctx, x_t, _):
        return softmax_tangent(x_t, *ctx.saved_tensors, ctx.dim)


apply_softmax = operation(Softmax, torch.softmax, cast=float32_on_cuda)


def softmax(
    input: torch.Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: torch.dtype | None = None
) -> torch.Tensor:
    r"""Softmax along a dimension: `A = e^X / Σ e^X` (equations at the top of this file).

    Args:
        input: X, any shape and strides; floating, real.
        dim: of the sum. None is 0 for an input of 0, 1 or 3 dimensions, and otherwise 1, with a warning, as in torch.
        dtype: X is cast to it first; None keeps its own.

    Returns:
        A, the shape of `input`; float32 under autocast on CUDA, as torch's.

    Raises:
        IndexError: `dim` is out of range.

    Example:
        >>> a = torchbp.ops.softmax(torch.tensor([0.0, 0.0, 1.0]), 0)  # tensor([0.2119, 0.2119, 0.5761])
    """
    dim = chosen_dim("softmax", dim, input, _stacklevel)
    return apply_softmax(input if dtype is None else input.to(dtype), dim)


def softmax_of_torch(input: torch.Tensor, dim: int, dtype: torch.dtype | None = None) -> torch.Tensor:
    """The same with the arguments of `torch.softmax` and `Tensor.softmax`."""
    return softmax(input, dim, dtype=dtype)


def _forward(x, dim):
    return torch.softmax(x, chosen_dim("softmax", dim, x, 3))


def _backward(da, a, dim):
    return softmax_dx(da, a, chosen_dim("softmax", dim, a, 3))


def _equation(dim=None, shapes=VECTOR):
    if (found := sum_along(dim, shapes["X"])) is None:
        return None
    total, spread = found
    return exp(X) / spread(total(exp(X)))


def _backward_equation(dim=None, shapes=VECTOR):
    if (found := sum_along(dim, shapes["X"])) is None:
        return None
    total, spread = found
    return Z * (dZ - spread(total(dZ * Z)))


RULE = register(
    Layer(
        name="softmax",
        apply=softmax,
        torch_module=torch.nn.Softmax,
        torch_functions={F.softmax: softmax}
        | dict.fromkeys((torch.softmax, torch.special.softmax, torch.Tensor.softmax), softmax_of_torch),
        options=("dim",),
        forward=_forward,
        backward=_backward,
        saves="output",
        new_memory=True,
        parameters=(),
        equation=_equation,
        backward_equation=_backward_equation,
        backward_why="each {x} changes all {z} that share its sum",
        description="The numbers of each row become positive, with the sum 1.",
    )
)
