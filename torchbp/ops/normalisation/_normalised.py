"""The one formula behind every layer that normalises: x̂ = (x − μ) rstd, and z = x̂ ∘ w + b.

    forward     μ  = mean(x)      rstd = 1 / √(mean((x − μ)²) + eps)      x̂ = (x − μ) rstd
    backward    g  = dz ∘ w       dx = rstd ∘ (g − mean(g) − x̂ ∘ mean(g ∘ x̂))
    tangent     x̂̇ = rstd ∘ (ẋ − mean(ẋ) − x̂ ∘ mean(ẋ ∘ x̂))

The means run over the numbers that share one μ: the features of a row (layer norm), the rows of a feature (batch norm),
a group of channels of a row (group norm). The Jacobian of x̂ is symmetric, so that the tangent has the formula of dx.
"""

import torch

from torchbp.ops._dispatch import HALVES, may_overwrite


def statistics(x, dims, eps):
    """μ and rstd = 1 / √(mean((x − μ)²) + eps), with the dimensions of x."""
    mean = x.mean(dims, keepdim=True)
    return mean, ((x - mean).square().mean(dims, keepdim=True) + eps).rsqrt()


def normalised(x, mean, rstd):
    """x̂ = (x − μ) rstd."""
    return (x - mean).mul_(rstd) if may_overwrite() else (x - mean) * rstd


def normalised_dx(g, xhat, rstd, mean_g, mean_gx):
    """dx = rstd ∘ (g − mean(g) − x̂ ∘ mean(g ∘ x̂)), of the two means."""
    if may_overwrite():
        return (g - mean_g).addcmul_(xhat, mean_gx, value=-1).mul_(rstd)
    return rstd * (g - mean_g - xhat * mean_gx)


def normalised_tangent(x_t, xhat, rstd, dims):
    """The tangent of x̂: the formula of dx with ẋ in the place of g."""
    return normalised_dx(x_t, xhat, rstd, x_t.mean(dims, keepdim=True), (x_t * xhat).mean(dims, keepdim=True))


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


def rows(x):
    """The dimensions over which the numbers of a channel lie: all but dimension 1."""
    return 0, *range(2, x.dim())


def per_channel(tensor, x):
    """(C) in the shape (1, C, 1, …) of x."""
    return None if tensor is None else tensor.view(-1, *[1] * (x.dim() - 2))


def channel_dweight(dz, xhat):
    """dw = Σ dz ∘ x̂, of each channel."""
    return (dz * xhat).sum(rows(dz))


def channel_dbias(dz):
    """db = Σ dz, of each channel."""
    return dz.sum(rows(dz))


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
