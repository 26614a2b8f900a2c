"""Hard sigmoid, a sigmoid of straight lines: A = min(max(Z + 3, 0), 6) / 6.

forward     A  = min(max(Z + 3, 0), 6) / 6
backward    dZ = dA ∘ [Z > −3] ∘ [Z < 3] / 6
tangent     Ȧ  = Ż ∘ [Z > −3] ∘ [Z < 3] / 6
"""

import torch
import torch.nn.functional as F

from torchbp.ops._dispatch import is_differentiated, operation
from torchbp.ops.activations._function import InputActivationFunction
from torchbp.ops.expressions import Indicator, Z, maximum, minimum
from torchbp.ops.registry import register
from torchbp.ops.rules import Activation


def hardsigmoid_of(z):
    """A = min(max(Z + 3, 0), 6) / 6. torch's own kernel takes 1/6 in float32, for float64 too."""
    return (z + 3).clamp(0, 6) / 6 if z.dtype is torch.float64 else F.hardsigmoid(z)


above = torch.ops.aten.threshold_backward.default  # dA ∘ [Z > t] in one pass, itself differentiable


def hardsigmoid_dz(da, z):
    """dZ = dA ∘ [Z > −3] ∘ [−Z > −3] / 6: by torch's kernel, unless it takes 1/6 in float32 for float64, or somebody
    differentiates it, to 0, which torch cannot."""
    if not is_differentiated() and z.dtype is not torch.float64:
        return torch.ops.aten.hardsigmoid_backward(da, z)
    return above(above(da, z, -3), -z, -3) / 6


class Hardsigmoid(InputActivationFunction):
    """A = min(max(Z + 3, 0), 6) / 6, elementwise."""

    @staticmethod
    def forward(z):
        return hardsigmoid_of(z)

    @staticmethod
    def backward(ctx, da):
        return None if da is None else hardsigmoid_dz(da, *ctx.saved_tensors)

    @staticmethod
    def jvp(ctx, z_t):
        return hardsigmoid_dz(z_t, *ctx.saved_tensors)


apply_hardsigmoid = operation(Hardsigmoid, F.hardsigmoid)


def hardsigmoid(input: torch.Tensor, inplace: bool = False) -> torch.Tensor:
    r"""Hard sigmoid, elementwise: `A = min(max(Z + 3, 0), 6) / 6` (equations at the top of this file).

    Args:
        input: Z, any shape and strides; floating, real.
        inplace: overwrite `input` with A. This is torch's own operation, as in `torchbp.ops.relu`.

    Returns:
        A, the shape of `input`, in [0, 1].

    Example:
        >>> a = torchbp.ops.hardsigmoid(torch.tensor([-4.0, 0.0, 4.0]))  # tensor([0.0000, 0.5000, 1.0000])
    """
    return F.hardsigmoid(input, True) if inplace else apply_hardsigmoid(input)


RULE = register(
    Activation(
        name="hardsigmoid",
        apply=hardsigmoid,
        torch_module=torch.nn.Hardsigmoid,
        reference=lambda module, z: F.relu6(z + 3) / 6,
        torch_functions={F.hardsigmoid: hardsigmoid},
        forward=hardsigmoid_of,
        backward=hardsigmoid_dz,
        saves="input",
        equation=minimum(maximum(Z + 3, 0), 6) / 6,
        slope=Indicator(Z, ">", -3) * Indicator(Z, "<", 3) / 6,
        description="squashes each number into [0, 1] by a straight line from −3 to 3",
        slope_description="1/6 where {z} lies between −3 and 3, and 0 elsewhere",
        steepest=1 / 6,
        flat="both sides",
        range=(0.0, 1.0),
        instead="tanh",
    )
)
