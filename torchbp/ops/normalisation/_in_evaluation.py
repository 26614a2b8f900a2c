"""Batch norm in evaluation, and instance norm: the running statistics are constants, so that Z is an affine map of X.

    forward     rstd = 1 / √(σ²_r + eps)      x̂ = (x − μ_r) rstd      z = x̂ ∘ w + b
    backward    dx = w rstd ∘ dz      dw = Σ dz ∘ x̂      db = Σ dz
    tangent     ż  = ẋ ∘ w rstd + x̂ ∘ ẇ + ḃ

Sums and rstd of half precision are computed in float32.
"""

import torch.nn.functional as F

from torchbp.ops._dispatch import VmappableFunction, is_differentiated, operation, save_for_jvp, widened
from torchbp.ops.normalisation._batch_kernels import batch_norm_by_kernel
from torchbp.ops.normalisation._normalised import (
    channel_dbias,
    dweight_of_statistics,
    normalised,
    per_channel,
    scaled_and_shifted,
    times,
)


class BatchNormInEvaluation(VmappableFunction):
    """z = (x − μ_r) / √(σ²_r + eps) ∘ w + b: an affine map of each channel."""

    @staticmethod
    def forward(x, weight, bias, running_mean, running_var, eps):
        return by_torch_in_evaluation(x, weight, bias, running_mean, running_var, eps)

    @staticmethod
    def setup_context(ctx, inputs, z):
        x, weight, _, running_mean, running_var, ctx.eps = inputs
        needs_dx, needs_dweight, *_ = ctx.needs_input_grad
        ctx.save_for_backward(x if needs_dweight else None, weight if needs_dx else None, running_mean, running_var)
        save_for_jvp(ctx, x, weight, running_mean, running_var)

    @staticmethod
    def backward(ctx, dz):
        if dz is None:
            return (None,) * 6
        needs_dx, needs_dweight, needs_dbias, *_ = ctx.needs_input_grad
        x, weight, mean, var = ctx.saved_tensors
        if needs_dweight and not is_differentiated():
            needs = [needs_dx, needs_dweight, needs_dbias]
            none = widened(var).new_empty(0)  # the mean and rstd of a batch; torch's rule for vmap refuses None
            gradients = batch_norm_by_kernel(dz, x, weight, mean, var, none, none, False, ctx.eps, needs)
        else:
            gradients = in_evaluation_by_formulas(dz, x, weight, mean, var, ctx.eps, ctx.needs_input_grad)
        return *gradients, None, None, None

    @staticmethod
    def jvp(ctx, x_t, weight_t, bias_t, *_):
        x, weight, mean, var = ctx.saved_tensors
        rstd = per_channel(running_rstd(var, ctx.eps), x)
        xhat = normalised(widened(x), per_channel(mean, x), rstd)
        weight, weight_t, bias_t = (per_channel(p, x) for p in (weight, weight_t, bias_t))
        return scaled_and_shifted(x_t * rstd, xhat, weight, weight_t, bias_t).to(x.dtype)


def running_rstd(var, eps):
    """rstd = 1 / √(σ²_r + eps)."""
    return (widened(var) + eps).rsqrt()


def in_evaluation_by_formulas(dz, x, weight, mean, var, eps, needs):
    """dx, dw and db by the equations: those that are needed."""
    needs_dx, needs_dweight, needs_dbias, *_ = needs
    rstd = running_rstd(var, eps)
    dx = in_evaluation_dx(dz, weight, rstd) if needs_dx else None
    dweight = dweight_of_statistics(dz, x, mean, rstd) if needs_dweight else None
    return dx, dweight, channel_dbias(widened(dz)) if needs_dbias else None


def in_evaluation_dx(dz, weight, rstd):
    """dx = w rstd ∘ dz."""
    return (widened(dz) * per_channel(times(rstd, weight), dz)).to(dz.dtype)


def by_torch_in_evaluation(x, weight, bias, running_mean, running_var, eps):
    return F.batch_norm(x, running_mean, running_var, weight, bias, False, 0.0, eps)


apply_in_evaluation = operation(BatchNormInEvaluation, by_torch_in_evaluation)
