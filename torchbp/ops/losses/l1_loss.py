"""Absolute error between X and its target Y, and its derivatives.

    forward     ℓ  = |D|                           D = X − Y,  L = (1/N) Σ ℓ
    backward    dX = dℓ ∘ sgn(D)                   dℓ = dL/N
                dY = −dX
    tangent     ℓ̇  = sgn(D) ∘ (Ẋ − Ẏ)

sgn(0) = 0; of a complex number it is D / |D|, and the tangent is the real part of conj(sgn(D)) ∘ (Ẋ − Ẏ).
"""

import functools

import torch
import torch.nn.functional as F

from torchbp.ops._dispatch import VmappableFunction, float32, operation, save_for_jvp
from torchbp.ops.expressions import A, absolute, sign, y
from torchbp.ops.losses._difference import difference_loss
from torchbp.ops.losses._reduction import chosen_reduction, reduce_backward, reduced, times
from torchbp.ops.registry import register
from torchbp.ops.rules import Loss


class L1Loss(VmappableFunction):
    """(L, D): L = reduced(|D|) of X and Y of one shape.

    D is an output, and the only tensor that is saved: the second derivative of complex numbers goes through it.
    """

    @staticmethod
    def forward(x, y, reduction):
        d = x - y
        return reduced(d.abs(), reduction), d

    @staticmethod
    def setup_context(ctx, inputs, outputs):
        _, _, ctx.reduction = inputs
        ctx.save_for_backward(outputs[1])
        save_for_jvp(ctx, outputs[1])

    @staticmethod
    def backward(ctx, dloss, dd):
        (d,) = ctx.saved_tensors
        if dloss is not None:
            dx = l1_dx(reduce_backward(dloss, ctx.reduction, d.numel()), d)
            dd = dx if dd is None else dd + dx
        if dd is None:
            return None, None, None
        needs_dx, needs_dy, _ = ctx.needs_input_grad
        return dd if needs_dx else None, -dd if needs_dy else None, None

    @staticmethod
    def jvp(ctx, x_t, y_t, _):
        (d,) = ctx.saved_tensors
        d_t = x_t - y_t
        return reduced(l1_tangent(d_t, d), ctx.reduction), d_t


def l1_dx(dloss, d):
    """dX = dℓ ∘ sgn(D)."""
    return times(d.sgn(), dloss)


def l1_tangent(d_t, d):
    """ℓ̇ = sgn(D) ∘ Ḋ, the real part where they are complex."""
    tangent = d_t * d.sgn().conj()
    return tangent.real if tangent.is_complex() else tangent


def _by_torch(x, y, reduction):
    return F.l1_loss(x, y, reduction=reduction)


_apply = operation(L1Loss, lambda *args: (_by_torch(*args), None), float32)


def apply_l1_loss(x, y, reduction):
    return _apply(x, y, reduction)[0]


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
    return difference_loss(apply_l1_loss, input, target, reduction, weight=weight, real=False)


def _derivative(x, y):
    return l1_dx(1, x - y)


RULE = register(
    Loss(
        name="l1_loss",
        apply=l1_loss,
        torch_module=torch.nn.L1Loss,
        torch_functions={F.l1_loss: l1_loss},
        each=functools.partial(_by_torch, reduction="none"),
        value=_by_torch,
        derivative=_derivative,
        equation=absolute(A - y),
        slope=sign(A - y),
        description="How far the answers are from y: 0 for the right ones; an error counts by its size.",
    )
)
