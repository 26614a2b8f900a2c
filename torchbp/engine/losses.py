"""The losses of the engine: the value, and the derivative by the network's output, both from the loss's rule."""

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
        raise TypeError(f"a loss with reduction={reduction!r} is no number to descend on; use mean or sum")
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
    """
    rule, reduction = rule_of(loss), loss.reduction
    options = rule.options_of(loss)
    if members and y.dim() < output.dim() - (rule.target == "classes"):
        y = y.expand(len(output), *y.shape)
    rule.check(output, y)
    if not members:
        in_one = rule.value or rule.mean_or_sum  # without another call around it
        value = in_one(output, y, reduction, **options)
        scale = 1.0 if reduction == "sum" else 1 / count(rule, y, options)
    else:
        each = rule.each(output, y, **options).flatten(1)
        if reduction == "sum":
            value, scale = each.sum(1), 1.0
        elif rule.count is None:
            value, scale = each.mean(1), 1 / max(each.shape[1], 1)
        else:
            counts = rule.count(y, **options)
            value, scale = each.sum(1) / counts, 1 / counts
    derivative = rule.derivative(output, y, **options)
    if derivative is output or derivative is y:  # the engine writes over it
        derivative = derivative.clone()
    return value, derivative, scale


def count(rule, y, options):
    """What the mean of one network's loss divides by."""
    return max(y.numel(), 1) if rule.count is None else rule.count(y, **options)
