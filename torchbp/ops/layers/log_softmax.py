"""Logarithm of the softmax: A = X − ln Σ e^X along `dim`; its derivative needs the output alone.

forward     A  = X − ln Σ e^X               (the maximum of X is subtracted first)
backward    dX = dA − e^A ∘ Σ dA            (e^A is the softmax)
tangent     Ȧ  = Ẋ − Σ Ẋ ∘ e^A
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
from torchbp.ops.expressions import X, Z, dZ, exp, ln
from torchbp.ops.layers._dim import VECTOR, chosen_dim, sum_along
from torchbp.ops.registry import register
from torchbp.ops.rules import Layer


def log_softmax_dx(da, a, dim):
    """dX = dA − e^A ∘ Σ dA: by torch's kernel where nobody differentiates it. Forward and backward of 512 × 1024
    numbers take twice as long without it."""
    if not is_differentiated():
        return torch._log_softmax_backward_data(da, a, dim, a.dtype)
    return log_softmax_dx_written_out(da, a, dim)


def log_softmax_dx_written_out(da, a, dim):
    """dA − e^A ∘ Σ dA, by operations that can be differentiated."""
    dtype, da, a = a.dtype, widened(da), widened(a)
    return (da - a.exp() * da.sum(dim, keepdim=True)).to(dtype)


def log_softmax_tangent(x_t, a, dim):
    """Ȧ = Ẋ − Σ Ẋ ∘ e^A. The sum is divided by that of e^A, which rounding keeps from 1."""
    dtype, x_t, a = a.dtype, widened(x_t), widened(a)
    share = a.exp()
    return (x_t - (x_t * share).sum(dim, keepdim=True) / share.sum(dim, keepdim=True)).to(dtype)


class LogSoftmax(VmappableFunction):
    """A = X − ln Σ e^X along `dim`."""

    @staticmethod
    def forward(x, dim):
        return torch.log_softmax(x, dim)

    @staticmethod
    def setup_context(ctx, inputs, a):
        _, ctx.dim = inputs
        ctx.save_for_backward(a)
        save_for_jvp(ctx, a)

    @staticmethod
    def backward(ctx, da):
        return None if da is None else log_softmax_dx(da, *ctx.saved_tensors, ctx.dim), None

    @staticmethod
    def jvp(ctx, x_t, _):
        return log_softmax_tangent(x_t, *ctx.saved_tensors, ctx.dim)


apply_log_softmax = operation(LogSoftmax, torch.log_softmax, cast=float32_on_cuda)


def log_softmax(
    input: torch.Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: torch.dtype | None = None
) -> torch.Tensor:
    r"""Logarithm of the softmax along a dimension: `A = X − ln Σ e^X` (equations at the top of this file).

    Args:
        input: X, any shape and strides; floating, real.
        dim: of the sum. None is 0 for an input of 0, 1 or 3 dimensions, and otherwise 1, with a warning, as in torch.
        dtype: X is cast to it first; None keeps its own.

    Returns:
        A, the shape of `input`; float32 under autocast on CUDA, as torch's.

    Raises:
        IndexError: `dim` is out of range.

    Example:
        >>> a = torchbp.ops.log_softmax(torch.tensor([0.0, 0.0]), 0)  # tensor([-0.6931, -0.6931])
    """
    dim = chosen_dim("log_softmax", dim, input, _stacklevel)
    return apply_log_softmax(input if dtype is None else input.to(dtype), dim)


def log_softmax_of_torch(input: torch.Tensor, dim: int, dtype: torch.dtype | None = None) -> torch.Tensor:
    """The same with the arguments of `torch.log_softmax` and `Tensor.log_softmax`."""
    return log_softmax(input, dim, dtype=dtype)


def _forward(x, dim):
    return torch.log_softmax(x, chosen_dim("log_softmax", dim, x, 3))


def _backward(da, a, dim):
    return log_softmax_dx(da, a, chosen_dim("log_softmax", dim, a, 3))


def _equation(dim=None, shapes=VECTOR):
    if (found := sum_along(dim, shapes["X"])) is None:
        return None
    total, spread = found
    return X - spread(ln(total(exp(X))))


def _backward_equation(dim=None, shapes=VECTOR):
    if (found := sum_along(dim, shapes["X"])) is None:
        return None
    total, spread = found
    return dZ - exp(Z) * spread(total(dZ))


RULE = register(
    Layer(
        name="log_softmax",
        apply=log_softmax,
        torch_module=torch.nn.LogSoftmax,
        torch_functions={F.log_softmax: log_softmax}
        | dict.fromkeys((torch.log_softmax, torch.special.log_softmax, torch.Tensor.log_softmax), log_softmax_of_torch),
        options=("dim",),
        forward=_forward,
        backward=_backward,
        saves="output",
        new_memory=True,
        parameters=(),
        equation=_equation,
        backward_equation=_backward_equation,
        backward_why="each {x} changes all {z} that share its sum",
        description="The numbers of each row become logarithms of probabilities.",
    )
)
