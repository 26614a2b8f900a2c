"""Scaled exponential linear unit: A = λ elu(Z; α), with the λ and α that keep the mean 0 and the variance 1.

forward     A  = λ (max(Z, 0) + α (e^min(Z, 0) − 1))
backward    dZ = dA ∘ λ ([Z > 0] + α e^Z [Z ≤ 0])
tangent     Ȧ  = Ż ∘ λ ([Z > 0] + α e^Z [Z ≤ 0])
"""

import torch
import torch.nn.functional as F

from torchbp.ops._dispatch import operation
from torchbp.ops.activations._function import InputActivationFunction
from torchbp.ops.activations.elu import elu_equation, elu_slope, scaled_elu_dz, scaled_elu_dz_
from torchbp.ops.registry import register
from torchbp.ops.rules import Activation

ALPHA, SCALE = 1.6732632423543772, 1.0507009873554805  # α and λ: a fixed point of the mean and the variance


def selu_dz(da, z):
    """dZ = dA ∘ λ ([Z > 0] + α e^Z [Z ≤ 0])."""
    return scaled_elu_dz(da, z, ALPHA, SCALE)


def selu_dz_(da, z):
    """dZ, written over dA."""
    return scaled_elu_dz_(da, z, ALPHA, SCALE)


class SELU(InputActivationFunction):
    """A = λ elu(Z; α), elementwise."""

    @staticmethod
    def forward(z):
        return torch.selu(z)

    @staticmethod
    def backward(ctx, da):
        return None if da is None else selu_dz(da, *ctx.saved_tensors)

    @staticmethod
    def jvp(ctx, z_t):
        return selu_dz(z_t, *ctx.saved_tensors)


apply_selu = operation(SELU, torch.selu)


def selu(input: torch.Tensor, inplace: bool = False) -> torch.Tensor:
    r"""Scaled exponential linear unit, elementwise: `A = λ elu(Z; α)` (equations at the top of this file).

    Args:
        input: Z, any shape and strides; floating, real.
        inplace: overwrite `input` with A. This is torch's own operation, as in `torchbp.ops.relu`.

    Returns:
        A, the shape of `input`.

    Example:
        >>> a = torchbp.ops.selu(torch.tensor([-1.0, 2.0]))  # tensor([-1.1113,  2.1014])
    """
    return torch.selu_(input) if inplace else apply_selu(input)


RULE = register(
    Activation(
        name="selu",
        apply=selu,
        torch_module=torch.nn.SELU,
        torch_functions=dict.fromkeys((F.selu, torch.selu), selu),
        forward=torch.selu,
        backward=selu_dz,
        backward_=selu_dz_,
        saves="input",
        equation=SCALE * elu_equation(ALPHA),
        slope=SCALE * elu_slope(ALPHA),
        description="stretches what is positive a little, and bends what is negative towards −1.758",
        slope_description="1.05 where {z} is positive, at most 1.758 elsewhere, and almost 0 far below 0",
        steepest=ALPHA * SCALE,
        flat="left",
        instead="tanh",
    )
)
