"""Binary cross-entropy of probabilities A = P(y = 1 | x), weighted by w, and its derivatives.

    forward     ℓ  = −w ∘ [ y ln A + (1 − y) ln(1 − A) ]       L = (1/N) Σ ℓ
    backward    dA = dℓ ∘ w ∘ (A − y) / (A (1 − A))            dℓ = dL/N
                dy = dℓ ∘ w ∘ [ ln(1 − A) − ln A ]
    tangent     ℓ̇  = dA/dℓ ∘ Ȧ + dy/dℓ ∘ ẏ

As in torch, each logarithm of ℓ is at least −100 and the denominator of dA at least 1e-12, so that neither is infinite.
(A − y)/(A(1 − A)) is the article's −y/A + (1 − y)/(1 − A) over one denominator.
"""

import functools

import torch
import torch.nn.functional as F

from torchbp.ops._dispatch import VmappableFunction, float32, operation, save_for_jvp, values
from torchbp.ops.expressions import A, ln, maximum, p, w, y
from torchbp.ops.losses._reduction import check, chosen_reduction, fit_weight, reduce_backward, reduced
from torchbp.ops.registry import register
from torchbp.ops.rules import Computed, Loss


def log_a(a):
    return a.log().clamp(min=-100)


def log_one_minus(a):
    return torch.log1p(-a).clamp(min=-100)


class BinaryCrossEntropy(VmappableFunction):
    """L = reduced(ℓ): A, y and w (or None) of one shape; reduction "mean", "sum" or "none"."""

    @staticmethod
    def forward(a, y, weight, reduction):
        if not a.is_floating_point():
            raise NotImplementedError(f"input is {a.dtype}; probabilities are floating numbers")
        if y.dtype is not a.dtype:
            raise RuntimeError(f"target is {y.dtype} and input {a.dtype}; both must be of one dtype")
        check_unit_interval("input", a)
        check_unit_interval("target", y)
        loss = (y - 1) * log_one_minus(a) - y * log_a(a)
        return reduced(loss if weight is None else weight * loss, reduction)

    @staticmethod
    def setup_context(ctx, inputs, output):
        a, y, weight, ctx.reduction = inputs
        needs_da = ctx.needs_input_grad[0]
        ctx.save_for_backward(a, y if needs_da else None, weight)
        save_for_jvp(ctx, a, y, weight)

    @staticmethod
    def backward(ctx, dloss):
        if dloss is None:
            return None, None, None, None
        a, y, weight = ctx.saved_tensors
        dloss = reduce_backward(dloss, ctx.reduction, a.numel())
        if weight is not None:
            dloss = dloss * weight
        needs_da, needs_dy, *_ = ctx.needs_input_grad
        da = bce_da(dloss, a, y) if needs_da else None
        dy = bce_dy(dloss, a) if needs_dy else None
        return da, dy, None, None

    @staticmethod
    def jvp(ctx, a_t, y_t, weight_t, _):  # to torch the weight is a constant, and its tangent 0
        a, y, weight = ctx.saved_tensors
        loss_t = bce_da(a_t, a, y) + bce_dy(y_t, a)
        return reduced(loss_t if weight is None else loss_t * weight, ctx.reduction)


def bce_da(dloss, a, y):
    """dA = dℓ ∘ (A − y) / (A (1 − A))."""
    return dloss * (a - y) / ((1 - a) * a).clamp(min=1e-12)


def bce_dy(dloss, a):
    """dy = dℓ ∘ [ ln(1 − A) − ln A ]."""
    return dloss * (torch.log1p(-a) - a.log())


def check_unit_interval(name, tensor):
    t = values(tensor)
    # nan differs from itself, so it fails too; no value is read back, so a GPU is not waited for
    torch._assert_async((t.clamp(0, 1) == t).all(), f"all elements of {name} should be between 0 and 1")


def _by_torch(a, y, weight, reduction):
    return F.binary_cross_entropy(a, y, weight, reduction=reduction)


def _cast(args):
    if args[0].is_cuda:
        raise RuntimeError("binary_cross_entropy is unsafe under autocast; use binary_cross_entropy_with_logits")
    return float32(args)


apply_binary_cross_entropy = operation(BinaryCrossEntropy, _by_torch, _cast)


def binary_cross_entropy(
    input: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> torch.Tensor:
    r"""Cross-entropy between probabilities and targets in [0, 1] (equations at the top of this file).

    Where a saturated output must still learn, use `binary_cross_entropy_with_logits`: its gradient is exact.

    Args:
        input: A, probabilities in [0, 1], any shape, floating.
        target: y in [0, 1], the shape and dtype of `input`.
        weight: w, broadcastable to `input`, or None; it gets no gradient.
        size_average, reduce: torch's old way to say the reduction.
        reduction: "mean" over all elements, "sum", or "none".

    Returns:
        L, a scalar in nats, or ℓ in the shape of `input` for "none".

    Raises:
        ValueError: `target` has another shape, or `reduction` is unknown.
        RuntimeError: a value outside [0, 1] or nan, another dtype, a weight that does not broadcast or requires grad.

    Example:
        >>> torchbp.ops.binary_cross_entropy(torch.tensor([0.8]), torch.tensor([1.0]))  # −ln 0.8 = 0.2231
    """
    reduction = chosen_reduction(size_average, reduce, reduction)
    check(input, target, reduction)
    if weight is not None:
        weight = fit_weight("weight", weight, input).to(input.dtype)
    return apply_binary_cross_entropy(input, target, weight, reduction)


def _value(a, y, reduction, weight=None):
    return F.binary_cross_entropy(a, y, weight, None, None, reduction)


def _derivative(a, y, weight=None):
    return bce_da(1 if weight is None else weight, a, y)


def entropy(given):
    """ℓ as an expression, with the weights that are given."""
    loss = -((p * y if "pos_weight" in given else y) * ln(A) + (1 - y) * ln(1 - A))
    return w * loss if "weight" in given else loss


def slope(given):
    """∂ℓ/∂A as an expression, with the weights that are given."""
    loss = (1 - y) / (1 - A) - p * y / A if "pos_weight" in given else (A - y) / (A * (1 - A))
    return w * loss if "weight" in given else loss


def bounded_entropy(given):
    """ℓ as it is computed: no logarithm is below −100."""
    loss = -(y * maximum(ln(A), -100) + (1 - y) * maximum(ln(1 - A), -100))
    return w * loss if "weight" in given else loss


def bounded_slope(given):
    """∂ℓ/∂A as it is computed: the denominator is not below 1e-12."""
    least = maximum(A * (1 - A), 1e-12)
    loss = ((1 - y) * A - p * y * (1 - A)) / least if "pos_weight" in given else (A - y) / least
    return w * loss if "weight" in given else loss


SLOPE_COMPUTED = Computed(
    expression=bounded_slope, why="As in torch {a} (1 − {a}) is at least 1e−12: no slope is infinite."
)
DESCRIPTION = (
    "Each of the two answers has a term: the first counts where y is 1, the second where y is 0. The lower the "
    "probability that the network gives to the correct answer, the larger the loss, without limit. A y between 0 and 1 "
    "says how correct each of the two answers is."
)

RULE = register(
    Loss(
        name="binary_cross_entropy",
        apply=binary_cross_entropy,
        torch_module=torch.nn.BCELoss,
        torch_functions={F.binary_cross_entropy: binary_cross_entropy},
        options=("weight",),
        option_symbols=("w",),
        each=functools.partial(_value, reduction="none"),
        value=_value,
        derivative=_derivative,
        equation=entropy,
        slope=slope,
        equation_computed=Computed(
            expression=bounded_entropy, why="As in torch's BCELoss no logarithm is below −100: no loss is infinite."
        ),
        slope_computed=SLOPE_COMPUTED,
        domain=(0.0, 1.0),
        description=DESCRIPTION,
    )
)
