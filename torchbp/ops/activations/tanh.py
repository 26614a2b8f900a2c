"""Hyperbolic tangent: A = tanh(Z) = 2σ(2Z) − 1, and its derivative.

    forward     A  = tanh(Z)
    backward    dZ = dA ∘ conj(1 − A²)
    tangent     Ȧ  = Ż ∘ (1 − A²)

Differentiated once more, this gives tanh″ = −2A (1 − A²).
"""

import torch

from torchbp.ops._dispatch import operation
from torchbp.ops.activations._function import ActivationFunction
from torchbp.ops.expressions import A, Z
from torchbp.ops.expressions import tanh as tanh_of
from torchbp.ops.registry import register
from torchbp.ops.rules import Activation

tanh_dz = torch.ops.aten.tanh_backward.default  # dA ∘ conj(1 − A²) in one pass, itself differentiable
write_dz = torch.ops.aten.tanh_backward.grad_input  # the same, over dA or any other tensor, without a graph


def tanh_dz_(da, a):
    """dZ, written over dA."""
    return write_dz(da, a, grad_input=da)


class Tanh(ActivationFunction):
    """A = tanh(Z), elementwise."""

    @staticmethod
    def forward(z):
        return torch.tanh(z)

    @staticmethod
    def backward(ctx, da):
        if da is None:
            return None
        (a,) = ctx.saved_tensors
        return tanh_dz(da, a)

    @staticmethod
    def jvp(ctx, z_t):
        (a,) = ctx.saved_tensors
        return z_t * (1 - a * a)


apply_tanh = operation(Tanh, torch.tanh)


def tanh(input: torch.Tensor) -> torch.Tensor:
    r"""Hyperbolic tangent, elementwise: `A = tanh(Z)` (equations at the top of this file).

    Args:
        input: Z, any shape and strides; floating or complex (integers give the default float, without gradient).

    Returns:
        A, the shape of `input`, in [−1, 1] for real input.

    Example:
        >>> a = torchbp.ops.tanh(torch.zeros(3))  # tensor([0., 0., 0.])
    """
    return apply_tanh(input)


RULE = register(
    Activation(
        name="tanh",
        apply=tanh,
        torch_module=torch.nn.Tanh,
        torch_functions=dict.fromkeys((torch.tanh, torch.Tensor.tanh), tanh),
        forward=torch.tanh,
        forward_=torch.tanh_,
        backward=tanh_dz,
        backward_=tanh_dz_,
        saves="output",
        equation=tanh_of(Z),
        slope=1 - A**2,
        description="squashes each number into (−1, 1)",
        slope_description="at most 1, and almost 0 where {a} is near −1 or 1",
        steepest=1.0,
        flat="both sides",
        range=(-1.0, 1.0),
        instead="relu",
    )
)
