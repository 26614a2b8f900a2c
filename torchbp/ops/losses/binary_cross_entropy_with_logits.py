"""Binary cross-entropy of logits Z, with A = σ(Z), weighted by w and, where y = 1, by p; and its derivatives.

    forward     ℓ  = w ∘ [ (1 − y) Z − (1 + (p − 1) y) ln σ(Z) ]       L = (1/N) Σ ℓ
    backward    dZ = dℓ ∘ w ∘ [ (1 − y) σ(Z) − p y σ(−Z) ]             dℓ = dL/N;  for p = 1 it is (A − y)/N
                dy = dℓ ∘ w ∘ [ −Z − (p − 1) ln σ(Z) ]
    tangent     ℓ̇  = dZ/dℓ ∘ Ż + dy/dℓ ∘ ẏ + ẇ ∘ ℓ/w − ṗ ∘ w ∘ y ∘ ln σ(Z)

ln σ(Z) = min(Z, 0) − ln(1 + e^−|Z|) is finite for every finite Z. At hard labels, y = 0 or 1, one of the two terms of
dZ is 0, so nothing cancels: dZ has every digit, as long as it is a normal number, up to |Z| = 87 in float32 and 708 in
float64. A − y has not: in float32 at Z = 17 and y = 1 it is 0, and dZ −4.14e−8; and in the product dA ∘ A ∘ (1 − A) the
last factor rounds to 0. At soft labels the terms cancel where A is near y, and dZ is exact to the rounding of y. ℓ is
exact to the rounding of Z: at y = 0 and Z = −40, where it is 4e−18, the two terms give 0, as in torch.
"""

import functools

import torch
import torch.nn.functional as F

from torchbp.ops._dispatch import VmappableFunction, float32, may_overwrite, operation, save_for_jvp
from torchbp.ops.activations.sigmoid import RULE as SIGMOID
from torchbp.ops.expressions import A, Z, exp, ln, p, sigma, w, y
from torchbp.ops.losses._reduction import (
    check,
    chosen_reduction,
    fit_weight,
    reduce_backward,
    reduced,
    times,
)
from torchbp.ops.losses.binary_cross_entropy import DESCRIPTION, SLOPE_COMPUTED, entropy, slope
from torchbp.ops.losses.binary_cross_entropy import RULE as BINARY_CROSS_ENTROPY
from torchbp.ops.registry import register
from torchbp.ops.rules import Computed, Loss


class BinaryCrossEntropyWithLogits(VmappableFunction):
    """L = reduced(ℓ): Z, y, w and p (or None) of one shape; reduction "mean", "sum" or "none"."""

    @staticmethod
    def forward(z, y, weight, pos_weight, reduction):
        log_sigmoid = F.logsigmoid(z)
        if pos_weight is not None:
            log_sigmoid = log_sigmoid * (1 + (pos_weight - 1) * y)
        loss = (1 - y) * z - log_sigmoid
        loss = reduced(loss if weight is None else times(loss, weight), reduction)
        return loss.to(y.dtype)  # as torch's is

    @staticmethod
    def setup_context(ctx, inputs, output):
        z, y, weight, pos_weight, ctx.reduction = inputs
        needs_dz = ctx.needs_input_grad[0]
        ctx.save_for_backward(z, y if needs_dz else None, weight, pos_weight)
        save_for_jvp(ctx, z, y, weight, pos_weight)

    @staticmethod
    def backward(ctx, dloss):
        if dloss is None:
            return None, None, None, None, None
        z, y, weight, pos_weight = ctx.saved_tensors
        dloss = reduce_backward(dloss, ctx.reduction, z.numel())
        if weight is not None:
            dloss = dloss * weight
        needs_dz, needs_dy, *_ = ctx.needs_input_grad
        dz = bce_dz(dloss, z, y, pos_weight) if needs_dz else None
        dy = bce_logits_dy(dloss, z, pos_weight) if needs_dy else None
        return dz, dy, None, None, None

    @staticmethod
    def jvp(ctx, z_t, y_t, weight_t, pos_weight_t, _):
        z, y, weight, pos_weight = ctx.saved_tensors
        loss_t = bce_dz(z_t, z, y, pos_weight) + bce_logits_dy(y_t, z, pos_weight)
        if pos_weight is not None:
            loss_t = loss_t - pos_weight_t * y * F.logsigmoid(z)
        if weight is not None:
            loss = F.binary_cross_entropy_with_logits(z, y, reduction="none", pos_weight=pos_weight)
            loss_t = weight * loss_t + weight_t * loss
        return reduced(loss_t, ctx.reduction)


def bce_dz(dloss, z, y, pos_weight=None):
    """dZ = dℓ ∘ [ (1 − y) σ(Z) − p y σ(−Z) ]."""
    return times(bce_error(z, y, pos_weight), dloss)


def bce_error(z, y, pos_weight=None):
    """dℓ/dZ = (1 − y) σ(Z) − p y σ(−Z); without pos_weight, where p = 1, it is σ(Z) − y."""
    # σ(Z) − y for y = 0 and for y = 1
    right, wrong = torch.sigmoid(z), torch.neg(z).sigmoid_().neg_() if may_overwrite() else -torch.sigmoid(-z)
    if pos_weight is None and y.dtype is z.dtype:
        return torch.lerp(right, wrong, y)  # the last line, with p = 1, in one pass
    py = y if pos_weight is None else pos_weight * y
    return torch.addcmul((1 - y) * right, py, wrong)


def bce_logits_dy(dloss, z, pos_weight=None):
    """dy = −dℓ ∘ Z, or with pos_weight p: dℓ ∘ [ −Z − (p − 1) ln σ(Z) ]."""
    if pos_weight is None:
        return -dloss * z
    return dloss * (-z - (pos_weight - 1) * F.logsigmoid(z))


def _by_torch(z, y, weight, pos_weight, reduction):
    return F.binary_cross_entropy_with_logits(z, y, weight, reduction=reduction, pos_weight=pos_weight)


apply_binary_cross_entropy_with_logits = operation(BinaryCrossEntropyWithLogits, _by_torch, float32)


def binary_cross_entropy_with_logits(
    input: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: torch.Tensor | None = None,
) -> torch.Tensor:
    r"""Cross-entropy between `σ(input)` and targets (equations at the top of this file).

    At hard labels, 0 and 1, the gradient is exact at any logit, where `σ(input) − target` would round to 0; at soft
    ones it is exact to the rounding of `target`, and the loss to that of `input`.

    Args:
        input: Z, logits, any shape, floating.
        target: y, normally in [0, 1] (as in torch, not checked), the shape of `input`, floating.
        weight: w, broadcastable to `input`, or None; it gets no gradient.
        size_average, reduce: torch's old way to say the reduction.
        reduction: "mean" over all elements, "sum", or "none".
        pos_weight: p, weight of the positive class, broadcastable to `input`, or None; it gets no gradient.

    Returns:
        L, a scalar in nats in the dtype of `target`, or ℓ in the shape of `input` for "none".

    Raises:
        ValueError: `target` has another shape, or `reduction` is unknown.
        NotImplementedError: integers or complex numbers as `input`.
        RuntimeError: an integer or complex `target`, or a weight that does not broadcast or requires grad.

    Example:
        >>> torchbp.ops.binary_cross_entropy_with_logits(torch.zeros(1), torch.ones(1))  # ln 2 = 0.6931
    """
    reduction = chosen_reduction(size_average, reduce, reduction)
    check(input, target, reduction)
    if not input.is_floating_point():
        raise NotImplementedError(f"input is {input.dtype}; logits are real floating numbers")
    if not target.is_floating_point():
        raise RuntimeError(f"target is {target.dtype}; make it floating, for example target.float()")
    if weight is not None:
        weight = fit_weight("weight", weight, input)
    if pos_weight is not None:
        pos_weight = fit_weight("pos_weight", pos_weight, input)
    return apply_binary_cross_entropy_with_logits(input, target, weight, pos_weight, reduction)


REDUCTIONS = {"none": 0, "mean": 1, "sum": 2}


def _value(z, y, reduction, weight=None, pos_weight=None):
    # torch's function under torch.nn.functional's, which costs more than the loss of a small network
    return torch.binary_cross_entropy_with_logits(z, y, weight, pos_weight, REDUCTIONS[reduction])


def _derivative(z, y, weight=None, pos_weight=None):
    dz = bce_error(z, y, pos_weight)
    return dz if weight is None else dz * weight


def error(given):
    """∂ℓ/∂Z as an expression, with the weights that are given: the slope times A (1 − A)."""
    difference = (1 - y + p * y) * A - p * y if "pos_weight" in given else A - y
    return w * difference if "weight" in given else difference


def error_of_logits(given):
    """∂ℓ/∂Z of the logits, as an expression."""
    loss = (1 - y) * sigma(Z) - (p * y if "pos_weight" in given else y) * sigma(-Z)
    return w * loss if "weight" in given else loss


def entropy_of_logits(given):
    """ℓ of the logits, as an expression."""
    negative_log = ln(1 + exp(-Z))  # −ln σ(Z)
    loss = (1 - y) * Z + ((1 - y + p * y) * negative_log if "pos_weight" in given else negative_log)
    return w * loss if "weight" in given else loss


def explained_loss(given):
    times = "(1 − y + p y) " if "pos_weight" in given else ""
    return (
        "Where {a} rounds to 0 or 1, this equation is not accurate: L is computed from {z}, as "
        f"(1 − y) {{z}} + {times}ln(1 + exp(−{{z}})){', times w' * ('weight' in given)}."
    )


def explained_digits(given):
    return (
        "Where {a} is almost y, their difference has few digits: it is computed from {z}, as (1 − y) σ({z}) − "
        f"{'p ' * ('pos_weight' in given)}y σ(−{{z}}){', times w' * ('weight' in given)}."
    )


def explained_error(given):
    times = f"{', with y weighted by p' * ('pos_weight' in given)}{', times w' * ('weight' in given)}"
    return (
        "Chain rule: multiply by σ's slope {a} (1 − {a}). It cancels the denominator above and leaves prediction minus "
        f"target, {{a}} − y{times}: no factor of it vanishes where {{a}} is almost 0 or 1."
    )


RULE = register(
    Loss(
        name="binary_cross_entropy_with_logits",
        apply=binary_cross_entropy_with_logits,
        torch_module=torch.nn.BCEWithLogitsLoss,
        torch_functions={F.binary_cross_entropy_with_logits: binary_cross_entropy_with_logits},
        options=("weight", "pos_weight"),
        option_symbols=("w", "p"),
        each=functools.partial(_value, reduction="none"),
        value=_value,
        derivative=_derivative,
        answers=SIGMOID,
        of_answers=BINARY_CROSS_ENTROPY,
        equation=entropy,
        slope=slope,
        error=error,
        equation_computed=Computed(expression=entropy_of_logits, why=explained_loss),
        slope_computed=SLOPE_COMPUTED,
        error_computed=Computed(expression=error_of_logits, why=explained_digits),
        domain=(0.0, 1.0),
        description=DESCRIPTION,
        answers_description="The answer is a probability: σ turns the logit {z} into {a} = P(y = 1 | x).",
        error_description=explained_error,
    )
)
