"""Negative log-likelihood of classes: the loss of log-probabilities X, of which it takes that of the class y.

    forward     ℓ  = −w_y X_y                         L = Σ ℓ / Σ w_y
    backward    dX = −dℓ w_y onehot(y)                dℓ = dL / Σ w_y
    tangent     ℓ̇  = −w_y Ẋ_y

The mean runs over the weights of the rows' classes. Rows whose class is `ignore_index` have the weight 0.
"""

import torch
import torch.nn.functional as F

from torchbp.ops._dispatch import VmappableFunction, float32, operation, save_for_jvp
from torchbp.ops.expressions import A, w, y
from torchbp.ops.losses._classes import (
    as_index,
    check_class_weight,
    check_classes,
    class_weights,
    count,
    nll_of,
    no_view,
    outside,
    put,
    row_gradient,
)
from torchbp.ops.losses._reduction import check_reduction, chosen_reduction
from torchbp.ops.registry import register
from torchbp.ops.rules import Loss


class NLLLoss(VmappableFunction):
    """L = reduced(−w_y X_y): X (N, C, …) or (C), y without the dimension of classes, w (C) or None."""

    @staticmethod
    def forward(x, y, weight, ignore_index, reduction):
        return no_view(nll_of(x, y, weight, ignore_index, reduction), x)

    @staticmethod
    def setup_context(ctx, inputs, loss):
        x, y, weight, ctx.ignore_index, ctx.reduction = inputs
        ctx.shape, ctx.dtype = x.shape, x.dtype
        ctx.save_for_backward(y, weight)
        save_for_jvp(ctx, y, weight)

    @staticmethod
    def backward(ctx, dloss):
        if dloss is None:
            return (None,) * 5
        y, weight = ctx.saved_tensors
        index, w_y, kept = class_weights(y, weight, ctx.ignore_index, ctx.dtype)
        dloss = row_gradient(dloss, w_y, kept, ctx.reduction)
        return nll_dx(dloss, index, w_y, ctx.shape, 1 if len(ctx.shape) > 1 else 0), None, None, None, None

    @staticmethod
    def jvp(ctx, x_t, *_):
        y, weight = ctx.saved_tensors
        return nll_of(x_t, y, weight, ctx.ignore_index, ctx.reduction)  # it is linear in X


def nll_dx(dloss, index, w_y, shape, dim):
    """dX = −dℓ w_y onehot(y), in the shape of X. `index` is y without the ignored classes, `w_y` their weights."""
    values = -dloss * w_y
    return put(values.new_zeros(shape), dim, index.unsqueeze(dim), values.unsqueeze(dim))


apply_nll_loss = operation(NLLLoss, nll_of, float32)


def nll_loss(
    input: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> torch.Tensor:
    r"""The negative of the log-probability of the right class (equations at the top of this file).

    Args:
        input: X, log-probabilities, shape `(C)`, `(N, C)` or `(N, C, d1, …)`, floating.
        target: y, the index of a class for each row, shape `()`, `(N)` or `(N, d1, …)`, int64.
        weight: w, a number for each class, shape `(C)`, the dtype of `input`, or None; it gets no gradient.
        size_average, reduce: torch's old way to say the reduction.
        ignore_index: rows of this class do not count.
        reduction: "mean", the sum divided by Σ w_y, "sum", or "none".

    Returns:
        L, a scalar, or ℓ in the shape of `target` for "none".

    Raises:
        IndexError: a class that is not below C.
        ValueError: another number of rows, or an unknown reduction.
        RuntimeError: other shapes or dtypes that do not fit, or a weight that requires grad.
        NotImplementedError: integers or complex numbers as `input`.

    Example:
        >>> log_p = torch.tensor([[0.7, 0.3]]).log()
        >>> torchbp.ops.nll_loss(log_p, torch.tensor([0]))  # −ln 0.7 = 0.3567
    """
    reduction = chosen_reduction(size_average, reduce, reduction)
    check_reduction(reduction)
    target = as_index(target, input)
    check_class_weight(weight, input)
    try:
        return apply_nll_loss(input, target, weight, ignore_index, reduction)
    except IndexError as error:
        raise outside(error, input) from None


def _each(x, y, **options):
    rows = x.shape[:-1]
    loss = F.nll_loss(x.flatten(0, -2), y.expand(rows).flatten(), reduction="none", **options)
    return loss.view(rows)


def _derivative(x, y, weight=None, ignore_index=-100):
    index, w_y, _ = class_weights(y.expand(x.shape[:-1]), weight, ignore_index, x.dtype)
    return nll_dx(1, index, w_y, x.shape, -1)


RULE = register(
    Loss(
        name="nll_loss",
        apply=nll_loss,
        torch_module=torch.nn.NLLLoss,
        torch_functions={F.nll_loss: nll_loss},
        options=("weight", "ignore_index"),
        option_symbols=("w", "i"),
        each=_each,
        derivative=_derivative,
        check=check_classes,
        count=count,
        target="classes",
        as_target=lambda x, **options: x.exp(),
        equation=lambda given: -(w * y * A) if "weight" in given else -(y * A),
        slope=lambda given: -(w * y) if "weight" in given else -y,
        description="The loss is the negative of the logarithm of the right class's probability.",
    )
)
