"""Smooth L1 loss between X and its target Y, a square for errors up to β and |D| beyond, and its derivatives.

    forward     ℓ  = m (|D| − ½ m) / β             D = X − Y,  m = min(|D|, β);  L = (1/N) Σ ℓ
    backward    dX = dℓ ∘ max(min(D/β, 1), −1)     dℓ = dL/N
                dY = −dX
    tangent     ℓ̇  = max(min(D/β, 1), −1) ∘ (Ẋ − Ẏ)

So ℓ is ½ D²/β where |D| ≤ β, and |D| − ½ β elsewhere: the Huber loss over its δ. With β = 0 it is |D|, of slope sgn D.
"""

import functools

import torch
import torch.nn.functional as F

from torchbp.ops._dispatch import float32, may_overwrite, operation, widened
from torchbp.ops.expressions import A, Symbol, absolute, maximum, minimum, y
from torchbp.ops.losses._difference import DifferenceLoss, difference_backward, difference_loss, difference_tangent
from torchbp.ops.losses._reduction import chosen_reduction, times
from torchbp.ops.losses.l1_loss import apply_l1_loss
from torchbp.ops.registry import register
from torchbp.ops.rules import Loss


class SmoothL1Loss(DifferenceLoss):
    """L = reduced(ℓ): X and Y of one shape, β a number."""

    @staticmethod
    def forward(x, y, reduction, beta):
        return _by_torch(x, y, reduction, beta)

    @staticmethod
    def backward(ctx, dloss):
        return difference_backward(ctx, dloss, smooth_l1_dx)

    @staticmethod
    def jvp(ctx, x_t, y_t, *_):
        return difference_tangent(ctx, x_t, y_t, smooth_l1_dx)


def smooth_l1_dx(dloss, x, y, beta):
    """dX = dℓ ∘ max(min((X − Y)/β, 1), −1), of numbers of 16 bits computed in float32."""
    d = widened(x) - widened(y)
    # hardtanh is clamp, but with the slope 0 at ±1, which torch's loss has
    slope = F.hardtanh((d.div_ if may_overwrite() else d.div)(beta), inplace=True)
    return times(slope, dloss).to(x.dtype)


def _by_torch(x, y, reduction, beta):
    return F.smooth_l1_loss(x, y, reduction=reduction, beta=beta)


apply_smooth_l1_loss = operation(SmoothL1Loss, _by_torch, float32)


def smooth_l1_loss(
    input: torch.Tensor,
    target: torch.Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> torch.Tensor:
    r"""Half the square over β of errors up to β, and |X − Y| − ½ β beyond (equations at the top of this file).

    Args:
        input: X, any shape, real floating.
        target: Y, the shape of `input`; another is broadcast, with torch's warning.
        size_average, reduce: torch's old way to say the reduction.
        reduction: "mean" over all elements, "sum", or "none".
        beta: β, not negative; 0 is `l1_loss`.

    Returns:
        L, a scalar, or ℓ in the shape of `input` for "none".

    Raises:
        ValueError: an unknown `reduction`.
        NotImplementedError: integers or complex numbers.
        RuntimeError: β is negative.

    Example:
        >>> torchbp.ops.smooth_l1_loss(torch.tensor([0.5, 3.0]), torch.zeros(2))  # (0.125 + 2.5)/2 = 1.3125
    """
    reduction = chosen_reduction(size_average, reduce, reduction)
    if not beta >= 0:
        raise RuntimeError(f"beta={beta!r} is negative; use 0 or more")
    if beta == 0:
        return difference_loss(apply_l1_loss, input, target, reduction)
    return difference_loss(apply_smooth_l1_loss, input, target, reduction, beta)


def _derivative(x, y, beta):
    return smooth_l1_dx(1, x, y, beta)


β = Symbol("β")

RULE = register(
    Loss(
        name="smooth_l1_loss",
        apply=smooth_l1_loss,
        torch_module=torch.nn.SmoothL1Loss,
        torch_functions={F.smooth_l1_loss: smooth_l1_loss},
        options=("beta",),
        option_symbols=("β",),
        refuses=lambda module: None if module.beta else "its beta is 0; use L1Loss",  # the equations divide by it
        each=functools.partial(_by_torch, reduction="none"),
        value=_by_torch,
        derivative=_derivative,
        equation=minimum(absolute(A - y), β) * (absolute(A - y) - minimum(absolute(A - y), β) / 2) / β,
        slope=maximum(minimum((A - y) / β, 1), -1),
        description="How far the answers are from y: a square over beta up to errors of beta, then their size.",
    )
)
