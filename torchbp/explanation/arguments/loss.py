"""The loss: one that has equations, whose answers the model gives, and its weights."""

import copy

import torch

from torchbp.engine.losses import checked_loss
from torchbp.explanation.arguments.rows import check_finite, real_tensor
from torchbp.explanation.notation.words import class_name, either
from torchbp.ops.registry import rule_of, rules
from torchbp.ops.rules import Activation, Loss


def supported_loss(loss, chain):
    """A copy of the loss; where it is None the engine's, or, where the model gives what it turns its logits into, the
    same loss of answers.

    Raises:
        TypeError: a loss that is not supported, or that takes answers of a range that the model does not give.
    """
    last = chain.steps[-1]
    gives = last.rule.range if last.is_activation else None
    if loss is None:
        loss = checked_loss(None)
        of_answers = rule_of(loss).of_answers
        if of_answers is not None and _lies_within(gives, of_answers.domain):
            loss = of_answers.module_class()
    loss = copy.copy(checked_loss(loss))
    rule, name = rule_of(loss), type(loss).__name__
    if rule.equation is None or rule.slope is None:
        raise TypeError(
            f"{name} has no equation for each element of y in its rule, and explain shows equations; use "
            f"{either(_shown())}"
        )
    if rule.answers is None and rule.domain is not None and not _lies_within(gives, rule.domain):
        low, high = rule.domain
        activations = [class_name(r) for r in rules(Activation).values() if _lies_within(r.range, rule.domain)]
        of_logits = [class_name(r) for r in rules(Loss).values() if r.of_answers is rule]
        raise TypeError(
            f"{name} takes outputs between {low:g} and {high:g}, and the model does not end with "
            + (f"a {either(activations)}; add one" if activations else "an activation that gives them")
            + f"{', or' if activations else '; '} use {either(of_logits or _shown(any_number=True))}"
        )
    return loss


def fitted_loss(loss, y, chain):
    """The loss with copies of its weights in the dtype of the network.

    Raises:
        TypeError: weights that are no real numbers.
        ValueError: a y that the loss does not take, weights of another shape, nan or inf.
    """
    rule, of_classes = rule_of(loss), rule_of(loss).target == "classes"
    like = next(iter(chain.start.values())).new_empty(chain.outputs) if of_classes else y
    loss._buffers = {name: _fitted(name, value, like) for name, value in loss._buffers.items()}
    if of_classes:
        return loss
    if rule.domain is None:
        options = rule.options_of(loss)
        answers = y, torch.full_like(y, 0.5)  # a loss may be nan of one answer alone, such as of 0/0
        nans = [rule.each(answer, y, **options).isnan() for answer in answers]
        if (impossible := y[nans[0] & nans[1]]).numel():
            raise ValueError(
                f"y holds {impossible.flatten()[0].item():g}, of which {type(loss).__name__} is nan; give numbers of "
                "which it is not, such as probabilities"
            )
        return loss
    low, high = rule.domain
    if (outside := y[(y < low) | (y > high)]).numel():
        raise ValueError(
            f"y holds {outside[0].item():g}; {type(loss).__name__} takes {low:g}, {high:g} or a number between them, "
            f"and {either(_shown(any_number=True))} any number"
        )
    return loss


def _lies_within(found, domain):
    """Whether a range of numbers, or None, is known to lie within a domain."""
    return found is not None and domain is not None and domain[0] <= found[0] and found[1] <= domain[1]


def _shown(any_number=False):
    """The names of the losses that explain shows; of those that take any number, if that is asked for."""
    return [
        class_name(rule)
        for rule in rules(Loss).values()
        if None not in (rule.equation, rule.slope)
        and not (any_number and (rule.domain is not None or rule.target == "classes"))
    ]


def _fitted(name, weight, y):
    if weight is None:
        return None
    weight = real_tensor(name := f"the loss's {name}", weight, y)
    check_finite(name, weight)
    try:
        fits = torch.broadcast_shapes(weight.shape, y.shape) == y.shape
    except RuntimeError:
        fits = False
    if not fits:
        raise ValueError(f"{name} has the shape {tuple(weight.shape)}; give ({y.shape[-1]}), one for each output")
    return weight
