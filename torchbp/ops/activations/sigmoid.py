"""Sigmoid: A = σ(Z) = 1 / (1 + e^−Z), and its derivative.

    forward     A  = σ(Z)
    backward    dZ = dA ∘ conj(A ∘ (1 − A))
    tangent     Ȧ  = Ż ∘ A ∘ (1 − A)

Differentiated once more, this gives σ″ = A (1 − A) (1 − 2A).
"""

import torch

from torchbp.ops._dispatch import operation
from torchbp.ops.activations._function import ActivationFunction
from torchbp.ops.expressions import A, Z, sigma
from torchbp.ops.registry import register
from torchbp.ops.rules import Activation

sigmoid_dz = torch.ops.aten.sigmoid_backward.default  # dA ∘ conj(A ∘ (1 − A)) in one pass, itself differentiable
write_dz = torch.ops.aten.sigmoid_backward.grad_input  # the same, over dA or any other tensor, without a graph


def sigmoid_dz_(da, a):
    """dZ, written over dA."""
    return write_dz(da, a, grad_input=da)


class Sigmoid(ActivationFunction):
    """A = σ(Z), elementwise."""

    @staticmethod
    def forward(z):
        return torch.sigmoid(z)

    @staticmethod
    def backward(ctx, da):
        if da is None:
            return None
        (a,) = ctx.saved_tensors
        return sigmoid_dz(da, a)

    @staticmethod
    def jvp(ctx, z_t):
        (a,) = ctx.saved_tensors
        return z_t * (a * (1 - a))


apply_sigmoid = operation(Sigmoid, torch.sigmoid)


def sigmoid(input: torch.Tensor) -> torch.Tensor:
    r"""Logistic function, elementwise: `A = σ(Z) = 1 / (1 + e^−Z)` (equations at the top of this file).

    Args:
        input: Z, any shape and strides; floating or complex (integers give the default float, without gradient).

    Returns:
        A, the shape of `input`, in [0, 1] for real input.

    Example:
        >>> a = torchbp.ops.sigmoid(torch.zeros(3))  # tensor([0.5, 0.5, 0.5])
    """
    return apply_sigmoid(input)


RULE = register(
    Activation(
        name="sigmoid",
        apply=sigmoid,
        torch_module=torch.nn.Sigmoid,
        torch_functions=dict.fromkeys((torch.sigmoid, torch.Tensor.sigmoid, torch.special.expit), sigmoid),
        forward=torch.sigmoid,
        forward_=torch.sigmoid_,
        backward=sigmoid_dz,
        backward_=sigmoid_dz_,
        saves="output",
        equation=sigma(Z),
        slope=A * (1 - A),
        description="squashes each number into (0, 1): σ(z) = 1/(1 + e^−z)",
        slope_description="at most ¼, and almost 0 where {a} is near 0 or 1",
        steepest=0.25,
        flat="both sides",
        range=(0.0, 1.0),
        instead="tanh",
    )
)
