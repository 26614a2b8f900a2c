"""Mean squared error between X and its target Y, and its derivatives.

forward     ℓ  = (X − Y)²                    L = (1/N) Σ ℓ
backward    dX = 2 dℓ ∘ (X − Y)              dℓ = dL/N
            dY = −dX
tangent     ℓ̇  = 2 (X − Y) ∘ (Ẋ − Ẏ)
"""

import functools
import warnings

import torch
import torch.nn.functional as F

from torchbp.ops._dispatch import VmappableFunction, float32, operation, save_for_jvp
from torchbp.ops.expressions import A, y
from torchbp.ops.losses._reduction import check_reduction, chosen_reduction, reduce_backward, reduced
from torchbp.ops.registry import register
from torchbp.ops.rules import Loss


class MSELoss(VmappableFunction):
    """L = reduced(ℓ): X and Y of one shape; reduction "mean", "sum" or "none"."""

    @staticmethod
    def forward(x, y, reduction):
        loss = (x - y).square()
        if not loss.is_floating_point():
            raise NotImplementedError(f"the squared error of {x.dtype} and {y.dtype} is not a floating number")
        return reduced(loss, reduction)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, y, ctx.reduction = inputs
        ctx.save_for_backward(x, y)
        save_for_jvp(ctx, x, y)

    @staticmethod
    def backward(ctx, dloss):
        if dloss is None:
            return None, None, None
        x, y = ctx.saved_tensors
        dx = mse_dx(reduce_backward(dloss, ctx.reduction, x.numel()), x, y)
        needs_dx, needs_dy, _ = ctx.needs_input_grad
        return dx if needs_dx else None, -dx if needs_dy else None, None

    @staticmethod
    def jvp(ctx, x_t, y_t, _):
        x, y = ctx.saved_tensors
        return reduced(mse_dx(x_t - y_t, x, y), ctx.reduction)


def mse_dx(dloss, x, y):
    """dX = 2 dℓ ∘ (X − Y)."""
    return 2 * dloss * (x - y)


def _by_torch(x, y, reduction):
    return F.mse_loss(x, y, reduction=reduction)


apply_mse_loss = operation(MSELoss, _by_torch, float32)


def mse_loss(
    input: torch.Tensor,
    target: torch.Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: torch.Tensor | None = None,
) -> torch.Tensor:
    r"""Squared error, elementwise or reduced (equations at the top of this file).

    Args:
        input: X, any shape, real floating.
        target: Y, the shape of `input`; another is broadcast, with torch's warning.
        size_average, reduce: torch's old way to say the reduction.
        reduction: "mean" over all elements, "sum", or "none".
        weight: of each element, the shape of `input`, or None; "mean" is then Σ w ℓ / Σ w.

    Returns:
        L, a scalar, or ℓ in the shape of `input` for "none".

    Raises:
        ValueError: an unknown `reduction`, or a `weight` of another shape.
        NotImplementedError: integers or complex numbers.

    Example:
        >>> torchbp.ops.mse_loss(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 1.0]))  # (0 + 4)/2 = 2
    """
    reduction = chosen_reduction(size_average, reduce, reduction)
    check_reduction(reduction)
    if weight is not None and weight.shape != input.shape:
        raise ValueError(f"weight has the shape {tuple(weight.shape)} and input {tuple(input.shape)}; use the same")
    if target.shape != input.shape:
        warnings.warn(
            f"target has the shape {tuple(target.shape)} and input {tuple(input.shape)}: they are broadcast, which is "
            "seldom what is meant; give them the same shape",
            stacklevel=2,
        )
        input, target = torch.broadcast_tensors(input, target)
    if input.dtype is not target.dtype:
        dtype = torch.promote_types(input.dtype, target.dtype)
        input, target = input.to(dtype), target.to(dtype)
    if weight is None:
        return apply_mse_loss(input, target, reduction)
    loss = weight * apply_mse_loss(input, target, "none")
    return loss.sum() / weight.sum() if reduction == "mean" else reduced(loss, reduction)


def _value(x, y, reduction):
    return F.mse_loss(x, y, reduction=reduction)


def _derivative(x, y):
    return mse_dx(1, x, y)


RULE = register(
    Loss(
        name="mse_loss",
        apply=mse_loss,
        torch_module=torch.nn.MSELoss,
        each=functools.partial(_value, reduction="none"),
        value=_value,
        derivative=_derivative,
        equation=(A - y) ** 2,
        slope=2 * (A - y),
        description="How far the answers are from y: 0 for the right ones, and large errors weigh most.",
    )
)
