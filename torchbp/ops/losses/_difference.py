"""What the losses of a difference D = X − Y share: their arguments, and dY = −dX. Each file has its own f and f′."""

import warnings

import torch

from torchbp.ops._dispatch import VmappableFunction, save_for_jvp
from torchbp.ops.losses._reduction import broadcast, check_reduction, check_same_shape, reduce_backward, reduced


class DifferenceLoss(VmappableFunction):
    """L = reduced(f(X − Y)) of X, Y, the reduction, and constants of f. Subclasses: `forward`, `backward`, `jvp`."""

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, y, ctx.reduction, *ctx.constants = inputs
        ctx.save_for_backward(x, y)
        save_for_jvp(ctx, x, y)


def difference_backward(ctx, dloss, dx_of):
    """dX and dY = −dX, those that are needed. dx_of(dℓ, x, y, *constants) is the formula of the loss."""
    nothing = (None,) * (1 + len(ctx.constants))
    if dloss is None:
        return None, None, *nothing
    x, y = ctx.saved_tensors
    dx = dx_of(reduce_backward(dloss, ctx.reduction, x.numel()), x, y, *ctx.constants)
    needs_dx, needs_dy, *_ = ctx.needs_input_grad
    return dx if needs_dx else None, -dx if needs_dy else None, *nothing


def difference_tangent(ctx, x_t, y_t, dx_of):
    """L̇ = reduced(f′(X − Y) ∘ (Ẋ − Ẏ))."""
    x, y = ctx.saved_tensors
    return reduced(dx_of(x_t - y_t, x, y, *ctx.constants), ctx.reduction)


def difference_loss(apply, input, target, reduction, *constants, weight=None, mean_of_weights=True, real=True):
    """L of arguments as torch takes them: broadcast with a warning, promoted to one dtype, and weighted.

    mean_of_weights: whether the mean of a weighted loss is Σ w ℓ / Σ w, and not Σ w ℓ / N.
    real: whether the loss is one of real floating numbers alone.

    Raises:
        ValueError: an unknown reduction, or a weight of another shape.
        NotImplementedError: integers or complex numbers, if `real`.
        RuntimeError: a weight on another device, or shapes that do not broadcast.
    """
    check_reduction(reduction)
    if weight is not None:
        check_same_shape("weight", weight, input)
    if target.shape != input.shape:
        shapes = f"target has the shape {tuple(target.shape)} and input {tuple(input.shape)}"
        input, target = broadcast(input, target)
        warnings.warn(
            f"{shapes}: they are broadcast, which is seldom what is meant; give them the same shape", stacklevel=3
        )
    if input.dtype is not target.dtype:
        dtype = torch.promote_types(input.dtype, target.dtype)
        input, target = input.to(dtype), target.to(dtype)
    if real and not input.is_floating_point():
        raise NotImplementedError(f"input and target are {input.dtype}; give real floating numbers")
    if weight is None:
        return apply(input, target, reduction, *constants)
    loss = weight * apply(input, target, "none", *constants)
    return loss.sum() / weight.sum() if mean_of_weights and reduction == "mean" else reduced(loss, reduction)
