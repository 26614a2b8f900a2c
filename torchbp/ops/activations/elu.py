"""Exponential linear unit: A = Z where Z > 0, and α (e^Z − 1) elsewhere.

forward     A  = max(Z, 0) + α (e^min(Z, 0) − 1)
backward    dZ = dA ∘ ([Z > 0] + α e^Z [Z ≤ 0])
tangent     Ȧ  = Ż ∘ ([Z > 0] + α e^Z [Z ≤ 0])
"""

import torch
import torch.nn.functional as F

from torchbp.ops._dispatch import operation
from torchbp.ops.activations._function import InputActivationFunction
from torchbp.ops.expressions import Indicator, Z, exp, maximum, minimum
from torchbp.ops.registry import register
from torchbp.ops.rules import Activation


def scaled_elu_dz(da, z, alpha, scale):
    """dZ = λ dA ∘ ([Z > 0] + α e^Z [Z ≤ 0]), in one pass, itself differentiable."""
    return torch.ops.aten.elu_backward(da, alpha, scale, 1, False, z)


def scaled_elu_dz_(da, z, alpha, scale):
    """dZ, written over dA."""
    return torch.ops.aten.elu_backward.grad_input(da, alpha, scale, 1, False, z, grad_input=da)


def elu_dz(da, z, alpha=1.0):
    """dZ = dA ∘ ([Z > 0] + α e^Z [Z ≤ 0])."""
    return scaled_elu_dz(da, z, alpha, 1)


def elu_dz_(da, z, alpha=1.0):
    """dZ, written over dA."""
    return scaled_elu_dz_(da, z, alpha, 1)


def elu_equation(alpha=1.0):
    """A = max(Z, 0) + α (e^min(Z, 0) − 1)."""
    below = exp(minimum(Z, 0)) - 1
    return maximum(Z, 0) + (below if alpha == 1 else alpha * below)


def elu_slope(alpha=1.0):
    """[Z > 0] + α e^min(Z, 0) [Z ≤ 0]."""
    below = exp(minimum(Z, 0)) * Indicator(Z, "≤", 0)
    return Indicator(Z, ">", 0) + (below if alpha == 1 else alpha * below)


class ELU(InputActivationFunction):
    """A = max(Z, 0) + α (e^min(Z, 0) − 1), elementwise."""

    @staticmethod
    def forward(z, alpha):
        return F.elu(z, alpha)

    @staticmethod
    def backward(ctx, da):
        return None if da is None else elu_dz(da, *ctx.saved_tensors, *ctx.constants), None

    @staticmethod
    def jvp(ctx, z_t, _):
        return elu_dz(z_t, *ctx.saved_tensors, *ctx.constants)


apply_elu = operation(ELU, F.elu)


def elu(input: torch.Tensor, alpha: float = 1.0, inplace: bool = False) -> torch.Tensor:
    r"""Exponential linear unit, elementwise: `A = Z` or `α (e^Z − 1)` (equations at the top of this file).

    Args:
        input: Z, any shape and strides; floating, real.
        alpha: α, what A comes to at Z = −∞, times −1.
        inplace: overwrite `input` with A. This is torch's own operation, as in `torchbp.ops.relu`.

    Returns:
        A, the shape of `input`.

    Example:
        >>> a = torchbp.ops.elu(torch.tensor([-1.0, 2.0]))  # tensor([-0.6321,  2.0000])
    """
    return F.elu(input, alpha, True) if inplace else apply_elu(input, alpha)


RULE = register(
    Activation(
        name="elu",
        apply=elu,
        torch_module=torch.nn.ELU,
        torch_functions={F.elu: elu},
        options=("alpha",),
        forward=F.elu,
        backward=elu_dz,
        backward_=elu_dz_,
        saves="input",
        equation=elu_equation,
        slope=elu_slope,
        description="lets what is positive pass, and bends what is negative towards a least number",
        slope_description="1 where {z} is positive, and almost 0 where it is far below 0",
        steepest=1.0,
        flat="left",
        instead="tanh",
    )
)
