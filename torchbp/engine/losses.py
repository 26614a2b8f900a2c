"""The losses of the engine: the value, and the derivative of each element by the network's output, both from ops."""

import torch
import torch.nn.functional as F

from torchbp import nn
from torchbp.ops._loss import check
from torchbp.ops.binary_cross_entropy import bce_da
from torchbp.ops.binary_cross_entropy_with_logits import bce_error
from torchbp.ops.mse_loss import mse_dx


def with_logits(loss, z, y):
    weight, pos_weight = loss._buffers["weight"], loss._buffers["pos_weight"]  # loss.weight costs 1 µs a time
    value = F.binary_cross_entropy_with_logits(z, y, weight, None, None, loss.reduction, pos_weight)
    dz = bce_error(z, y, pos_weight)
    return value, dz if weight is None else dz * weight


def of_probabilities(loss, a, y):
    weight = loss._buffers["weight"]
    value = F.binary_cross_entropy(a, y, weight, None, None, loss.reduction)
    return value, bce_da(1 if weight is None else weight, a, y)


def squared(loss, x, y):
    return F.mse_loss(x, y, reduction=loss.reduction), mse_dx(1, x, y)


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


def value_and_derivative(loss, output, y):
    """L; D = ∂ℓ/∂output of each element, in the shape of `output`; and s, so that ∂L/∂output = s D.

    s is 1/N or 1. Everything after D is linear in it: multiplying the update by s, a number, saves a pass over D.

    Raises:
        ValueError: a target of another shape.
    """
    check(output, y, loss.reduction)
    value, derivative = LOSSES[type(loss)](loss, output, y)
    return value, derivative, 1 / max(output.numel(), 1) if loss.reduction == "mean" else 1.0
