"""Leaky rectified linear unit: A = Z where Z > 0, and s Z elsewhere, with a small slope s.

forward     A  = max(Z, 0) − s max(−Z, 0)
backward    dZ = dA ∘ ([Z > 0] + s [Z ≤ 0])
tangent     Ȧ  = Ż ∘ ([Z > 0] + s [Z ≤ 0])
"""

import torch
import torch.nn.functional as F

from torchbp.ops._dispatch import operation
from torchbp.ops.activations._function import InputActivationFunction
from torchbp.ops.expressions import Indicator, Z, maximum
from torchbp.ops.registry import register
from torchbp.ops.rules import Activation


def leaky_relu_dz(da, z, negative_slope=0.01):
    """dZ = dA ∘ ([Z > 0] + s [Z ≤ 0]), in one pass, itself differentiable."""
    return torch.ops.aten.leaky_relu_backward(da, z, negative_slope, False)


def leaky_relu_dz_(da, z, negative_slope=0.01):
    """dZ, written over dA."""
    return torch.ops.aten.leaky_relu_backward.grad_input(da, z, negative_slope, False, grad_input=da)


class LeakyReLU(InputActivationFunction):
    """A = max(Z, 0) − s max(−Z, 0), elementwise."""

    @staticmethod
    def forward(z, negative_slope):
        return F.leaky_relu(z, negative_slope)

    @staticmethod
    def backward(ctx, da):
        return None if da is None else leaky_relu_dz(da, *ctx.saved_tensors, *ctx.constants), None

    @staticmethod
    def jvp(ctx, z_t, _):
        return leaky_relu_dz(z_t, *ctx.saved_tensors, *ctx.constants)


apply_leaky_relu = operation(LeakyReLU, F.leaky_relu)


def leaky_relu(input: torch.Tensor, negative_slope: float = 0.01, inplace: bool = False) -> torch.Tensor:
    r"""Leaky rectified linear unit, elementwise: `A = max(Z, 0) − s max(−Z, 0)` (equations at the top of this file).

    Args:
        input: Z, any shape and strides; floating, real.
        negative_slope: s, the slope where Z is negative.
        inplace: overwrite `input` with A. This is torch's own operation, as in `torchbp.ops.relu`.

    Returns:
        A, the shape of `input`.

    Example:
        >>> a = torchbp.ops.leaky_relu(torch.tensor([-1.0, 2.0]))  # tensor([-0.0100,  2.0000])
    """
    return F.leaky_relu(input, negative_slope, True) if inplace else apply_leaky_relu(input, negative_slope)


def _forward(z, negative_slope=0.01):
    if isinstance(negative_slope, torch.Tensor):
        return torch.where(z > 0, z, negative_slope * z)
    return F.leaky_relu(z, negative_slope)


def _backward(da, z, negative_slope=0.01):
    if isinstance(negative_slope, torch.Tensor):
        return torch.where(z > 0, da, negative_slope * da)
    return leaky_relu_dz(da, z, negative_slope)


def _backward_(da, z, negative_slope=0.01):
    if isinstance(negative_slope, torch.Tensor):
        return _backward(da, z, negative_slope)
    return leaky_relu_dz_(da, z, negative_slope)


def _equation(negative_slope=0.01):
    return maximum(Z, 0) - negative_slope * maximum(-Z, 0)


def _slope(negative_slope=0.01):
    return Indicator(Z, ">", 0) + negative_slope * Indicator(Z, "≤", 0)


RULE = register(
    Activation(
        name="leaky_relu",
        apply=leaky_relu,
        torch_module=torch.nn.LeakyReLU,
        torch_functions={F.leaky_relu: leaky_relu},
        options=("negative_slope",),
        numbers=("negative_slope",),
        forward=_forward,
        backward=_backward,
        backward_=_backward_,
        saves="input",
        equation=_equation,
        slope=_slope,
        description="lets what is positive pass, and a small share of what is negative",
        slope_description="1 where {z} is positive, and small elsewhere",
        steepest=1.0,
        flat="nowhere",
    )
)
