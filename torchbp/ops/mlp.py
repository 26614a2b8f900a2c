"""A whole network in one Function: the article's chain of derivatives, from the loss back to the first weight.

    forward     A_0 = X;   Z_l = A_{l−1} W_lᵀ + b_l   and   A_l = f(Z_l)   for l = 1 … L;   no f after Z_L
    loss        L   = (1/N) Σ [ (1 − y) Z_L − ln σ(Z_L) ]
    backward    dZ_L = (σ(Z_L) − y)/N,   or what comes in where there is no loss; then for l = L … 1
                dW_l = dZ_lᵀ A_{l−1},   db_l = Σ_n dZ_l,   dA_{l−1} = dZ_l W_l,   dZ_{l−1} = dA_{l−1} ∘ f′

f′ is a function of A_{l−1}, or of Z_{l−1} where f saves its input. One Function in place of one per layer pays for
autograd's bookkeeping once, which is most of the cost of a small network. The formulas are those of the layers' files.
The second derivative is taken through the layers, one by one.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch.autograd import forward_ad
from torch.overrides import has_torch_function

from torchbp.ops._dispatch import (
    any_autocast,
    is_dynamo_compiling,
    is_left_to_torch,
    short_apply,
    tracing_state,
    transforms_active,
)
from torchbp.ops.layers.linear import Linear, linear, linear_dbias, linear_dweight, linear_dx
from torchbp.ops.losses.binary_cross_entropy_with_logits import bce_dz, binary_cross_entropy_with_logits
from torchbp.ops.registry import activation as rule_named

affine = Linear.forward


class MLP(torch.autograd.Function):
    """Z_L, or L where y is given, of X and W_1, b_1, …, W_L, b_L (each b may be None).

    `activation` is f's rule, and its constants are `options`.
    """

    @staticmethod
    def forward(ctx, activation, options, y, x, *parameters):
        z = affine(x, parameters[0], parameters[1])
        inputs, logits = [x], []  # A_0, …, A_{L−1}, and of an f whose slope needs them Z_1, …, Z_{L−1}
        for i in range(2, len(parameters), 2):
            a = activation.forward(z, **options)
            if activation.saves == "input":
                logits.append(z)
            z = affine(a, parameters[i], parameters[i + 1])
            inputs.append(a)
        ctx.activation, ctx.options = activation, options
        if y is None:
            ctx.save_for_backward(None, None, *inputs, *parameters, *logits)
            return z
        ctx.save_for_backward(z, y, *inputs, *parameters, *logits)
        # L by torch's kernels in one call: written out it takes five, which is what a small network costs
        return F.binary_cross_entropy_with_logits(z, y)

    @staticmethod
    def backward(ctx, incoming):
        z, y, *saved = ctx.saved_tensors
        _, _, _, needs_x, *needs = ctx.needs_input_grad
        layers = len(needs) // 2
        inputs, parameters, logits = saved[:layers], saved[layers : 3 * layers], saved[3 * layers :]
        activation, options = ctx.activation, ctx.options
        if torch.is_grad_enabled():  # the caller will differentiate this too: autograd must see each layer
            arguments = (inputs[0], *parameters)
            return None, None, None, *_recorded(activation, options, y, arguments, (needs_x, *needs), incoming)
        gradients = [None] * len(parameters)

        dz = incoming if y is None else bce_dz(incoming / z.numel(), z, y)
        for layer in range(layers - 1, -1, -1):
            i = 2 * layer
            if needs[i + 1]:
                gradients[i + 1] = linear_dbias(dz)
            if needs[i]:
                gradients[i] = linear_dweight(dz, inputs[layer])
            if layer == 0:
                dx = linear_dx(dz, parameters[0]) if needs_x else None
                return None, None, None, dx, *gradients
            da = linear_dx(dz, parameters[i])
            dz = activation.backward(da, logits[layer - 1] if logits else inputs[layer], **options)


def _recorded(activation, options, y, arguments, needs, incoming):
    """The gradients of X and the parameters, as a graph of the layers' own Functions."""
    output = _layered(activation, options, y, *arguments)
    wanted = [argument for argument, needed in zip(arguments, needs, strict=True) if needed]
    gradients = iter(torch.autograd.grad(output, wanted, incoming, create_graph=True))
    return [next(gradients) if needed else None for needed in needs]


def _layered(activation, options, y, x, *parameters):
    """The same, of the layers' own Functions, which can do everything that torch's can."""
    z = linear(x, *parameters[:2])
    for layer in range(2, len(parameters), 2):
        z = linear(activation.apply(z, **options), *parameters[layer : layer + 2])
    return z if y is None else binary_cross_entropy_with_logits(z, y)


fused = short_apply(MLP)


def perceptron(activation, options, y, x, parameters):
    """Z_L, or L where y is given, of X and the list W_1, b_1, …, W_L, b_L: in one Function where that is possible.

    `activation` is f's rule, and its constants are `options`.
    """
    if (
        not torch.is_grad_enabled()
        or any_autocast()
        or tracing_state() is not None
        or transforms_active()
        or is_dynamo_compiling()
        or forward_ad._current_level >= 0
        or (has_torch_function((y, x, *parameters)) and is_left_to_torch((y, x, *parameters)))
        or (y is not None and y.requires_grad)
    ):
        return _layered(activation, options, y, x, *parameters)
    if not (x.requires_grad or parameters[0].requires_grad):
        x, parameters = _past_frozen_layers(activation, options, x, parameters)
    return fused(activation, options, y, x, *parameters)


def _past_frozen_layers(activation, options, x, parameters):
    """X and the parameters from the first layer that learns on: the layers under it save nothing."""
    learns = [i for i, p in enumerate(parameters) if p is not None and p.requires_grad]
    frozen = (learns[0] if learns else len(parameters) - 1) // 2 * 2
    if frozen:
        with torch.no_grad():
            x = activation.forward(_layered(activation, options, None, x, *parameters[:frozen]), **options)
    return x, parameters[frozen:]


def mlp(
    input: torch.Tensor,
    weights: Sequence[torch.Tensor],
    biases: Sequence[torch.Tensor | None],
    activation: str = "sigmoid",
) -> torch.Tensor:
    r"""The logits of a multilayer perceptron, as one node of the autograd graph (equations at the top of this file).

    First and second derivatives are right. Under autocast, torch.func, forward-mode AD, torch.compile, torch.jit.trace
    and for tensor subclasses it is the layers one by one, which support all of these.

    Args:
        input: X, shape `(…, n_0)`.
        weights: W_1 … W_L, shapes `(n_l, n_{l−1})`.
        biases: b_1 … b_L, shapes `(n_l)`; any may be None.
        activation: f by the name of its rule, such as "sigmoid", "tanh" or "relu".

    Returns:
        Z_L, shape `(…, n_L)`.

    Raises:
        ValueError: an unknown activation.
        RuntimeError: shapes or dtypes that do not fit, as `torch.nn.functional.linear` words it.

    Example:
        >>> w1, b1, w2, b2 = torch.randn(16, 30), torch.zeros(16), torch.randn(1, 16), torch.zeros(1)
        >>> z = torchbp.ops.mlp(torch.randn(32, 30), [w1, w2], [b1, b2])  # (32, 1)
    """
    return perceptron(*_rule_and_options(activation), None, input, _interleaved(weights, biases))


def mlp_binary_cross_entropy(
    input: torch.Tensor,
    target: torch.Tensor,
    weights: Sequence[torch.Tensor],
    biases: Sequence[torch.Tensor | None],
    activation: str = "sigmoid",
) -> torch.Tensor:
    r"""The mean cross-entropy of a perceptron's logits, as one node of the autograd graph: `dZ_L = (σ(Z_L) − y)/N`.

    Args:
        input, weights, biases, activation: as in `mlp`.
        target: y, shape `(…, n_L)`, normally in [0, 1]; floating.

    Returns:
        L, a scalar in nats.

    Raises:
        ValueError: an unknown activation, or a target of another shape than the logits.
        RuntimeError: shapes or dtypes that do not fit.

    Example:
        >>> w1, b1, w2, b2 = torch.randn(16, 30), torch.zeros(16), torch.randn(1, 16), torch.zeros(1)
        >>> loss = torchbp.ops.mlp_binary_cross_entropy(torch.randn(32, 30), torch.ones(32, 1), [w1, w2], [b1, b2])
    """
    return perceptron(*_rule_and_options(activation), target, input, _interleaved(weights, biases))


def _rule_and_options(activation):
    """The rule with this name, and the constants of a new module of it."""
    rule = rule_named(activation)
    return rule, rule.options_of(rule.module_class()) if rule.options else {}


def _interleaved(weights, biases):
    return [p for layer in zip(weights, biases, strict=True) for p in layer]
