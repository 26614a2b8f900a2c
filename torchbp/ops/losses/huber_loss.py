"""Huber loss between X and its target Y, a square for errors up to δ and a line beyond, and its derivatives.

    forward     ℓ  = m (|D| − ½ m)                 D = X − Y,  m = min(|D|, δ);  L = (1/N) Σ ℓ
    backward    dX = dℓ ∘ max(min(D, δ), −δ)       dℓ = dL/N
                dY = −dX
    tangent     ℓ̇  = max(min(D, δ), −δ) ∘ (Ẋ − Ẏ)

So ℓ is ½ D² where |D| ≤ δ, and δ (|D| − ½ δ) elsewhere: both have the slope δ at |D| = δ.
"""

import functools

import torch
import torch.nn.functional as F

from torchbp.ops._dispatch import float32, operation, transforms_active
from torchbp.ops.expressions import A, Symbol, absolute, maximum, minimum, y
from torchbp.ops.losses._difference import DifferenceLoss, difference_backward, difference_loss, difference_tangent
from torchbp.ops.losses._reduction import reduced, times
from torchbp.ops.registry import register
from torchbp.ops.rules import Loss


class HuberLoss(DifferenceLoss):
    """L = reduced(ℓ): X and Y of one shape, δ a number."""

    @staticmethod
    def forward(x, y, reduction, delta):
        # torch's kernel is one pass over memory; torch.func.vmap over it resizes its output, with a warning
        return reduced(huber(x, y, delta), reduction) if transforms_active() else _by_torch(x, y, reduction, delta)

    @staticmethod
    def backward(ctx, dloss):
        return difference_backward(ctx, dloss, huber_dx)

    @staticmethod
    def jvp(ctx, x_t, y_t, *_):
        return difference_tangent(ctx, x_t, y_t, huber_dx)


def huber(x, y, delta):
    """ℓ = m (|D| − ½ m), with m = min(|D|, δ)."""
    size = (x - y).abs()
    m = size.clamp(max=delta)
    return m * (size - m / 2)


def huber_dx(dloss, x, y, delta):
    """dX = dℓ ∘ max(min(X − Y, δ), −δ)."""
    # hardtanh is clamp, but with the slope 0 at ±δ, which torch's loss has
    return times(F.hardtanh(x - y, -delta, delta, inplace=True), dloss)


def _by_torch(x, y, reduction, delta):
    return F.huber_loss(x, y, reduction, delta)


apply_huber_loss = operation(HuberLoss, _by_torch, float32)


def huber_loss(
    input: torch.Tensor,
    target: torch.Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: torch.Tensor | None = None,
) -> torch.Tensor:
    r"""Half the square of errors up to δ, and a line beyond (equations at the top of this file).

    Args:
        input: X, any shape, real floating.
        target: Y, the shape of `input`; another is broadcast, with torch's warning.
        reduction: "mean" over all elements, "sum", or "none".
        delta: δ, positive.
        weight: of each element, the shape of `input`, or None; "mean" still divides by the number of elements.

    Returns:
        L, a scalar, or ℓ in the shape of `input` for "none".

    Raises:
        ValueError: an unknown `reduction`, or a `weight` of another shape.
        NotImplementedError: integers or complex numbers.
        RuntimeError: δ is not positive, or a `weight` on another device.

    Example:
        >>> torchbp.ops.huber_loss(torch.tensor([0.5, 3.0]), torch.zeros(2))  # (0.125 + 2.5)/2 = 1.3125
    """
    if not delta > 0:
        raise RuntimeError(f"delta={delta!r} is not positive")
    return difference_loss(apply_huber_loss, input, target, reduction, delta, weight=weight, mean_of_weights=False)


def _derivative(x, y, delta):
    return huber_dx(1, x, y, delta)


δ = Symbol("δ")

RULE = register(
    Loss(
        name="huber_loss",
        apply=huber_loss,
        torch_module=torch.nn.HuberLoss,
        torch_functions={F.huber_loss: huber_loss},
        options=("delta",),
        option_symbols=("δ",),
        each=functools.partial(_by_torch, reduction="none"),
        value=_by_torch,
        derivative=_derivative,
        equation=minimum(absolute(A - y), δ) * (absolute(A - y) - minimum(absolute(A - y), δ) / 2),
        slope=maximum(minimum(A - y, δ), -δ),
        description="Half the square of errors up to delta, then a line, so the gradient of an outlier is at most δ.",
    )
)
