"""Logarithm of the sigmoid: A = ln σ(Z) = −softplus(−Z).

forward     A  = ln σ(Z) = min(Z, 0) − ln(1 + e^−|Z|)
backward    dZ = dA ∘ σ(−Z)
tangent     Ȧ  = Ż ∘ σ(−Z)
"""

import torch
import torch.nn.functional as F

from torchbp.ops._dispatch import operation, widened
from torchbp.ops.activations._function import InputActivationFunction
from torchbp.ops.activations.softplus import softplus_dz
from torchbp.ops.expressions import Z, sigma
from torchbp.ops.expressions import softplus as softplus_of
from torchbp.ops.registry import register
from torchbp.ops.rules import Activation

SATURATED = 40.0  # σ(z) is 1 in every dtype where z is larger


def logsigmoid_dz(da, z):
    """dZ = dA ∘ σ(−Z), the derivative of softplus at −Z. Its kernel computes e^−Z / (1 + e^−Z), which unlike
    1 / (1 + e^Z) is no 0 where e^Z overflows."""
    return softplus_dz(widened(da), -widened(z), 1.0, SATURATED).to(da.dtype)


class LogSigmoid(InputActivationFunction):
    """A = ln σ(Z), elementwise. It saves Z alone; torch's saves e^−|Z| too."""

    @staticmethod
    def forward(z):
        return F.logsigmoid(z)

    @staticmethod
    def backward(ctx, da):
        return None if da is None else logsigmoid_dz(da, *ctx.saved_tensors)

    @staticmethod
    def jvp(ctx, z_t):
        return logsigmoid_dz(z_t, *ctx.saved_tensors)


apply_logsigmoid = operation(LogSigmoid, F.logsigmoid)


def logsigmoid(input: torch.Tensor) -> torch.Tensor:
    r"""Logarithm of the sigmoid, elementwise: `A = ln σ(Z)` (equations at the top of this file), exact in both tails.

    Args:
        input: Z, any shape and strides; floating, real.

    Returns:
        A, the shape of `input`, at most 0.

    Example:
        >>> a = torchbp.ops.logsigmoid(torch.tensor([0.0, -100.0]))  # tensor([  -0.6931, -100.0000])
    """
    return apply_logsigmoid(input)


RULE = register(
    Activation(
        name="logsigmoid",
        apply=logsigmoid,
        torch_module=torch.nn.LogSigmoid,
        torch_functions={F.logsigmoid: logsigmoid},
        forward=F.logsigmoid,
        backward=logsigmoid_dz,
        saves="input",
        equation=-softplus_of(-Z),
        slope=sigma(-Z),
        description="is the logarithm of a probability: ln σ(z) = −ln(1 + e^−z)",
        slope_description="almost 1 where {z} is far below 0, and almost 0 where it is large",
        steepest=1.0,
        flat="both sides",
        instead="tanh",
    )
)
