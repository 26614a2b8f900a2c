"""Sigmoid linear unit, or swish: A = Z σ(Z).

forward     A  = Z ∘ σ(Z)
backward    dZ = dA ∘ conj(σ(Z) ∘ (1 + Z ∘ σ(−Z)))
tangent     Ȧ  = Ż ∘ σ(Z) ∘ (1 + Z ∘ σ(−Z))
"""

import torch
import torch.nn.functional as F

from torchbp.ops._dispatch import is_differentiated, operation
from torchbp.ops.activations._function import InputActivationFunction
from torchbp.ops.expressions import Z, sigma
from torchbp.ops.registry import register
from torchbp.ops.rules import Activation


def silu_slope(z):
    """σ(Z) ∘ (1 + Z ∘ σ(−Z))."""
    return torch.sigmoid(z) * (1 + z * torch.sigmoid(-z))


def silu_dz(da, z):
    """dZ = dA ∘ σ(Z) ∘ (1 + Z ∘ σ(−Z)): in one pass, which torch cannot differentiate, where nobody does."""
    if is_differentiated():
        return da * silu_slope(z)
    return torch.ops.aten.silu_backward(da, z)


def silu_dz_(da, z):
    """dZ, written over dA."""
    return torch.ops.aten.silu_backward.grad_input(da, z, grad_input=da)


class SiLU(InputActivationFunction):
    """A = Z ∘ σ(Z), elementwise."""

    @staticmethod
    def forward(z):
        return F.silu(z)

    @staticmethod
    def backward(ctx, da):
        return None if da is None else silu_dz(da, *ctx.saved_tensors)

    @staticmethod
    def jvp(ctx, z_t):
        return z_t * silu_slope(*ctx.saved_tensors)


apply_silu = operation(SiLU, F.silu)


def silu(input: torch.Tensor, inplace: bool = False) -> torch.Tensor:
    r"""Sigmoid linear unit, elementwise: `A = Z σ(Z)` (equations at the top of this file).

    Args:
        input: Z, any shape and strides; floating, or complex without a gradient.
        inplace: overwrite `input` with A. This is torch's own operation, as in `torchbp.ops.relu`.

    Returns:
        A, the shape of `input`.

    Example:
        >>> a = torchbp.ops.silu(torch.tensor([-1.0, 2.0]))  # tensor([-0.2689,  1.7616])
    """
    is_complex = isinstance(input, torch.Tensor) and input.is_complex()  # torch has no derivative of it, and says so
    return F.silu(input, inplace) if inplace or is_complex else apply_silu(input)


RULE = register(
    Activation(
        name="silu",
        apply=silu,
        torch_module=torch.nn.SiLU,
        torch_functions={F.silu: silu},
        forward=F.silu,
        backward=silu_dz,
        backward_=silu_dz_,
        saves="input",
        equation=Z * sigma(Z),
        slope=sigma(Z) * (1 + Z * sigma(-Z)),
        description="lets a share σ(z) of each number z pass: nearly all of what is large, and little of what is "
        "negative",
        slope_description="almost 1 where {z} is large, and almost 0 where it is far below 0",
        steepest=1.0998,
        flat="left",
        instead="tanh",
    )
)
