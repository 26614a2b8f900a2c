"""Leaky rectified linear unit with slopes that are learnt: one a for all, or one for each channel, of dimension 1.

    forward     Z  = max(X, 0) − a ∘ max(−X, 0)
    backward    dX = dZ ∘ ([X > 0] + a [X ≤ 0])       da = Σ dZ ∘ X ∘ [X ≤ 0]
    tangent     Ż  = Ẋ ∘ ([X > 0] + a [X ≤ 0]) + ȧ ∘ X ∘ [X ≤ 0]

The sum runs over all elements that have the same a.
"""

import math

import torch
import torch.nn.functional as F

from torchbp.ops._dispatch import VmappableFunction, lower_precision, operation, save_for_jvp, transforms_active
from torchbp.ops.expressions import Indicator, Number, Symbol, X, dZ, maximum
from torchbp.ops.places import Collect, sum_of_channels
from torchbp.ops.places import of_channels as spread
from torchbp.ops.registry import register
from torchbp.ops.rules import Layer, Parameter


def of_channels(weight, x):
    """a in the dimensions of X: a number for each index of dimension 1, or one for all."""
    return weight.reshape(-1, *[1] * (x.dim() - 2)) if x.dim() > 1 else weight.reshape(() if x.dim() == 0 else -1)


def prelu_gradients(dz, x, weight):
    """dX = dZ ∘ ([X > 0] + a [X ≤ 0]), and dZ ∘ X ∘ [X ≤ 0], whose sum is da; in one pass, itself differentiable."""
    a = of_channels(weight, x)
    if transforms_active():  # the kernel fails under vmap over a alone
        return dz * torch.where(x > 0, 1, a), dz * x.clamp(max=0)
    return torch.ops.aten._prelu_kernel_backward(dz, x, a)


def prelu_dweight(each, shape):
    """da = Σ dZ ∘ X ∘ [X ≤ 0], for each of the channels, or of all where there is one."""
    if shape.numel() == 1:
        return each.sum().reshape(shape)
    return each.sum([i for i in range(each.dim()) if i != 1])


class PReLU(VmappableFunction):
    """Z = max(X, 0) − a ∘ max(−X, 0)."""

    @staticmethod
    def forward(x, weight):
        if transforms_active():  # torch's warns under vmap over a alone
            return torch.where(x > 0, x, of_channels(weight, x) * x)
        return torch.prelu(x, weight)

    @staticmethod
    def setup_context(ctx, inputs, z):
        ctx.save_for_backward(*inputs)
        save_for_jvp(ctx, *inputs)

    @staticmethod
    def backward(ctx, dz):
        if dz is None:
            return None, None
        x, weight = ctx.saved_tensors
        needs_dx, needs_dweight = ctx.needs_input_grad
        dx, each = prelu_gradients(dz, x, weight)
        return dx if needs_dx else None, prelu_dweight(each, weight.shape) if needs_dweight else None

    @staticmethod
    def jvp(ctx, x_t, weight_t):
        x, weight = ctx.saved_tensors
        dz_by_x, dz_by_weight = prelu_gradients(torch.ones_like(x), x, weight)
        return x_t * dz_by_x + of_channels(weight_t, x) * dz_by_weight


apply_prelu = operation(PReLU, torch.prelu, lower_precision)


def prelu(input: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    r"""Leaky rectified linear unit with learnt slopes (equations at the top of this file).

    Args:
        input: X, any shape and strides; floating, real.
        weight: a, shape `(channels)`, of which dimension 1 of X has as many, or `(1)` or `()`; the dtype of `input`.

    Returns:
        Z, the shape of `input`.

    Raises:
        RuntimeError: shapes or dtypes that do not fit, as `torch.nn.functional.prelu` words it.

    Example:
        >>> z = torchbp.ops.prelu(torch.tensor([-1.0, 2.0]), torch.tensor([0.25]))  # tensor([-0.2500, 2.0000])
    """
    return apply_prelu(input, weight)


def _gradient(dz, x, num_parameters):
    return prelu_dweight(dz * x.clamp(max=0), torch.Size([num_parameters]))


ONE = {"X": (1,)}
POSITIVE, OFF = Indicator(X, ">", Number(0)), Indicator(X, "≤", Number(0))


def _slopes(num_parameters, shape):
    """a in the place of each number of a row."""
    return Symbol("a") if num_parameters == 1 else spread(Symbol("a"), shape)


def _equation(num_parameters=1, shapes=ONE):
    return maximum(X, 0) - _slopes(num_parameters, shapes["X"]) * maximum(-X, 0)


def _backward_equation(num_parameters=1, shapes=ONE):
    return dZ * (POSITIVE + _slopes(num_parameters, shapes["X"]) * OFF)


def _gradient_equation(num_parameters=1, shapes=ONE):
    each = dZ * X * OFF
    if num_parameters == 1:
        return Collect(each, (0,) * math.prod(shapes["X"]), (1,), rows=True)
    return sum_of_channels(each, shapes["X"])


RULE = register(
    Layer(
        name="prelu",
        apply=prelu,
        torch_module=torch.nn.PReLU,
        torch_functions=dict.fromkeys((F.prelu, torch.prelu, torch.Tensor.prelu), prelu),
        options=("num_parameters",),
        forward=lambda x, weight, num_parameters: torch.prelu(x, weight),
        backward=lambda dz, x, weight, num_parameters: prelu_gradients(dz, x, weight)[0],
        saves="input",
        new_memory=True,
        parameters=(
            Parameter(
                name="weight",
                symbol="a",
                gradient=_gradient,
                equation=_gradient_equation,
                why="a slope multiplies the negative numbers, so they are the factor, and all that share it add up",
            ),
        ),
        equation=_equation,
        backward_equation=_backward_equation,
        backward_why="the slope is 1 above 0, and the learnt one below",
        description="Positive numbers pass; negative ones are multiplied by a slope that is learnt.",
    )
)
