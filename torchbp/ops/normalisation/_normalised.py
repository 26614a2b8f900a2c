"""The one formula behind every layer that normalises: x̂ = (x − μ) rstd, and z = x̂ ∘ w + b.

    forward     μ  = mean(x)      rstd = 1 / √(mean((x − μ)²) + eps)      x̂ = (x − μ) rstd
    backward    g  = dz ∘ w       dx = rstd ∘ (g − mean(g) − x̂ ∘ mean(g ∘ x̂))
    tangent     x̂̇ = rstd ∘ (ẋ − mean(ẋ) − x̂ ∘ mean(ẋ ∘ x̂))

The means run over the numbers that share one μ: the features of a row (layer norm), the rows of a feature (batch norm),
a group of channels of a row (group norm). The Jacobian of x̂ is symmetric, so that the tangent has the formula of dx.
"""

import torch

from torchbp.ops._dispatch import HALVES, may_overwrite, widened


def statistics(x, dims, eps):
    """μ and rstd = 1 / √(mean((x − μ)²) + eps), with the dimensions of x."""
    mean = x.mean(dims, keepdim=True)
    return mean, ((x - mean).square().mean(dims, keepdim=True) + eps).rsqrt()


def normalised(x, mean, rstd):
    """x̂ = (x − μ) rstd."""
    return (x - mean).mul_(rstd) if may_overwrite() else (x - mean) * rstd


def normalised_dx(g, xhat, rstd, dims):
    """dx = rstd ∘ (g − mean(g) − x̂ ∘ mean(g ∘ x̂)), the means over `dims`. With ẋ in the place of g it is the tangent
    of x̂."""
    return dx_of_means(g, xhat, rstd, g.mean(dims, keepdim=True), (g * xhat).mean(dims, keepdim=True))


def dx_of_means(g, xhat, rstd, mean_g, mean_gx):
    """dx = rstd ∘ (g − mean(g) − x̂ ∘ mean(g ∘ x̂)), of its two means."""
    if may_overwrite():
        return (g - mean_g).addcmul_(xhat, mean_gx, value=-1).mul_(rstd)
    return rstd * (g - mean_g - xhat * mean_gx)


def scaled_and_shifted(tangent, xhat, weight, weight_t, bias_t):
    """ż = x̂̇ ∘ w + x̂ ∘ ẇ + ḃ, where the layer has w and b."""
    if weight is not None:
        tangent = tangent * weight + xhat * weight_t
    return tangent if bias_t is None else tangent + bias_t


def times(dz, weight):
    """g = dz ∘ w."""
    return dz if weight is None else dz * weight


def features(shape):
    """The dimensions of a row's features, the last ones."""
    return tuple(range(-len(shape), 0))


def channel_dims(x):
    """The dimensions over which the numbers of a channel lie: all but dimension 1."""
    return 0, *range(2, x.dim())


def per_channel(tensor, x):
    """(C) in the shape (1, C, 1, …) of x."""
    return None if tensor is None else tensor.view(-1, *[1] * (x.dim() - 2))


def channel_dweight(dz, xhat):
    """dw = Σ dz ∘ x̂, of each channel."""
    return (dz * xhat).sum(channel_dims(dz))


def dweight_of_statistics(dz, x, mean, rstd):
    """dw = Σ dz ∘ (x − μ) rstd, of each channel, with μ and rstd in the shape (C)."""
    return channel_dweight(widened(dz), normalised(widened(x), per_channel(mean, x), per_channel(rstd, x)))


def channel_dbias(dz):
    """db = Σ dz, of each channel."""
    return dz.sum(channel_dims(dz))


def is_half_on_cpu(x):
    """Whether torch's kernels compute with x in half precision and take all else in float32."""
    return x.dtype in HALVES and x.device.type == "cpu"


def wide_beside(x, tensor):
    """A tensor of a kernel beside x: in float32 where x `is_half_on_cpu`."""
    return widened(tensor) if is_half_on_cpu(x) else tensor


def wide_weight(weight, x, shape):
    """w of a kernel beside x: in float32 where x `is_half_on_cpu`, for the kernel rounds μ and rstd to the dtype of w,
    without one to that of x; ones are then in its place."""
    if weight is None and is_half_on_cpu(x):
        return torch.ones(shape, dtype=torch.float32, device=x.device)
    return wide_beside(x, weight)


def check_dtypes(operation, x, **parameters):
    """Raise a RuntimeError, as torch's kernels on a CPU do, for a parameter of another dtype than x; beside half
    precision it may be float32."""
    if x.device.type != "cpu" or not x.is_floating_point():  # autocast casts them; or torch says why it refuses x
        return
    for name, parameter in parameters.items():
        if parameter is None or parameter.dtype is x.dtype:
            continue
        if x.dtype not in HALVES or parameter.dtype is not torch.float32:
            or_float32 = " or torch.float32" if x.dtype in HALVES else ""
            raise RuntimeError(f"{operation}: {name} is {parameter.dtype}; give {x.dtype}{or_float32}, as input is")
