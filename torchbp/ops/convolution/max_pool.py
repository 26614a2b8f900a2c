"""Max pooling: the largest number of each window, and its derivative.

    forward     Z[i] = max X[window i]        I[i] = where it is
    backward    dX[I[i]] += dZ[i], and 0 elsewhere
    tangent     Ż[i] = Ẋ[I[i]]

I counts the places of a plane, of all spatial dimensions, from 0. I is all that is saved.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F

from torchbp.ops._dispatch import VmappableFunction, float32, operation, save_for_jvp
from torchbp.ops.convolution._formulas import per_dimension
from torchbp.ops.convolution._pool_equations import LargestEquations, sliding
from torchbp.ops.convolution._windows import MAX_POOL, layout, steps
from torchbp.ops.registry import register
from torchbp.ops.rules import Layer


class MaxPool(VmappableFunction):
    """(Z, I) of X (N, C, …) or (C, …)."""

    @staticmethod
    def forward(x, dims, kernel_size, stride, padding, dilation, ceil_mode, return_indices):
        z, indices = MAX_POOL[dims](x, kernel_size, stride, padding, dilation, ceil_mode, True)
        # it may be a view, and autograd lets nobody write into a view that a Function has made
        return z.detach(), indices.detach()

    @staticmethod
    def setup_context(ctx, inputs, outputs):
        x, ctx.dims, *_ = inputs
        _, indices = outputs
        ctx.layout = layout(x, ctx.dims)
        ctx.mark_non_differentiable(indices)
        ctx.save_for_backward(indices)
        save_for_jvp(ctx, indices)

    @staticmethod
    def backward(ctx, dz, _):
        if dz is None:
            return (None,) * 8
        (indices,) = ctx.saved_tensors
        return max_pool_dx(dz, indices, *ctx.layout), *(None,) * 7

    @staticmethod
    def jvp(ctx, x_t, *_):
        (indices,) = ctx.saved_tensors
        dims = ctx.dims
        return as_line(x_t, dims).gather(-1, as_line(indices, dims)).view(indices.shape), None


def as_line(tensor, dims):
    """The spatial dimensions as one."""
    return tensor.reshape(*tensor.shape[:-dims], tensor.shape[-dims:].numel())


def max_pool_dx(dz, indices, size, channels_last):
    """dX: each number of dZ at the place of the largest number of its window; where windows meet, their sum."""
    dims = len(size)
    if channels_last and not torch.is_grad_enabled():
        return max_pool_dx_channels_last(dz, indices, size)
    dx = dz.new_zeros(*dz.shape[:-dims], size.numel())
    return dx.scatter_add_(-1, as_line(indices, dims), as_line(dz, dims)).view(*dz.shape[:-dims], *size)


def max_pool_dx_channels_last(dz, indices, size):
    """The same in the order (N, places, C) of X's memory: place i of channel c is number i C + c of its sample."""
    n, channels = dz.shape[:2]
    dz, indices = dz.movedim(1, -1), indices.movedim(1, -1)
    indices = torch.add(torch.arange(channels, device=dz.device), indices, alpha=channels)
    per_sample = dz.shape[1:].numel()
    dx = dz.new_zeros(n, size.numel() * channels)
    dx.scatter_add_(1, indices.reshape(n, per_sample), dz.reshape(n, per_sample))
    return dx.view(n, *size, channels).movedim(-1, 1)


def _by_torch(x, dims, kernel_size, stride, padding, dilation, ceil_mode, return_indices):
    z = MAX_POOL[dims](x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)
    return z if return_indices else (z, None)


def _cast(args):
    """Autocast's rule: torch computes max_pool3d on the CPU in float32, and the others in the dtype of X."""
    x, dims, *_, return_indices = args
    return float32(args) if dims == 3 and x.device.type == "cpu" and not return_indices else args


apply_max_pool = operation(MaxPool, _by_torch, _cast)


def _max_pool(dims, input, *settings):
    z, indices = apply_max_pool(input, dims, *settings)
    return (z, indices) if settings[-1] else z


def max_pool1d(
    input: torch.Tensor,
    kernel_size: int | tuple[int, ...],
    stride: int | tuple[int, ...] | None = None,
    padding: int | tuple[int, ...] = 0,
    dilation: int | tuple[int, ...] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    r"""The largest number of each window, `Z[i] = max X[window i]`, in one spatial dimension.

    Args:
        input: X, shape `(N, C, L)` or `(C, L)`; real.
        kernel_size, stride, padding, dilation, ceil_mode, return_indices: as in `max_pool2d`.

    Returns:
        Z, shape `(N, C, L')` or `(C, L')`; with `return_indices` `(Z, I)`.

    Raises:
        RuntimeError: shapes or settings that do not fit, as `torch.nn.functional.max_pool1d` words it.

    Example:
        >>> torchbp.ops.max_pool1d(torch.tensor([[1.0, 3.0, 2.0, 0.0]]), 2)  # tensor([[3., 2.]])
    """
    return _max_pool(1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(
    input: torch.Tensor,
    kernel_size: int | tuple[int, ...],
    stride: int | tuple[int, ...] | None = None,
    padding: int | tuple[int, ...] = 0,
    dilation: int | tuple[int, ...] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    r"""The largest number of each window (equations at the top of this file).

    Args:
        input: X, shape `(N, C, H, W)` or `(C, H, W)`; real.
        kernel_size: of the window; one number, or one for each dimension, as the next three.
        stride: the step of the window; None is `kernel_size`.
        padding: of −∞ on each side, at most half the kernel.
        dilation: the distance of two places of the window.
        ceil_mode: whether windows that reach over the end count.
        return_indices: whether I is returned, too.

    Returns:
        Z, shape `(N, C, H', W')` or `(C, H', W')`; with `return_indices` `(Z, I)`.

    Raises:
        RuntimeError: shapes or settings that do not fit, as `torch.nn.functional.max_pool2d` words it.

    Example:
        >>> torchbp.ops.max_pool2d(torch.randn(8, 3, 32, 32), 2).shape  # (8, 3, 16, 16)
    """
    return _max_pool(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool3d(
    input: torch.Tensor,
    kernel_size: int | tuple[int, ...],
    stride: int | tuple[int, ...] | None = None,
    padding: int | tuple[int, ...] = 0,
    dilation: int | tuple[int, ...] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    r"""The largest number of each window, `Z[i] = max X[window i]`, in three spatial dimensions.

    Args:
        input: X, shape `(N, C, D, H, W)` or `(C, D, H, W)`; real.
        kernel_size, stride, padding, dilation, ceil_mode, return_indices: as in `max_pool2d`.

    Returns:
        Z, shape `(N, C, D', H', W')` or `(C, D', H', W')`; with `return_indices` `(Z, I)`.

    Raises:
        RuntimeError: shapes or settings that do not fit, as `torch.nn.functional.max_pool3d` words it.

    Example:
        >>> torchbp.ops.max_pool3d(torch.ones(1, 2, 2, 2), 2).item()  # 1.0
    """
    return _max_pool(3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def _refuses(module):
    return "it returns indices; use return_indices=False" if module.return_indices else None


def _with_indices(apply):
    """The same with the arguments of `F.max_pool2d_with_indices`, which returns them always."""

    def pool(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
        return apply(input, kernel_size, stride, padding, dilation, ceil_mode, True)

    return pool


WHY = "only the largest number of a window counts, so its error goes to that one"


def _windows_of(size, kernel_size=1, stride=None, padding=0, dilation=1, ceil_mode=False):
    """The windows of each dimension: see `LargestEquations`."""
    kernel, stride = steps(kernel_size, stride, len(size))
    padding, dilation = (per_dimension(n, len(size)) for n in (padding, dilation))
    each = zip(size, kernel, stride, padding, dilation, strict=True)
    windows = tuple(sliding(*settings, ceil_mode) for settings in each)
    return windows, [1] * math.prod(map(len, windows))


def _rule(dims, apply):
    equations = LargestEquations(dims, _windows_of)

    def forward(x, **settings):
        z, indices = MAX_POOL[dims](x, **settings, return_indices=True)
        return z, (indices, *layout(x, dims))

    def backward(dz, saved, **settings):
        return max_pool_dx(dz, *saved)

    return register(
        Layer(
            name=f"max_pool{dims}d",
            apply=apply,
            torch_module=getattr(torch.nn, f"MaxPool{dims}d"),
            torch_functions={
                MAX_POOL[dims]: apply,
                getattr(torch, f"max_pool{dims}d"): apply,
                getattr(F, f"max_pool{dims}d_with_indices"): _with_indices(apply),
            },
            options=("kernel_size", "stride", "padding", "dilation", "ceil_mode"),
            refuses=_refuses,
            forward=forward,
            backward=backward,
            saves="returned",
            new_memory=True,
            parameters=(),
            resizes=True,
            parts=equations.parts,
            equation=equations.z,
            backward_equation=equations.dx,
            backward_why=WHY,
            description="The layer keeps the largest number of each window.",
        )
    )


RULES = {dims: _rule(dims, apply) for dims, apply in {1: max_pool1d, 2: max_pool2d, 3: max_pool3d}.items()}
