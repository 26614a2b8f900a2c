"""Convolution: Z = X ⋆ W + b, and its derivatives from dZ = ∂L/∂Z, which are two convolutions.

    forward     Z  = X ⋆ W + b
    backward    dX = dZ ⋆ᵀ conj(W)      dW = dZ ⋆ conj(X)      db = Σ dZ
    tangent     Ż  = Ẋ ⋆ W + X ⋆ Ẇ + ḃ

The symbols are explained in `_formulas.py`. For real numbers conj(·) is the number itself.
"""

import torch
import torch.nn.functional as F

from torchbp.ops._dispatch import VmappableFunction, lower_precision, operation, save_for_jvp
from torchbp.ops.convolution._equations import ConvEquations
from torchbp.ops.convolution._formulas import CONV, conv_dbias, conv_dweight, conv_dx, owned, per_dimension
from torchbp.ops.registry import register
from torchbp.ops.rules import Layer, Parameter


class Conv(VmappableFunction):
    """Z = X ⋆ W + b: X (N, C, …) or (C, …), W (O, C/groups, …), b (O) or None, Z (N, O, …) or (O, …)."""

    @staticmethod
    def forward(x, weight, bias, stride, padding, dilation, groups):
        return owned(_by_torch(x, weight, bias, stride, padding, dilation, groups), x, weight)

    @staticmethod
    def setup_context(ctx, inputs, z):
        x, weight, _, *ctx.settings = inputs
        needs_dx, needs_dweight, *_ = ctx.needs_input_grad
        ctx.size, ctx.dims = x.shape[2 - weight.dim() :], weight.dim() - 2
        # dW of torch's kernel reads W's shape and layout, not its numbers
        ctx.save_for_backward(x if needs_dweight else None, weight if needs_dx or needs_dweight else None)
        save_for_jvp(ctx, x, weight)

    @staticmethod
    def backward(ctx, dz):
        needs_dx, needs_dweight, needs_dbias = ctx.needs_input_grad[:3]
        if dz is None:
            return (None,) * 7
        x, weight = ctx.saved_tensors
        dbias = conv_dbias(dz, ctx.dims) if needs_dbias else None
        dweight = conv_dweight(dz, x.conj(), weight, *ctx.settings) if needs_dweight else None
        dx = conv_dx(dz, weight, ctx.size, *ctx.settings) if needs_dx else None
        return dx, dweight, dbias, None, None, None, None

    @staticmethod
    def jvp(ctx, x_t, weight_t, bias_t, *_):
        x, weight = ctx.saved_tensors
        return _by_torch(x_t, weight, bias_t, *ctx.settings) + _by_torch(x, weight_t, None, *ctx.settings)


def _by_torch(x, weight, bias, stride, padding, dilation, groups):
    return CONV[weight.dim() - 2](x, weight, bias, stride, padding, dilation, groups)


apply_conv = operation(Conv, _by_torch, cast=lower_precision)


def _conv(dims, x, weight, bias, stride, padding, dilation, groups):
    if weight.dim() != dims + 2:
        return CONV[dims](x, weight, bias, stride, padding, dilation, groups)  # it raises
    x, settings = padded_input(x, weight, stride, padding, dilation)
    return apply_conv(x, weight, bias, *settings, groups)


def padded_input(x, weight, stride, padding, dilation):
    """X, and (stride, padding, dilation) as numbers for each dimension. Of an even kernel "same" has one more zero at
    the end of a dimension than at its start: X comes with that one.

    Raises:
        RuntimeError: an unknown word, or "same" with a stride.
    """
    dims = weight.dim() - 2
    stride, dilation = per_dimension(stride, dims), per_dimension(dilation, dims)
    if not isinstance(padding, str):
        return x, (stride, per_dimension(padding, dims), dilation)
    if padding == "valid":
        return x, (stride, (0,) * dims, dilation)
    if padding != "same":
        raise RuntimeError(f'padding={padding!r} is not known; give "same", "valid" or numbers')
    if any(s != 1 for s in stride):
        raise RuntimeError(f'padding="same" has no meaning with stride={stride}; give padding as numbers')
    both = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
    if any(n % 2 for n in both):
        x = F.pad(x, [zeros for n in reversed(both) for zeros in (0, n % 2)])
    return x, (stride, tuple(n // 2 for n in both), dilation)


def conv1d(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: int | tuple[int, ...] = 1,
    padding: int | tuple[int, ...] | str = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
) -> torch.Tensor:
    r"""Convolution in one spatial dimension, `Z = X ⋆ W + b` (equations at the top of this file).

    Args:
        input: X, shape `(N, C, L)` or `(C, L)`; floating or complex.
        weight: W, shape `(O, C/groups, k)`, the dtype of `input`.
        bias, stride, padding, dilation, groups: as in `conv2d`.

    Returns:
        Z, shape `(N, O, L')` or `(O, L')` with `L' = ⌊(L + 2 padding − dilation (k − 1) − 1) / stride⌋ + 1`.

    Raises:
        RuntimeError: shapes, dtypes or settings that do not fit, as `torch.nn.functional.conv1d` words it.

    Example:
        >>> torchbp.ops.conv1d(torch.ones(1, 1, 3), torch.ones(1, 1, 2))  # tensor([[[2., 2.]]])
    """
    return _conv(1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: int | tuple[int, ...] = 1,
    padding: int | tuple[int, ...] | str = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
) -> torch.Tensor:
    r"""Convolution, `Z = X ⋆ W + b` (equations at the top of this file).

    Args:
        input: X, shape `(N, C, H, W)` or `(C, H, W)`; floating or complex.
        weight: W, shape `(O, C/groups, kH, kW)`, the dtype of `input`.
        bias: b, shape `(O)`, or None.
        stride: the step of the window; one number, or one for each dimension, as the next two.
        padding: zeros on each side of X, or "valid", none, or "same", as many as keep its size.
        dilation: the distance of two places of the window.
        groups: the channels are split into so many groups, each with its own kernels.

    Returns:
        Z, shape `(N, O, H', W')` or `(O, H', W')` with `H' = ⌊(H + 2 padding − dilation (kH − 1) − 1) / stride⌋ + 1`.

    Raises:
        RuntimeError: shapes, dtypes or settings that do not fit, as `torch.nn.functional.conv2d` words it.

    Example:
        >>> torchbp.ops.conv2d(torch.randn(8, 3, 32, 32), torch.randn(16, 3, 3, 3), padding=1).shape  # (8, 16, 32, 32)
    """
    return _conv(2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: int | tuple[int, ...] = 1,
    padding: int | tuple[int, ...] | str = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
) -> torch.Tensor:
    r"""Convolution in three spatial dimensions, `Z = X ⋆ W + b` (equations at the top of this file).

    Args:
        input: X, shape `(N, C, D, H, W)` or `(C, D, H, W)`; floating or complex.
        weight: W, shape `(O, C/groups, kD, kH, kW)`, the dtype of `input`.
        bias, stride, padding, dilation, groups: as in `conv2d`.

    Returns:
        Z, shape `(N, O, D', H', W')` or `(O, D', H', W')`, each size as in `conv2d`.

    Raises:
        RuntimeError: shapes, dtypes or settings that do not fit, as `torch.nn.functional.conv3d` words it.

    Example:
        >>> torchbp.ops.conv3d(torch.ones(1, 1, 2, 2, 2), torch.ones(1, 1, 2, 2, 2)).item()  # 8.0
    """
    return _conv(3, input, weight, bias, stride, padding, dilation, groups)


def _backward(dz, x, weight, bias, stride, padding, dilation, groups):
    size = x.shape[2 - weight.dim() :]
    x, settings = padded_input(x, weight, stride, padding, dilation)
    dx = conv_dx(dz, weight, x.shape[2 - weight.dim() :], *settings, groups)
    for dim, n in enumerate(size, -len(size)):
        dx = dx.narrow(dim, 0, n)  # without the zeros that `padded_input` has added
    return dx


def _dweight(dz, x, kernel_size, stride, padding, dilation, groups):
    dims = len(kernel_size)
    weight = dz.new_empty(dz.shape[-dims - 1], x.shape[-dims - 1] // groups, *kernel_size)  # only its shape counts
    x, settings = padded_input(x, weight, stride, padding, dilation)
    return conv_dweight(dz, x.conj(), weight, *settings, groups)


def _refuses(module):
    if module.padding_mode != "zeros":
        return f"its padding_mode is {module.padding_mode!r}; use 'zeros'"
    return None


def _rule(name, dims, apply):
    """The rule of a convolution of so many dimensions."""
    equations = ConvEquations(dims)

    def forward(x, weight, bias, kernel_size, **settings):
        return CONV[dims](x, weight, bias, **settings)

    def backward(dz, x, weight, bias, kernel_size, **settings):
        return _backward(dz, x, weight, bias, **settings)

    def dbias(dz, saved, **settings):
        return conv_dbias(dz, dims)

    return register(
        Layer(
            name=name,
            apply=apply,
            torch_module=getattr(torch.nn, f"Conv{dims}d"),
            torch_functions={CONV[dims]: apply},  # it is torch.conv2d, too
            options=("kernel_size", "stride", "padding", "dilation", "groups"),
            refuses=_refuses,
            forward=forward,
            backward=backward,
            saves="input",
            new_memory=True,
            parameters=(
                Parameter(
                    "weight",
                    "W",
                    gradient=_dweight,
                    equation=equations.dweight,
                    why="each weight of a kernel multiplied a number of {x} at each place, and all of them add up",
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
            backward_why="each number of {x} was covered by several windows; what each took comes back, times "
            "the weight that it was multiplied by",
            description="Each kernel slides over the input, multiplies what it covers, and adds the products.",
        )
    )


RULES = {dims: _rule(f"conv{dims}d", dims, apply) for dims, apply in {1: conv1d, 2: conv2d, 3: conv3d}.items()}
