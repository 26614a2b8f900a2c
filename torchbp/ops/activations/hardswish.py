"""Hard swish, a silu of straight lines: A = Z hardsigmoid(Z).

forward     A  = Z ∘ min(max(Z + 3, 0), 6) / 6
backward    dZ = dA ∘ ((2Z + 3)/6 [Z > −3] [Z < 3] + [Z ≥ 3])
tangent     Ȧ  = Ż ∘ ((2Z + 3)/6 [Z > −3] [Z < 3] + [Z ≥ 3])
"""

import torch
import torch.nn.functional as F

from torchbp.ops._dispatch import operation
from torchbp.ops.activations._function import InputActivationFunction
from torchbp.ops.expressions import Indicator, Z, maximum, minimum
from torchbp.ops.registry import register
from torchbp.ops.rules import Activation

hardswish_dz = torch.ops.aten.hardswish_backward.default  # dA ∘ ((2Z + 3)/6 [−3 < Z < 3] + [Z ≥ 3]) in one pass


class Hardswish(InputActivationFunction):
    """A = Z ∘ min(max(Z + 3, 0), 6) / 6, elementwise."""

    @staticmethod
    def forward(z):
        return F.hardswish(z)

    @staticmethod
    def backward(ctx, da):
        return None if da is None else hardswish_dz(da, *ctx.saved_tensors)

    @staticmethod
    def jvp(ctx, z_t):
        return hardswish_dz(z_t, *ctx.saved_tensors)


apply_hardswish = operation(Hardswish, F.hardswish)


def hardswish(input: torch.Tensor, inplace: bool = False) -> torch.Tensor:
    r"""Hard swish, elementwise: `A = Z ∘ min(max(Z + 3, 0), 6) / 6` (equations at the top of this file).

    Args:
        input: Z, any shape and strides; floating, real.
        inplace: overwrite `input` with A. This is torch's own operation, as in `torchbp.ops.relu`.

    Returns:
        A, the shape of `input`.

    Example:
        >>> a = torchbp.ops.hardswish(torch.tensor([-4.0, 1.0, 4.0]))  # tensor([-0.0000, 0.6667, 4.0000])
    """
    return F.hardswish(input, True) if inplace else apply_hardswish(input)


RULE = register(
    Activation(
        name="hardswish",
        apply=hardswish,
        torch_module=torch.nn.Hardswish,
        torch_functions={F.hardswish: hardswish},
        forward=F.hardswish,
        backward=hardswish_dz,
        saves="input",
        equation=Z * minimum(maximum(Z + 3, 0), 6) / 6,
        slope=(2 * Z + 3) / 6 * Indicator(Z, ">", -3) * Indicator(Z, "<", 3) + Indicator(Z, "≥", 3),
        description="lets what is above 3 pass, nothing below −3, and a growing share between",
        slope_description="1 above 3, 0 below −3, and a straight line between",
        steepest=1.5,
        flat="left",
        instead="tanh",
    )
)
