"""The losses of the engine: the value, and the derivative by the network's output, both from the loss's rule."""

from typing import NamedTuple

import torch

from torchbp import nn
from torchbp.ops._accumulate import per_member
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


class CountedRows(NamedTuple):
    """A target y (E, N, …) of which the first `counts[e]` rows of member e count, and the others are there to fill up.

    Like the tensor y where the rows of some members are taken: `y[:3]`.
    """

    y: torch.Tensor
    counts: torch.Tensor

    @property
    def shape(self):
        return self.y.shape

    def dim(self):
        return self.y.dim()

    def __getitem__(self, members):
        return CountedRows(self.y[members], self.counts[members])


def value_and_derivative(loss, output, y, members=None):
    """L; D = ∂ℓ/∂output, in the shape of `output`; and s, so that ∂L/∂output = s D.

    s is a number: 1 for a sum, and 1 over what the mean counts. Everything after D is linear in it: multiplying the
    update by s saves a pass over D. Where the count depends on y, D is multiplied by it, and s is 1. Of an ensemble,
    `output` (E, N, …), L is a tensor (E) of each member's own loss; y may lack the dimension of members, or be
    `CountedRows`.

    Raises:
        ValueError: a target that does not fit.
        IndexError, RuntimeError: a class, or a weight of the loss, that does not.
    """
    return evaluator(loss, members)(output, y)


def evaluator(loss, members=None):
    """The function (output, y) → L, D, s of `value_and_derivative`, for many steps: it looks nothing up twice that
    does not change. With `with_value=False` L is None, if it is not made on the way to D."""
    rule, none = rule_of(loss), {}
    of_classes, check, options_of = rule.target == "classes", rule.check, rule.options_of if rule.options else None

    def evaluate(output, y, with_value=True):
        options = none if options_of is None else options_of(loss)
        if of_classes and output.dim() > (3 if members else 2):
            return of_classes_in_the_middle(loss, output, y, members)
        counts = None
        if type(y) is CountedRows:
            y, counts = y
        if members and y.dim() < output.dim() - of_classes:
            y = y.expand(len(output), *y.shape)
        check(output, y)
        try:
            if counts is not None:
                value, derivative, scale = of_counted(rule, loss.reduction, output, y, counts, options)
            else:
                value, derivative, scale = of_all(rule, loss.reduction, output, y, options, members, with_value)
        except (RuntimeError, IndexError):
            if of_classes:
                output, y = output.flatten(0, -2), y.expand(output.shape[:-1]).flatten()
            rule.apply(output, y, reduction=loss.reduction, **options)  # it raises an error that names the argument
            raise
        if derivative.dtype is not output.dtype:  # as of float64 weights
            derivative = derivative.to(output.dtype)
        if derivative is output or derivative is y:  # the engine writes over it
            derivative = derivative.clone()
        if isinstance(scale, torch.Tensor):  # once, and not for each parameter
            return value, derivative.mul_(per_member(scale, derivative)), 1.0
        return value, derivative, scale

    return evaluate


def evaluator_of_only_member(loss):
    """As `evaluator` of an ensemble of one member, whose output has no dimension of members; the target may have it."""
    of_one, of_members = evaluator(loss), evaluator(loss, 1)
    dims = int(rule_of(loss).target == "classes")

    def evaluate(output, y, with_value=True):
        if type(y) is CountedRows or has_options_of_members(loss):
            value, derivative, scale = of_members(output.unsqueeze(0), y, with_value)
            return value, derivative.squeeze(0), scale
        if y.dim() + dims > output.dim() and len(y) == 1:
            y = y.squeeze(0)
        value, derivative, scale = of_one(output, y, with_value)
        return None if value is None else value.view(1), derivative, scale

    return evaluate


def values_of_steps(loss, outputs, ys, members=None):
    """L of each of K steps, (K) or (K, E), from the outputs and targets of all."""
    rule = rule_of(loss)
    if members is None:
        return of_members(rule, loss.reduction, outputs, ys, rule.options_of(loss))[0]
    if ys.dim() < outputs.dim():
        ys = ys.unsqueeze(1).expand(outputs.shape)
    together = (t.flatten(0, 1) for t in (outputs, ys))
    return of_members(rule, loss.reduction, *together, rule.options_of(loss))[0].view(len(outputs), members)


def has_value_of_steps(loss, members):
    """Whether `values_of_steps` gives the values: L is a mean or sum over elements, and no weight is of one member."""
    rule = rule_of(loss)
    if rule.target != "elements" or rule.terms is not None or rule.count is not None:
        return False
    return members is None or not has_options_of_members(loss)


def has_options_of_members(loss):
    """Whether a weight of the loss has a dimension of members."""
    options = rule_of(loss).options_of(loss).values()
    return any(isinstance(value, torch.Tensor) and value.dim() > 2 for value in options)


def of_classes_in_the_middle(loss, output, y, members):
    """The same of an output (N, C, …), such as an image's, and a class for each of the places, y (N, …)."""
    rows = output.movedim(1, -1)
    if members or y.shape != rows.shape[:-1]:
        places = "the members of an ensemble have outputs (N, C)" if members else f"give {tuple(rows.shape[:-1])}"
        raise ValueError(f"y has the shape {tuple(y.shape)}, and the output {tuple(output.shape)}; {places}")
    value, derivative, scale = value_and_derivative(loss, rows.flatten(0, -2), y.flatten())
    return value, derivative.view(rows.shape).movedim(-1, 1), scale


def of_all(rule, reduction, output, y, options, members, with_value=True):
    """L, D and s, where all rows count that the loss does not ignore."""
    if rule.terms is not None:
        each, derivative, counts = rule.terms(output, y, **options)
        total = each.flatten(1).sum(1) if members else each.sum()
        if reduction == "sum":
            return total, derivative, 1.0
        return total / counts, derivative, inverse(counts)
    if with_value:
        value, scale = (of_members if members else of_one)(rule, reduction, output, y, options)
    else:
        value, scale = None, 1.0 if reduction == "sum" else scale_of(rule, output, y, options, members)
    return value, rule.derivative(output, y, **options), scale


def scale_of(rule, output, y, options, members):
    """s of a mean."""
    if rule.count is None:
        return 1 / max(y.numel() // (members or 1), 1)
    return inverse(count(rule, y, options, output.dtype))


def of_one(rule, reduction, output, y, options):
    """L of one network, and s."""
    in_one = rule.value or rule.mean_or_sum  # without another call around it
    scale = 1.0 if reduction == "sum" else scale_of(rule, output, y, options, None)
    return in_one(output, y, reduction, **options), scale


def of_members(rule, reduction, output, y, options):
    """L of each member, and s, a number or a tensor of them."""
    each = rule.each(output, y, **options).flatten(1)
    if reduction == "sum":
        return each.sum(1), 1.0
    if rule.count is None:
        return each.mean(1), 1 / max(each.shape[1], 1)
    counts = count(rule, y, options, output.dtype)
    return each.sum(1) / counts, inverse(counts)


def of_counted(rule, reduction, output, y, counts, options):
    """L of each member, D and s, where the first `counts[e]` rows of member e count, (E, N, …)."""
    if rule.count is not None:
        return of_all(rule, reduction, output, without_uncounted(rule, y, counts, options), options, len(output))
    kept = rows_that_count(y, counts).view(*y.shape[:2], *[1] * (output.dim() - 2))
    total = torch.where(kept, rule.each(output, y, **options), 0).flatten(1).sum(1)
    derivative = torch.where(kept, rule.derivative(output, y, **options), 0)
    if reduction == "sum":
        return total, derivative, 1.0
    counts = (counts * y[0, 0].numel()).to(output.dtype)
    return total / counts, derivative, inverse(counts)


def rows_that_count(y, counts):
    """Bools (E, N): the first `counts[e]` rows of member e."""
    return torch.arange(y.shape[1], device=y.device) < counts.unsqueeze(1)


def without_uncounted(rule, y, counts, options):
    """y (E, N, …), where the rows that do not count have a target that says so."""
    of_no_row = options["ignore_index"] if rule.uncounted is None else rule.uncounted(**options)
    return torch.where(rows_that_count(y, counts).view(*y.shape[:2], *[1] * (y.dim() - 2)), y, of_no_row)


def count(rule, y, options, dtype):
    """What the mean of one network's loss divides by, or of each member's: a number, or a tensor of this dtype."""
    if rule.count is None:
        return max(y.numel(), 1)
    counts = rule.count(y, **options)
    return counts.to(dtype) if isinstance(counts, torch.Tensor) else counts


def inverse(counts):
    """1 / counts; 0 where nothing counts, so that the gradient is 0 there, and not 0/0."""
    if not isinstance(counts, torch.Tensor):
        return 1 / counts
    return counts.reciprocal().masked_fill_(counts == 0, 0)


def weight_of(loss, y):
    """How much the mean over y weighs in the mean over several batches: its number of rows, or for a loss that counts
    otherwise, such as by Σ w_y, what it counts.

    y is the target of a batch, or of several, (K, …). A tensor of weights has the dimensions that y has before its
    rows.
    """
    rule = rule_of(loss)
    if type(y) is CountedRows:
        if rule.count is None:
            return y.counts
        y = without_uncounted(rule, y.y, y.counts, rule.options_of(loss))
    return y.shape[-2] if rule.count is None else rule.count(y, **rule.options_of(loss))
