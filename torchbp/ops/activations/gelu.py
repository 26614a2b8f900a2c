"""Gaussian error linear unit: A = Z Φ(Z), with Φ the normal distribution and φ its density; or its approximation.

    forward     A  = Z ∘ Φ(Z)                            Φ(Z) = (1 + erf(Z/√2)) / 2
    "tanh"      A  = Z ∘ (1 + tanh u) / 2 = Z ∘ σ(2u)    u = √(2/π) (Z + 0.044715 Z³)
    backward    dZ = dA ∘ (Φ(Z) + Z ∘ φ(Z))              φ(Z) = e^(−Z²/2) / √(2π)
    "tanh"      dZ = dA ∘ σ(2u) ∘ (1 + 2 Z ∘ u′ ∘ σ(−2u))    u′ = √(2/π) (1 + 0.134145 Z²)
    tangent     Ȧ  = Ż ∘ the same

1 + tanh u cancels where Z is negative, and σ(2u) does not: with "tanh" this is exact far below 0, where torch's is not.
"""

import math

import torch
import torch.nn.functional as F

from torchbp.ops._dispatch import operation, widened
from torchbp.ops.activations._function import REAL, InputActivationFunction
from torchbp.ops.expressions import Z, erf, exp, sqrt
from torchbp.ops.expressions import tanh as tanh_of
from torchbp.ops.registry import register
from torchbp.ops.rules import Activation

K, CUBIC = math.sqrt(2 / math.pi), 0.044715
SATURATED = 22.0  # σ(±2u) is 0 or 1 in every dtype where |Z| is larger


def gelu_of(z, approximate="none"):
    """A = Z ∘ Φ(Z), by torch's kernel, or with "tanh" Z ∘ σ(2u)."""
    if approximate != "tanh":
        return F.gelu(z, approximate=approximate)
    z32 = widened(z)
    return (z32 * torch.sigmoid(z32 * (2 * K + 2 * K * CUBIC * (z32 * z32)))).to(z.dtype)


def gelu_dz(da, z, approximate="none"):
    """dZ = dA ∘ (Φ(Z) + Z ∘ φ(Z)), in one pass, or with "tanh" dA ∘ σ(2u) ∘ (1 + 2 Z ∘ u′ ∘ σ(−2u))."""
    if approximate != "tanh":
        return torch.ops.aten.gelu_backward(da, z)
    bounded = widened(z).clamp(-SATURATED, SATURATED)
    square = bounded * bounded
    twice_u = bounded * (2 * K + 2 * K * CUBIC * square)
    twice_slope = 2 * K + 6 * K * CUBIC * square
    slope = torch.sigmoid(twice_u) * (1 + bounded * twice_slope * torch.sigmoid(-twice_u))
    return (da * slope).to(da.dtype)


class GELU(InputActivationFunction):
    """A = Z ∘ Φ(Z), elementwise, or its approximation by tanh."""

    @staticmethod
    def forward(z, approximate):
        return gelu_of(z, approximate) if z.dtype in REAL else F.gelu(z, approximate=approximate)  # torch's error

    @staticmethod
    def backward(ctx, da):
        return None if da is None else gelu_dz(da, *ctx.saved_tensors, *ctx.constants), None

    @staticmethod
    def jvp(ctx, z_t, _):
        return gelu_dz(z_t, *ctx.saved_tensors, *ctx.constants)


def _by_torch(z, approximate):
    return F.gelu(z, approximate=approximate)


apply_gelu = operation(GELU, _by_torch)


def gelu(input: torch.Tensor, *, approximate: str = "none") -> torch.Tensor:
    r"""Gaussian error linear unit, elementwise: `A = Z Φ(Z)` (equations at the top of this file).

    Args:
        input: Z, any shape and strides; floating, real.
        approximate: "none", or "tanh" for the approximation of GPT-2, which differs by at most 5e-4.

    Returns:
        A, the shape of `input`.

    Raises:
        RuntimeError: another `approximate`.

    Example:
        >>> a = torchbp.ops.gelu(torch.tensor([-1.0, 2.0]))  # tensor([-0.1587,  1.9545])
    """
    if approximate not in ("none", "tanh"):
        raise RuntimeError(f"gelu has approximate={approximate!r}; use 'none' or 'tanh'")
    return apply_gelu(input, approximate)


def _equation(approximate="none"):
    return Z * _share(approximate)


def _share(approximate):
    """Φ(Z), or what approximates it."""
    return (1 + (tanh_of(_u()) if approximate == "tanh" else erf(Z / sqrt(2)))) / 2


def _u():
    return K * (Z + CUBIC * Z**3)


def _slope(approximate="none"):
    if approximate == "tanh":
        return _share("tanh") + Z * (1 - tanh_of(_u()) ** 2) / 2 * (K * (1 + 3 * CUBIC * Z**2))
    return _share("none") + Z * exp(-(Z**2) / 2) / sqrt(2 * math.pi)


RULE = register(
    Activation(
        name="gelu",
        apply=gelu,
        torch_module=torch.nn.GELU,
        torch_functions={F.gelu: gelu},
        options=("approximate",),
        forward=gelu_of,
        backward=gelu_dz,
        saves="input",
        equation=_equation,
        slope=_slope,
        description="lets the share Φ(z) of each number z pass, the probability that a normal number is less than z",
        slope_description="almost 1 where {z} is large, and almost 0 where it is far below 0",
        steepest=1.1290,
        flat="left",
        instead="tanh",
    )
)
