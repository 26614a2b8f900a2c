"""The losses of the engine: the value, and the derivative of each element by the network's output, both from ops."""

import torch
import torch.nn.functional as F

from torchbp import nn
from torchbp.ops._loss import check
from torchbp.ops.binary_cross_entropy import bce_da
from torchbp.ops.binary_cross_entropy_with_logits import bce_error
from torchbp.ops.mse_loss import mse_dx


def with_logits(loss, z, y, reduction):
    weight, pos_weight = loss._buffers["weight"], loss._buffers["pos_weight"]  # loss.weight costs 1 µs a time
    value = torch.binary_cross_entropy_with_logits(z, y, weight, pos_weight, REDUCTIONS[reduction])
    dz = bce_error(z, y, pos_weight)
    return value, dz if weight is None else dz * weight


def of_probabilities(loss, a, y, reduction):
    weight = loss._buffers["weight"]
    value = F.binary_cross_entropy(a, y, weight, None, None, reduction)
    return value, bce_da(1 if weight is None else weight, a, y)


def squared(loss, x, y, reduction):
    return F.mse_loss(x, y, reduction=reduction), mse_dx(1, x, y)


REDUCTIONS = {"none": 0, "mean": 1, "sum": 2}

LOSSES = {
    torch.nn.BCEWithLogitsLoss: with_logits,
    nn.BCEWithLogitsLoss: with_logits,
    torch.nn.BCELoss: of_probabilities,
    nn.BCELoss: of_probabilities,
    torch.nn.MSELoss: squared,
    nn.MSELoss: squared,
}


def checked_loss(loss):
    """The loss, BCEWithLogitsLoss where it is None.

    Raises:
        TypeError: a loss that is not supported, or without a reduction.
    """
    if loss is None:
        return nn.BCEWithLogitsLoss()
    if type(loss) not in LOSSES:
        raise TypeError(
            f"loss={loss!r} is not supported; use BCEWithLogitsLoss, BCELoss or MSELoss, of torch.nn or torchbp.nn"
        )
    if loss.reduction not in ("mean", "sum"):
        raise TypeError(f"a loss with reduction={loss.reduction!r} is no number to descend on; use mean or sum")
    return loss


def value_and_derivative(loss, output, y, ensemble=False):
    """L; D = ∂ℓ/∂output of each element, in the shape of `output`; and s, so that ∂L/∂output = s D.

    s is 1/N or 1. Everything after D is linear in it: multiplying the update by s, a number, saves a pass over D. Of an
    ensemble, `output` (E, N, …), L is a tensor (E) of each member's own loss; y may lack the dimension of members.

    Raises:
        ValueError: a target of another shape.
    """
    reduction = loss.reduction
    function = LOSSES[type(loss)]
    if not ensemble:
        check(output, y, reduction)
        value, derivative = function(loss, output, y, reduction)
        return value, derivative, 1 / max(output.numel(), 1) if reduction == "mean" else 1.0
    if y.dim() < output.dim():
        y = y.expand(len(output), *y.shape)
    check(output, y, reduction)
    each, derivative = function(loss, output, y, "none")
    each = each.flatten(1)
    elements = max(each.shape[1], 1)
    return (each.mean(1), derivative, 1 / elements) if reduction == "mean" else (each.sum(1), derivative, 1.0)
