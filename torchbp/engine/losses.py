"""The losses of the engine: the value, and the derivative by the network's output, both from the loss's rule."""

import torch

from torchbp import nn
from torchbp.ops.registry import refusal, rule_of, rules
from torchbp.ops.rules import Loss


def checked_loss(loss):
    """The loss, BCEWithLogitsLoss where it is None.

    Raises:
        TypeError: a loss that has no rule, or options that its rule does not have, or reduction "none".
    """
    if loss is None:
        return nn.BCEWithLogitsLoss()
    if not isinstance(rule_of(loss), Loss):
        names = [rule.module_class.__name__ for rule in rules(Loss).values() if rule.module_class]
        raise TypeError(
            f"loss={loss!r} is not supported; use {', '.join(names[:-1])} or {names[-1]}, of torch.nn or torchbp.nn"
        )
    reduction = getattr(loss, "reduction", None)
    if reduction not in ("mean", "sum"):
        raise TypeError(f"loss={loss!r} has reduction={reduction!r}; the engine descends on a mean or a sum")
    if why := refusal(loss):
        raise TypeError(f"loss={loss!r} is not supported: {why}")
    return loss


def value_and_derivative(loss, output, y, members=None):
    """L; D = ∂ℓ/∂output, in the shape of `output`; and s, so that ∂L/∂output = s D.

    s is 1 for a sum, and 1 over what the mean counts. Everything after D is linear in it: multiplying the update by s
    saves a pass over D. Of an ensemble, `output` (E, N, …), L is a tensor (E) of each member's own loss; y may
    lack the dimension of members.

    Raises:
        ValueError: a target that does not fit.
        IndexError, RuntimeError: a class, or a weight of the loss, that does not.
    """
    rule, reduction = rule_of(loss), loss.reduction
    options = rule.options_of(loss)
    if rule.target == "classes" and output.dim() > (3 if members else 2):
        return of_classes_in_the_middle(loss, output, y, members)
    if members and y.dim() < output.dim() - (rule.target == "classes"):
        y = y.expand(len(output), *y.shape)
    rule.check(output, y)
    try:
        value, scale = (of_members if members else of_one)(rule, reduction, output, y, options)
        derivative = rule.derivative(output, y, **options)
    except (RuntimeError, IndexError):
        if rule.target == "classes":
            output, y = output.flatten(0, -2), y.expand(output.shape[:-1]).flatten()
        rule.apply(output, y, reduction=reduction, **options)  # it raises an error that names the argument
        raise
    if derivative.dtype is not output.dtype:  # as of float64 weights
        derivative = derivative.to(output.dtype)
    if derivative is output or derivative is y:  # the engine writes over it
        derivative = derivative.clone()
    return value, derivative, scale


def of_classes_in_the_middle(loss, output, y, members):
    """The same of an output (N, C, …), such as an image's, and a class for each of the places, y (N, …)."""
    rows = output.movedim(1, -1)
    if members or y.shape != rows.shape[:-1]:
        places = "the members of an ensemble have outputs (N, C)" if members else f"give {tuple(rows.shape[:-1])}"
        raise ValueError(f"y has the shape {tuple(y.shape)}, and the output {tuple(output.shape)}; {places}")
    value, derivative, scale = value_and_derivative(loss, rows.flatten(0, -2), y.flatten())
    return value, derivative.view(rows.shape).movedim(-1, 1), scale


def of_one(rule, reduction, output, y, options):
    """L of one network, and s."""
    in_one = rule.value or rule.mean_or_sum  # without another call around it
    scale = 1.0 if reduction == "sum" else 1 / count(rule, y, options, output.dtype)
    return in_one(output, y, reduction, **options), scale


def of_members(rule, reduction, output, y, options):
    """L of each member, and s, which may be a tensor of them."""
    each = rule.each(output, y, **options).flatten(1)
    if reduction == "sum":
        return each.sum(1), 1.0
    if rule.count is None:
        return each.mean(1), 1 / max(each.shape[1], 1)
    counts = count(rule, y, options, output.dtype)
    return each.sum(1) / counts, 1 / counts


def count(rule, y, options, dtype):
    """What the mean of one network's loss divides by, or of each member's: a number, or a tensor of this dtype."""
    if rule.count is None:
        return max(y.numel(), 1)
    counts = rule.count(y, **options)
    return counts.to(dtype) if isinstance(counts, torch.Tensor) else counts
