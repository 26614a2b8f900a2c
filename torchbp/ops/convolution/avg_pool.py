"""Average pooling: the mean of each window, and its derivative, which is the transposed convolution with ones.

    forward     Z[i] = Σ X[window i] / n[i]
    backward    dX   = (dZ / n) ⋆ᵀ 1
    tangent     Ż[i] = Σ Ẋ[window i] / n[i]

n[i] is the number of places of window i; see `window_counts`. Nothing is saved.
"""

import itertools
import math

import torch

from torchbp.ops._dispatch import VmappableFunction, operation
from torchbp.ops.convolution._formulas import per_dimension
from torchbp.ops.convolution._pool_equations import MeanEquations, sliding
from torchbp.ops.convolution._windows import AVG_POOL, layout, spread, steps
from torchbp.ops.registry import register
from torchbp.ops.rules import Layer


class AvgPool(VmappableFunction):
    """Z of X (N, C, …) or (C, …)."""

    @staticmethod
    def forward(x, dims, *settings):
        # it may be a view, and autograd lets nobody write into a view that a Function has made
        return _by_torch(x, dims, *settings).detach()

    @staticmethod
    def setup_context(ctx, inputs, z):
        x, ctx.dims, *ctx.settings = inputs
        ctx.layout = layout(x, ctx.dims)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, dz):
        dx = None if dz is None else avg_pool_dx(dz, ctx.layout, *ctx.settings)
        return dx, *(None,) * (1 + len(ctx.settings))

    @staticmethod
    def jvp(ctx, x_t, *_):
        return _by_torch(x_t, ctx.dims, *ctx.settings)


def _by_torch(x, dims, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override):
    options = () if dims == 1 else (divisor_override,)
    return AVG_POOL[dims](x, kernel_size, stride, padding, ceil_mode, count_include_pad, *options)


def window_counts(windows, size, kernel, stride, padding, count_include_pad):
    """The number of places of each window of a dimension, those of zeros at the sides included or not, but none of
    those beyond them, which windows reach with `ceil_mode`."""
    low, high = (-padding, size + padding) if count_include_pad else (0, size)
    starts = [i * stride - padding for i in range(windows)]
    return [min(start + kernel, high) - max(start, low) for start in starts]


def avg_pool_dx(dz, layout, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override):
    """dX = (dZ / n) ⋆ᵀ 1: each number of dZ is shared by the places of its window. `layout` is that of X."""
    size, channels_last = layout
    dims = len(size)
    kernel, stride = steps(kernel_size, stride, dims)
    padding = per_dimension(padding, dims)
    if divisor_override:
        shares = dz / divisor_override
    elif not ceil_mode and (count_include_pad or not any(padding)):
        shares = dz / math.prod(kernel)
    else:
        shares = dz
        for dim, settings in enumerate(zip(dz.shape[-dims:], size, kernel, stride, padding, strict=True), -dims):
            n = torch.tensor(window_counts(*settings, count_include_pad), dtype=dz.dtype, device=dz.device)
            shares = shares / n.view(-1, *(1,) * (-1 - dim))
    return spread(shares, size, channels_last, kernel, stride, padding)


apply_avg_pool = operation(AvgPool, _by_torch)


def avg_pool1d(
    input: torch.Tensor,
    kernel_size: int | tuple[int, ...],
    stride: int | tuple[int, ...] | None = None,
    padding: int | tuple[int, ...] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> torch.Tensor:
    r"""The mean of each window, `Z[i] = Σ X[window i] / n[i]`, in one spatial dimension.

    Args:
        input: X, shape `(N, C, L)` or `(C, L)`; real.
        kernel_size, stride, padding, ceil_mode, count_include_pad: as in `avg_pool2d`.

    Returns:
        Z, shape `(N, C, L')` or `(C, L')`.

    Raises:
        RuntimeError: shapes or settings that do not fit, as `torch.nn.functional.avg_pool1d` words it.

    Example:
        >>> torchbp.ops.avg_pool1d(torch.tensor([[1.0, 3.0, 2.0, 0.0]]), 2)  # tensor([[2., 1.]])
    """
    return apply_avg_pool(input, 1, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


def avg_pool2d(
    input: torch.Tensor,
    kernel_size: int | tuple[int, ...],
    stride: int | tuple[int, ...] | None = None,
    padding: int | tuple[int, ...] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> torch.Tensor:
    r"""The mean of each window (equations at the top of this file).

    Args:
        input: X, shape `(N, C, H, W)` or `(C, H, W)`; real.
        kernel_size: of the window; one number, or one for each dimension, as the next two.
        stride: the step of the window; None is `kernel_size`.
        padding: zeros on each side, at most half the kernel.
        ceil_mode: whether windows that reach over the end count.
        count_include_pad: whether these zeros count in the mean.
        divisor_override: what the sum is divided by instead of the number of places, or None.

    Returns:
        Z, shape `(N, C, H', W')` or `(C, H', W')`.

    Raises:
        RuntimeError: shapes or settings that do not fit, as `torch.nn.functional.avg_pool2d` words it.

    Example:
        >>> torchbp.ops.avg_pool2d(torch.ones(1, 1, 4, 4), 2).shape  # (1, 1, 2, 2)
    """
    return apply_avg_pool(input, 2, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def avg_pool3d(
    input: torch.Tensor,
    kernel_size: int | tuple[int, ...],
    stride: int | tuple[int, ...] | None = None,
    padding: int | tuple[int, ...] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> torch.Tensor:
    r"""The mean of each window, `Z[i] = Σ X[window i] / n[i]`, in three spatial dimensions.

    Args:
        input: X, shape `(N, C, D, H, W)` or `(C, D, H, W)`; real.
        kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override: as in `avg_pool2d`.

    Returns:
        Z, shape `(N, C, D', H', W')` or `(C, D', H', W')`.

    Raises:
        RuntimeError: shapes or settings that do not fit, as `torch.nn.functional.avg_pool3d` words it.

    Example:
        >>> torchbp.ops.avg_pool3d(torch.ones(1, 2, 2, 2), 2).item()  # 1.0
    """
    return apply_avg_pool(input, 3, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def _windows_of(
    size, kernel_size=1, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=0
):
    """The windows of each dimension, and what the sum of each is divided by: see `MeanEquations`."""
    kernel, stride = steps(kernel_size, stride, len(size))
    padding = per_dimension(padding, len(size))
    each = [*zip(size, kernel, stride, padding, strict=True)]
    windows = tuple(sliding(n, k, s, p, 1, ceil_mode) for n, k, s, p in each)
    counts = [window_counts(len(of), *settings, count_include_pad) for of, settings in zip(windows, each, strict=True)]
    return windows, [divisor_override or math.prod(n) for n in itertools.product(*counts)]


def _rule(dims, apply):
    equations = MeanEquations(dims, _windows_of)

    def forward(x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override=None):
        z = _by_torch(x, dims, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
        return z, layout(x, dims)

    def backward(dz, layout, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override=None):
        settings = kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
        return avg_pool_dx(dz, layout, *settings)

    options = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
    return register(
        Layer(
            name=f"avg_pool{dims}d",
            apply=apply,
            torch_module=getattr(torch.nn, f"AvgPool{dims}d"),
            torch_functions={AVG_POOL[dims]: apply},
            options=options[:-1] if dims == 1 else options,
            forward=forward,
            backward=backward,
            saves="returned",
            new_memory=True,
            parameters=(),
            resizes=True,
            equation=equations.z,
            backward_equation=equations.dx,
            backward_why=MeanEquations.WHY,
            description="The layer keeps the mean of each window.",
        )
    )


RULES = {dims: _rule(dims, apply) for dims, apply in {1: avg_pool1d, 2: avg_pool2d, 3: avg_pool3d}.items()}
