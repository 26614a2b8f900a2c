"""Softplus, a smooth relu: A = ln(1 + e^(βZ)) / β, and Z itself where βZ is above a threshold t.

forward     A  = [βZ ≤ t] ∘ ln(1 + e^(βZ)) / β + [βZ > t] ∘ Z
backward    dZ = dA ∘ σ(βZ)           where βZ ≤ t, and dA elsewhere
tangent     Ȧ  = Ż ∘ σ(βZ)            where βZ ≤ t, and Ż elsewhere
"""

import torch
import torch.nn.functional as F

from torchbp.ops._dispatch import float32_on_cuda, operation
from torchbp.ops.activations._function import InputActivationFunction
from torchbp.ops.expressions import Indicator, Z, sigma
from torchbp.ops.expressions import softplus as softplus_of
from torchbp.ops.registry import register
from torchbp.ops.rules import Activation


def softplus_dz(da, z, beta=1.0, threshold=20.0):
    """dZ = dA ∘ σ(βZ) where βZ ≤ t, and dA elsewhere, in one pass, itself differentiable."""
    return torch.ops.aten.softplus_backward(da, z, beta, threshold)


def softplus_dz_(da, z, beta=1.0, threshold=20.0):
    """dZ, written over dA."""
    return torch.ops.aten.softplus_backward.grad_input(da, z, beta, threshold, grad_input=da)


class Softplus(InputActivationFunction):
    """A = ln(1 + e^(βZ)) / β, elementwise."""

    @staticmethod
    def forward(z, beta, threshold):
        return F.softplus(z, beta, threshold)

    @staticmethod
    def backward(ctx, da):
        return None if da is None else softplus_dz(da, *ctx.saved_tensors, *ctx.constants), None, None

    @staticmethod
    def jvp(ctx, z_t, *_):
        return softplus_dz(z_t, *ctx.saved_tensors, *ctx.constants)


apply_softplus = operation(Softplus, F.softplus, cast=float32_on_cuda)


def softplus(input: torch.Tensor, beta: float = 1.0, threshold: float = 20.0) -> torch.Tensor:
    r"""A smooth relu, elementwise: `A = ln(1 + e^(βZ)) / β` (equations at the top of this file).

    Args:
        input: Z, any shape and strides; floating, real.
        beta: β. The larger it is, the nearer A is to max(Z, 0).
        threshold: t. Where βZ is larger, A is Z.

    Returns:
        A, the shape of `input`; float32 under autocast on CUDA, as torch's.

    Example:
        >>> a = torchbp.ops.softplus(torch.zeros(2))  # tensor([0.6931, 0.6931])
    """
    return apply_softplus(input, beta, threshold)


def _equation(beta=1.0, threshold=20.0):
    small, curve = _below(beta, threshold)
    return small * (curve if beta == 1 else curve / beta) + (1 - small) * Z


def _slope(beta=1.0, threshold=20.0):
    small, _ = _below(beta, threshold)
    return small * sigma(Z if beta == 1 else beta * Z) + (1 - small)


def _below(beta, threshold):
    """[βZ ≤ t], and softplus(βZ)."""
    scaled = Z if beta == 1 else beta * Z
    return Indicator(scaled, "≤", threshold), softplus_of(scaled)


RULE = register(
    Activation(
        name="softplus",
        apply=softplus,
        torch_module=torch.nn.Softplus,
        torch_functions={F.softplus: softplus},
        options=("beta", "threshold"),
        forward=F.softplus,
        backward=softplus_dz,
        backward_=softplus_dz_,
        saves="input",
        equation=_equation,
        slope=_slope,
        description="is a smooth relu: softplus(z) = ln(1 + e^z)",
        slope_description="σ, almost 1 where {z} is large, and almost 0 where it is far below 0",
        steepest=1.0,
        flat="left",
        instead="tanh",
    )
)
