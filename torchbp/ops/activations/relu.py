"""Rectified linear unit: A = max(Z, 0), and its derivative.

    forward     A  = max(Z, 0)
    backward    dZ = dA ∘ [A > 0]
    tangent     Ȧ  = Ż ∘ [A > 0]

At Z = 0 the derivative is 0, as in torch.
"""

import functools

import torch

from torchbp.ops._dispatch import operation
from torchbp.ops.activations._function import ActivationFunction
from torchbp.ops.expressions import A, Indicator, Number, Z, maximum
from torchbp.ops.registry import register
from torchbp.ops.rules import Activation

relu_dz = functools.partial(torch.ops.aten.threshold_backward.default, threshold=0)  # dA ∘ [A > 0] in one pass
write_dz = torch.ops.aten.threshold_backward.grad_input  # the same, over dA or any other tensor, without a graph


def relu_dz_(da, a):
    """dZ, written over dA."""
    return write_dz(da, a, 0, grad_input=da)


class ReLU(ActivationFunction):
    """A = max(Z, 0), elementwise."""

    @staticmethod
    def forward(z):
        return torch.relu(z)

    @staticmethod
    def backward(ctx, da):
        if da is None:
            return None
        (a,) = ctx.saved_tensors
        return relu_dz(da, a)

    @staticmethod
    def jvp(ctx, z_t):
        (a,) = ctx.saved_tensors
        return relu_dz(z_t, a)


apply_relu = operation(ReLU, torch.relu)


def relu(input: torch.Tensor, inplace: bool = False) -> torch.Tensor:
    r"""Rectified linear unit, elementwise: `A = max(Z, 0)` (equations at the top of this file).

    Args:
        input: Z, any shape and strides; real.
        inplace: overwrite `input` with A. This is torch's own operation: a Function that writes into its input works
            neither under vmap nor in torch.compile.

    Returns:
        A, the shape of `input`.

    Example:
        >>> a = torchbp.ops.relu(torch.tensor([-1.0, 2.0]))  # tensor([0., 2.])
    """
    return torch.relu_(input) if inplace else apply_relu(input)


RULE = register(
    Activation(
        name="relu",
        apply=relu,
        torch_module=torch.nn.ReLU,
        torch_functions=dict.fromkeys((torch.nn.functional.relu, torch.relu, torch.Tensor.relu), relu),
        forward=torch.relu,
        forward_=torch.relu_,
        backward=relu_dz,
        backward_=relu_dz_,
        saves="output",
        equation=maximum(Z, 0),
        slope=Indicator(A, ">", Number(0)),
        description="lets what is positive pass, and nothing else",
        slope_description="1 where the unit is on, and 0 where it is off",
        steepest=1.0,
        flat="left",
        instead="tanh",
    )
)
