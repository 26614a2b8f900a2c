"""Absolute error between X and its target Y, and its derivatives.

    forward     ℓ  = |X − Y|                       L = (1/N) Σ ℓ
    backward    dX = dℓ ∘ sgn(X − Y)               dℓ = dL/N
                dY = −dX
    tangent     ℓ̇  = sgn(X − Y) ∘ (Ẋ − Ẏ)

sgn(0) = 0; of a complex number it is X / |X|, and the tangent is the real part of conj(sgn(X − Y)) ∘ (Ẋ − Ẏ).
"""

import functools

import torch
import torch.nn.functional as F

from torchbp.ops._dispatch import float32, operation
from torchbp.ops.expressions import A, absolute, sign, y
from torchbp.ops.losses._difference import DifferenceLoss, difference_backward, difference_loss, difference_tangent
from torchbp.ops.losses._reduction import chosen_reduction
from torchbp.ops.registry import register
from torchbp.ops.rules import Loss


class L1Loss(DifferenceLoss):
    """L = reduced(|X − Y|): X and Y of one shape."""

    @staticmethod
    def forward(x, y, reduction):
        return _by_torch(x, y, reduction)

    @staticmethod
    def backward(ctx, dloss):
        return difference_backward(ctx, dloss, l1_dx)

    @staticmethod
    def jvp(ctx, x_t, y_t, *_):
        return difference_tangent(ctx, x_t, y_t, l1_tangent)


def l1_dx(dloss, x, y):
    """dX = dℓ ∘ sgn(X − Y)."""
    return dloss * (x - y).sgn()


def l1_tangent(d_t, x, y):
    """ℓ̇ = sgn(X − Y) ∘ Ḋ, the real part where they are complex."""
    tangent = d_t * (x - y).sgn().conj()
    return tangent.real if tangent.is_complex() else tangent



def _by_torch(x, y, reduction):
    return F.l1_loss(x, y, reduction=reduction)


apply_l1_loss = operation(L1Loss, _by_torch, float32)


def l1_loss(
    input: torch.Tensor,
    target: torch.Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: torch.Tensor | None = None,
) -> torch.Tensor:
    r"""Absolute error, elementwise or reduced (equations at the top of this file).

    Args:
        input: X, any shape, floating or complex.
        target: Y, the shape of `input`; another is broadcast, with torch's warning.
        size_average, reduce: torch's old way to say the reduction.
        reduction: "mean" over all elements, "sum", or "none".
        weight: of each element, the shape of `input`, or None; "mean" is then Σ w ℓ / Σ w.

    Returns:
        L, a scalar, or ℓ in the shape of `input` for "none".

    Raises:
        ValueError: an unknown `reduction`, or a `weight` of another shape.
        RuntimeError: integers, whose mean is no integer, or a `weight` on another device.

    Example:
        >>> torchbp.ops.l1_loss(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 1.0]))  # (0 + 2)/2 = 1
    """
    reduction = chosen_reduction(size_average, reduce, reduction)
    return difference_loss(apply_l1_loss, input, target, reduction, weight=weight)


def _value(x, y, reduction):
    return _by_torch(x, y, reduction)


def _derivative(x, y):
    return l1_dx(1, x, y)


RULE = register(
    Loss(
        name="l1_loss",
        apply=l1_loss,
        torch_module=torch.nn.L1Loss,
        torch_functions={F.l1_loss: l1_loss},
        each=functools.partial(_value, reduction="none"),
        value=_value,
        derivative=_derivative,
        equation=absolute(A - y),
        slope=sign(A - y),
        description="How far the answers are from y: 0 for the right ones, and all errors weigh by their size.",
    )
)
