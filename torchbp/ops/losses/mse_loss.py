"""Mean squared error between X and its target Y, and its derivatives.

forward     ℓ  = (X − Y)²                    L = (1/N) Σ ℓ
backward    dX = 2 dℓ ∘ (X − Y)              dℓ = dL/N
            dY = −dX
tangent     ℓ̇  = 2 (X − Y) ∘ (Ẋ − Ẏ)
"""

import functools

import torch
import torch.nn.functional as F

from torchbp.ops._dispatch import float32, operation
from torchbp.ops.expressions import A, y
from torchbp.ops.losses._difference import DifferenceLoss, difference_backward, difference_loss, difference_tangent
from torchbp.ops.losses._reduction import chosen_reduction, reduced, times
from torchbp.ops.registry import register
from torchbp.ops.rules import Loss


class MSELoss(DifferenceLoss):
    """L = reduced(ℓ): X and Y of one shape; reduction "mean", "sum" or "none"."""

    @staticmethod
    def forward(x, y, reduction):
        d = x - y
        return reduced(times(d, d), reduction)

    @staticmethod
    def backward(ctx, dloss):
        return difference_backward(ctx, dloss, mse_dx)

    @staticmethod
    def jvp(ctx, x_t, y_t, *_):
        return difference_tangent(ctx, x_t, y_t, mse_dx)


def mse_dx(dloss, x, y):
    """dX = 2 dℓ ∘ (X − Y)."""
    return times(x - y, 2 * dloss)


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
    return difference_loss(apply_mse_loss, input, target, reduction, weight=weight)


def _derivative(x, y):
    return mse_dx(1, x, y)


RULE = register(
    Loss(
        name="mse_loss",
        apply=mse_loss,
        torch_module=torch.nn.MSELoss,
        torch_functions={F.mse_loss: mse_loss},
        each=functools.partial(_by_torch, reduction="none"),
        value=_by_torch,
        derivative=_derivative,
        equation=(A - y) ** 2,
        slope=2 * (A - y),
        description="How far the answers are from y: 0 for the right ones, and large errors weigh most.",
    )
)
