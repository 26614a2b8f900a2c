"""Mish: A = Z tanh(softplus(Z)), with softplus(Z) = ln(1 + e^Z).

With E = e^Z and w = E (E + 2) the hyperbolic tangent needs no logarithm, and nothing cancels at any Z:

    forward     A  = Z ∘ w / (w + 2)
    backward    dZ = dA ∘ (w / (w + 2) + 4 Z E (E + 1) / (w + 2)²)
    tangent     Ȧ  = Ż ∘ the same

From Z = 20 on, A is Z and its slope 1 in every dtype; E is bounded there, or it would overflow.
"""

import torch
import torch.nn.functional as F

from torchbp.ops._dispatch import is_differentiated, operation, widened
from torchbp.ops.activations._function import REAL, InputActivationFunction
from torchbp.ops.expressions import Z, sigma
from torchbp.ops.expressions import softplus as softplus_of
from torchbp.ops.expressions import tanh as tanh_of
from torchbp.ops.registry import register
from torchbp.ops.rules import Activation

LINEAR = 20.0  # w / (w + 2) rounds to 1 in every dtype where Z is larger
ZERO = -800.0  # e^Z is 0 in every dtype where Z is smaller


def mish_of(z):
    """A = Z ∘ w / (w + 2)."""
    z32 = widened(z)
    e = z32.clamp(max=LINEAR).exp()
    w = (e + 2).mul_(e)
    return (w / (w + 2)).mul(z32).to(z.dtype)


def mish_slope(z):
    """w / (w + 2) + 4 Z E (E + 1) / (w + 2)²."""
    bounded = widened(z).clamp(ZERO, LINEAR)  # so that no factor of e^Z overflows
    e = bounded.exp()
    w = e * (e + 2)
    share = 1 / (w + 2)
    return share * (w + 4 * bounded * e * (e + 1) * share)


def mish_dz(da, z):
    """dZ = dA ∘ (w / (w + 2) + 4 Z E (E + 1) / (w + 2)²)."""
    if is_differentiated():
        return (da * mish_slope(z)).to(da.dtype)
    bounded = widened(z).clamp(max=LINEAR)  # the same in little memory, which is twice as fast
    e = bounded.exp()
    w = (e + 2).mul_(e)
    share = (w + 2).reciprocal_()
    slope = bounded.mul_(e).mul_(e.add_(1)).mul_(share).mul_(4).add_(w).mul_(share)
    return (da * slope).to(da.dtype)


class Mish(InputActivationFunction):
    """A = Z ∘ tanh(softplus(Z)), elementwise."""

    @staticmethod
    def forward(z):
        return mish_of(z) if z.dtype in REAL else F.mish(z)  # torch's error

    @staticmethod
    def backward(ctx, da):
        return None if da is None else mish_dz(da, *ctx.saved_tensors)

    @staticmethod
    def jvp(ctx, z_t):
        return mish_dz(z_t, *ctx.saved_tensors)


apply_mish = operation(Mish, F.mish)


def mish(input: torch.Tensor, inplace: bool = False) -> torch.Tensor:
    r"""Mish, elementwise: `A = Z tanh(ln(1 + e^Z))` (equations at the top of this file).

    Args:
        input: Z, any shape and strides; floating, real.
        inplace: overwrite `input` with A. This is torch's own operation, as in `torchbp.ops.relu`.

    Returns:
        A, the shape of `input`.

    Example:
        >>> a = torchbp.ops.mish(torch.tensor([-1.0, 2.0]))  # tensor([-0.3034,  1.9440])
    """
    return F.mish(input, True) if inplace else apply_mish(input)


RULE = register(
    Activation(
        name="mish",
        apply=mish,
        torch_module=torch.nn.Mish,
        torch_functions={F.mish: mish},
        forward=mish_of,
        backward=mish_dz,
        saves="input",
        equation=Z * tanh_of(softplus_of(Z)),
        slope=tanh_of(softplus_of(Z)) + Z * sigma(Z) * (1 - tanh_of(softplus_of(Z)) ** 2),
        description="lets a share tanh(softplus(z)) of each number z pass, with softplus(z) = ln(1 + e^z)",
        slope_description="almost 1 where {z} is large, and almost 0 where it is far below 0",
        steepest=1.0885,
        flat="left",
        instead="tanh",
    )
)
