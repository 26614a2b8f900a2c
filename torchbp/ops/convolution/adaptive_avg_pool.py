"""Adaptive average pooling: as many windows as the output has places, and its derivative.

    forward     Z[i] = Σ X[window i] / n[i]        window i from ⌊i H / H'⌋ to before ⌈(i + 1) H / H'⌉
    backward    dX[h] = Σ dZ[i] / n[i], over the windows i that cover h
    tangent     Ż[i] = Σ Ẋ[window i] / n[i]

Nothing is saved.
"""

import itertools
import math

import torch

from torchbp.ops._dispatch import VmappableFunction, operation
from torchbp.ops.convolution._formulas import per_dimension
from torchbp.ops.convolution._pool_equations import MeanEquations
from torchbp.ops.convolution._windows import ADAPTIVE_AVG_POOL, layout, spread, spread_uneven, sum_of_windows
from torchbp.ops.registry import register
from torchbp.ops.rules import Layer


class AdaptiveAvgPool(VmappableFunction):
    """Z of X (N, C, …) or (C, …)."""

    @staticmethod
    def forward(x, dims, output_size):
        # it may be a view, and autograd lets nobody write into a view that a Function has made
        return _by_torch(x, dims, output_size).detach()

    @staticmethod
    def setup_context(ctx, inputs, z):
        x, ctx.dims, ctx.output_size = inputs
        ctx.layout = layout(x, ctx.dims)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, dz):
        return None if dz is None else adaptive_avg_pool_dx(dz, *ctx.layout), None, None

    @staticmethod
    def jvp(ctx, x_t, *_):
        return _by_torch(x_t, ctx.dims, ctx.output_size)


def _by_torch(x, dims, output_size):
    return ADAPTIVE_AVG_POOL[dims](x, output_size)


def adaptive_avg_pool_dx(dz, size, channels_last):
    """dX[h] = Σ dZ[i] / n[i] over the windows i that cover h; in memory as X."""
    dims = len(size)
    counts = dz.shape[-dims:]
    if all(z and x % z == 0 for x, z in zip(size, counts, strict=True)):  # windows side by side, all of one size
        kernel = tuple(x // z for x, z in zip(size, counts, strict=True))
        return spread(dz / math.prod(kernel), size, channels_last, kernel, kernel, (0,) * dims)
    dx = dz
    for dim, (x, z) in reversed([*enumerate(zip(size, counts, strict=True), dz.dim() - dims)]):
        starts = [i * x // z for i in range(z)]
        ends = [-(-(i + 1) * x // z) for i in range(z)]
        n = torch.tensor(
            [end - start for start, end in zip(starts, ends, strict=True)], dtype=dz.dtype, device=dz.device
        )
        shares = dx / n.view(-1, *(1,) * (dz.dim() - dim - 1))
        if torch.is_grad_enabled():  # writes into slices cannot be differentiated under vmap
            dx = sum_of_windows(shares, dim, x, starts, ends)
        else:
            dx = spread_uneven(shares, dim, channels_last, x, starts, ends)
    return dx


apply_adaptive_avg_pool = operation(AdaptiveAvgPool, _by_torch)


def adaptive_avg_pool1d(
    input: torch.Tensor,
    output_size: int | tuple[int | None, ...] | None,
) -> torch.Tensor:
    r"""The mean of each window, `Z[i] = Σ X[window i] / n[i]`, in one spatial dimension.

    Args:
        input: X, shape `(N, C, L)` or `(C, L)`; real.
        output_size: the number of windows.

    Returns:
        Z, shape `(N, C, output_size)` or `(C, output_size)`.

    Raises:
        RuntimeError: shapes that do not fit, as `torch.nn.functional.adaptive_avg_pool1d` words it.

    Example:
        >>> torchbp.ops.adaptive_avg_pool1d(torch.tensor([[1.0, 3.0, 2.0, 0.0]]), 2)  # tensor([[2., 1.]])
    """
    return apply_adaptive_avg_pool(input, 1, output_size)


def adaptive_avg_pool2d(
    input: torch.Tensor,
    output_size: int | tuple[int | None, ...] | None,
) -> torch.Tensor:
    r"""The mean of each of `output_size` windows, which cover X evenly (equations at the top of this file).

    Args:
        input: X, shape `(N, C, H, W)` or `(C, H, W)`; real.
        output_size: the number of windows; one number, or one for each dimension, of which None is the size of X.

    Returns:
        Z, shape `(N, C, *output_size)` or `(C, *output_size)`.

    Raises:
        RuntimeError: shapes that do not fit, as `torch.nn.functional.adaptive_avg_pool2d` words it.

    Example:
        >>> torchbp.ops.adaptive_avg_pool2d(torch.randn(8, 3, 32, 32), 1).shape  # (8, 3, 1, 1)
    """
    return apply_adaptive_avg_pool(input, 2, output_size)


def adaptive_avg_pool3d(
    input: torch.Tensor,
    output_size: int | tuple[int | None, ...] | None,
) -> torch.Tensor:
    r"""The mean of each window, `Z[i] = Σ X[window i] / n[i]`, in three spatial dimensions.

    Args:
        input: X, shape `(N, C, D, H, W)` or `(C, D, H, W)`; real.
        output_size: the number of windows, as in `adaptive_avg_pool2d`.

    Returns:
        Z, shape `(N, C, *output_size)` or `(C, *output_size)`.

    Raises:
        RuntimeError: shapes that do not fit, as `torch.nn.functional.adaptive_avg_pool3d` words it.

    Example:
        >>> torchbp.ops.adaptive_avg_pool3d(torch.ones(1, 2, 2, 2), 1).item()  # 1.0
    """
    return apply_adaptive_avg_pool(input, 3, output_size)


def _windows_of(size, output_size=1):
    """The windows of each dimension, and the number of places of each: see `MeanEquations`."""
    windows = []
    for n, count in zip(size, per_dimension(output_size, len(size)), strict=True):
        count = n if count is None else count
        windows.append(tuple(tuple(range(i * n // count, -(-(i + 1) * n // count))) for i in range(count)))
    return tuple(windows), [math.prod(map(len, covers)) for covers in itertools.product(*windows)]


def _rule(dims, apply):
    equations = MeanEquations(dims, _windows_of)

    def forward(x, output_size):
        return _by_torch(x, dims, output_size), layout(x, dims)

    def backward(dz, layout, output_size):
        return adaptive_avg_pool_dx(dz, *layout)

    return register(
        Layer(
            name=f"adaptive_avg_pool{dims}d",
            apply=apply,
            torch_module=getattr(torch.nn, f"AdaptiveAvgPool{dims}d"),
            torch_functions={ADAPTIVE_AVG_POOL[dims]: apply},
            options=("output_size",),
            forward=forward,
            backward=backward,
            saves="returned",
            new_memory=True,
            parameters=(),
            resizes=True,
            equation=equations.z,
            backward_equation=equations.dx,
            backward_why=MeanEquations.WHY,
            description="The input is divided into as many windows as the output has places; the mean of each remains.",
        )
    )


ADAPTIVE = {1: adaptive_avg_pool1d, 2: adaptive_avg_pool2d, 3: adaptive_avg_pool3d}
RULES = {dims: _rule(dims, apply) for dims, apply in ADAPTIVE.items()}
