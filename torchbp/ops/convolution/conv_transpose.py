"""Transposed convolution: Z = X ⋆ᵀ W + b, and its derivatives from dZ = ∂L/∂Z: those of convolution, roles exchanged.

    forward     Z  = X ⋆ᵀ W + b
    backward    dX = dZ ⋆ conj(W)      dW = conj(X) ⋆ dZ      db = Σ dZ
    tangent     Ż  = Ẋ ⋆ᵀ W + X ⋆ᵀ Ẇ + ḃ

The symbols are explained in `_formulas.py`. For real numbers conj(·) is the number itself.
"""

import torch
import torch.nn.functional as F

from torchbp.ops._dispatch import VmappableFunction, lower_precision, operation, save_for_jvp
from torchbp.ops.convolution._equations import ConvTransposeEquations
from torchbp.ops.convolution._formulas import (
    CONV,
    CONV_TRANSPOSE,
    conv_dbias,
    conv_dweight,
    owned,
    per_dimension,
)
from torchbp.ops.registry import register
from torchbp.ops.rules import Layer, Parameter


class ConvTranspose(VmappableFunction):
    """Z = X ⋆ᵀ W + b: X (N, C, …) or (C, …), W (C, O/groups, …), b (O) or None, Z (N, O, …) or (O, …)."""

    @staticmethod
    def forward(x, weight, bias, stride, padding, output_padding, groups, dilation):
        return owned(_by_torch(x, weight, bias, stride, padding, output_padding, groups, dilation), x, weight)

    @staticmethod
    def setup_context(ctx, inputs, z):
        x, weight, _, *ctx.settings = inputs
        needs_dx, needs_dweight, *_ = ctx.needs_input_grad
        ctx.dims = weight.dim() - 2
        ctx.save_for_backward(x if needs_dweight else None, weight if needs_dx or needs_dweight else None)
        save_for_jvp(ctx, x, weight)

    @staticmethod
    def backward(ctx, dz):
        if dz is None:
            return (None,) * 8
        needs_dx, needs_dweight, needs_dbias = ctx.needs_input_grad[:3]
        x, weight = ctx.saved_tensors
        dbias = conv_dbias(dz, ctx.dims) if needs_dbias else None
        dweight = conv_transpose_dweight(dz, x.conj(), weight, *ctx.settings) if needs_dweight else None
        dx = conv_transpose_dx(dz, weight, *ctx.settings) if needs_dx else None
        return dx, dweight, dbias, None, None, None, None, None

    @staticmethod
    def jvp(ctx, x_t, weight_t, bias_t, *_):
        x, weight = ctx.saved_tensors
        return _by_torch(x_t, weight, bias_t, *ctx.settings) + _by_torch(x, weight_t, None, *ctx.settings)


def conv_transpose_dx(dz, weight, stride, padding, output_padding, groups, dilation):
    """dX = dZ ⋆ conj(W)."""
    dims = len(stride)
    dx = CONV[dims](dz, weight.conj(), None, stride, padding, dilation, groups)
    for dim, rest in enumerate(windows_beyond(stride, output_padding), -dims):
        dx = dx.narrow(dim, 0, dx.shape[dim] - rest)
    return dx


def conv_transpose_dweight(dz, x, weight, stride, padding, output_padding, groups, dilation):
    """dW = X ⋆ dZ: as dW of a convolution of dZ that gives X."""
    rest = windows_beyond(stride, output_padding)
    if any(rest):
        x = F.pad(x, [zeros for n in reversed(rest) for zeros in (0, n)])
    return conv_dweight(x, dz, weight, stride, padding, dilation, groups)


def windows_beyond(stride, output_padding):
    """How many windows of dZ, in each dimension, lie beyond those of X: where output_padding is a step or more."""
    return [n // s for n, s in zip(output_padding, stride, strict=True)]


def _by_torch(x, weight, bias, stride, padding, output_padding, groups, dilation):
    return CONV_TRANSPOSE[weight.dim() - 2](x, weight, bias, stride, padding, output_padding, groups, dilation)


apply_conv_transpose = operation(ConvTranspose, _by_torch, cast=lower_precision)


def _conv_transpose(dims, x, weight, bias, stride, padding, output_padding, groups, dilation):
    if weight.dim() != dims + 2:
        return CONV_TRANSPOSE[dims](x, weight, bias)  # it raises
    stride, padding, output_padding, dilation = (
        per_dimension(numbers, dims) for numbers in (stride, padding, output_padding, dilation)
    )
    return apply_conv_transpose(x, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose1d(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: int | tuple[int, ...] = 1,
    padding: int | tuple[int, ...] = 0,
    output_padding: int | tuple[int, ...] = 0,
    groups: int = 1,
    dilation: int | tuple[int, ...] = 1,
) -> torch.Tensor:
    r"""Transposed convolution in one spatial dimension, `Z = X ⋆ᵀ W + b` (equations at the top of this file).

    Args:
        input: X, shape `(N, C, L)` or `(C, L)`; floating or complex.
        weight: W, shape `(C, O/groups, k)`, the dtype of `input`.
        bias, stride, padding, output_padding, groups, dilation: as in `conv_transpose2d`.

    Returns:
        Z, shape `(N, O, L')` or `(O, L')` with
        `L' = (L − 1) stride − 2 padding + dilation (k − 1) + output_padding + 1`.

    Raises:
        RuntimeError: shapes, dtypes or settings that do not fit, as `torch.nn.functional.conv_transpose1d` words it.

    Example:
        >>> torchbp.ops.conv_transpose1d(torch.ones(1, 1, 2), torch.ones(1, 1, 2))  # tensor([[[1., 2., 1.]]])
    """
    return _conv_transpose(1, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: int | tuple[int, ...] = 1,
    padding: int | tuple[int, ...] = 0,
    output_padding: int | tuple[int, ...] = 0,
    groups: int = 1,
    dilation: int | tuple[int, ...] = 1,
) -> torch.Tensor:
    r"""Transposed convolution, `Z = X ⋆ᵀ W + b` (equations at the top of this file).

    Args:
        input: X, shape `(N, C, H, W)` or `(C, H, W)`; floating or complex.
        weight: W, shape `(C, O/groups, kH, kW)`, the dtype of `input`.
        bias: b, shape `(O)`, or None.
        stride: the step of the window in Z; one number, or one for each dimension, as the next two and `dilation`.
        padding: what is left out of Z on each side.
        output_padding: how many rows Z has more at the end; less than `stride` or `dilation`.
        groups: the channels are split into so many groups, each with its own kernels.
        dilation: the distance of two places of the window.

    Returns:
        Z, shape `(N, O, H', W')` or `(O, H', W')` with
        `H' = (H − 1) stride − 2 padding + dilation (kH − 1) + output_padding + 1`.

    Raises:
        RuntimeError: shapes, dtypes or settings that do not fit, as `torch.nn.functional.conv_transpose2d` words it.

    Example:
        >>> torchbp.ops.conv_transpose2d(torch.ones(1, 3, 4, 4), torch.ones(3, 5, 2, 2)).shape  # (1, 5, 5, 5)
    """
    return _conv_transpose(2, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose3d(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: int | tuple[int, ...] = 1,
    padding: int | tuple[int, ...] = 0,
    output_padding: int | tuple[int, ...] = 0,
    groups: int = 1,
    dilation: int | tuple[int, ...] = 1,
) -> torch.Tensor:
    r"""Transposed convolution in three spatial dimensions, `Z = X ⋆ᵀ W + b` (equations at the top of this file).

    Args:
        input: X, shape `(N, C, D, H, W)` or `(C, D, H, W)`; floating or complex.
        weight: W, shape `(C, O/groups, kD, kH, kW)`, the dtype of `input`.
        bias, stride, padding, output_padding, groups, dilation: as in `conv_transpose2d`.

    Returns:
        Z, shape `(N, O, D', H', W')` or `(O, D', H', W')`, each size as in `conv_transpose2d`.

    Raises:
        RuntimeError: shapes, dtypes or settings that do not fit, as `torch.nn.functional.conv_transpose3d` words it.

    Example:
        >>> torchbp.ops.conv_transpose3d(torch.ones(1, 1, 1, 1, 1), torch.ones(1, 1, 2, 2, 2)).shape  # (1, 1, 2, 2, 2)
    """
    return _conv_transpose(3, input, weight, bias, stride, padding, output_padding, groups, dilation)


def _rule(dims, apply):
    """The rule of a transposed convolution of so many dimensions."""
    equations = ConvTransposeEquations(dims)

    def forward(x, weight, bias, kernel_size, stride, padding, output_padding, groups, dilation):
        return CONV_TRANSPOSE[dims](x, weight, bias, stride, padding, output_padding, groups, dilation)

    def backward(dz, x, weight, bias, kernel_size, **settings):
        return conv_transpose_dx(dz, weight, **settings)

    def dweight(dz, x, kernel_size, groups, **settings):
        weight = dz.new_empty(x.shape[-dims - 1], dz.shape[-dims - 1] // groups, *kernel_size)  # only its shape counts
        return conv_transpose_dweight(dz, x.conj(), weight, groups=groups, **settings)

    def dbias(dz, x, **settings):
        return conv_dbias(dz, dims)

    return register(
        Layer(
            name=f"conv_transpose{dims}d",
            apply=apply,
            torch_module=getattr(torch.nn, f"ConvTranspose{dims}d"),
            torch_functions={CONV_TRANSPOSE[dims]: apply},  # it is torch.conv_transpose2d, too
            options=("kernel_size", "stride", "padding", "output_padding", "groups", "dilation"),
            forward=forward,
            backward=backward,
            saves="input",
            new_memory=True,
            parameters=(
                Parameter(
                    "weight",
                    "W",
                    gradient=dweight,
                    equation=equations.dweight,
                    why="each weight of a kernel multiplied each number of a channel of {x}, and all of them add up",
                ),
                Parameter(
                    "bias",
                    "b",
                    gradient=dbias,
                    equation=equations.dbias,
                    why="the bias is added at each place, so the factor is 1, and the places add up",
                ),
            ),
            equation=equations.z,
            backward_equation=equations.dx,
            backward_why="each number of {x} went to several numbers of {z}, each time through a weight; their errors "
            "come back, each times that weight",
            description="Each number of the input adds a multiple of each kernel to the output, side by side.",
        )
    )


TRANSPOSED = {1: conv_transpose1d, 2: conv_transpose2d, 3: conv_transpose3d}
RULES = {dims: _rule(dims, apply) for dims, apply in TRANSPOSED.items()}
