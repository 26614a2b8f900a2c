"""Sentences on a step: what keeps the network from learning, and what would help.

A sentence is a list of texts and quantities. Advice is for what is wrong: answers that are far from their y, and layers
that keep the gradient from changing them.
"""

import itertools
import math

import torch

from torchbp.explanation.numbers import formatted
from torchbp.explanation.numeric_examples import largest_place, named
from torchbp.explanation.quantities import INPUT, LOSS, TARGET, Quantity, d
from torchbp.explanation.words import class_name, either
from torchbp.ops.registry import rules
from torchbp.ops.rules import Activation, Loss

FLAT = 0.01  # a slope below is saturated; σ has it at |z| > 4.6, tanh at |z| > 3
MOST = 0.5  # of the units are saturated
WRONG = 0.1  # an answer is so far from y
UNSCALED = 5  # the root of the mean of X² above it: X is not scaled
VANISHED = 100  # times smaller than at the last layer


def observations(explanation):
    return [
        *_copies(explanation),
        *_saturated(explanation),
        *_stuck(explanation),
        *_rounded_product(explanation),
        *_vanishing(explanation),
        *overshot(explanation),
    ]


def _copies(explanation):
    """Layers whose units learn the same: those that are one another's copies, in all that they take and give, so that
    their gradients differ by the order of sums at most."""
    values = explanation.values
    for step, above in itertools.pairwise(explanation.chain.layers):
        connected = [values[q.name] for _, q in above.parameters if values[q.name].dim() == 2]
        rows = [values[q.name] for _, q in step.parameters] + [weight.T for weight in connected]
        if not connected or not step.parameters or len({len(tensor) for tensor in rows}) > 1:
            continue
        count = len(rows[0])
        if count > 1 and all(map(_same, rows)):
            _, first = step.parameters[0]
            zero = "" if d(first).name in values and values[d(first).name].any() else " (it is 0)"
            yield [
                f"All {count} units of layer {step.number} have the same weights and get the same gradient{zero}: they "
                "stay equal for ever, one unit in many copies. Random first weights break the symmetry."
            ]


def _same(rows):
    return (rows == rows[0]).all()


def _wrong(explanation):
    """Which answers, of (N, K), are far from their y, and count in the loss."""
    step, y, last = explanation.step, explanation.values[TARGET.name], explanation.chain.steps[-1]
    bounded = step.criterion.rule.domain is not None or (last.is_activation and last.rule.range is not None)
    size = 1.0 if bounded else y.abs().max().item() or 1.0
    far = (step.criterion.as_target(explanation.values[step.criterion.answer.name]) - y).abs() > WRONG * size
    return far & (explanation.values[d(step.criterion.answer).name] != 0)


def _slopes(explanation, step):
    """∂A/∂Z of an activation."""
    return step.derivative(explanation.values[step.gives.name], explanation.values[step.takes.name])


def _saturated(explanation):
    """Hidden layers that let little through, in the rows whose answers are wrong."""
    rows = _wrong(explanation).any(1)
    where = "" if rows.all() else " in the rows with wrong answers"
    for step in explanation.chain.steps[:-1]:
        if not step.is_activation or step.rule.flat == "nowhere" or not rows.any():
            continue
        found = _slopes(explanation, step)[rows].abs()
        flat, count, name = int((found < FLAT).sum()), found.numel(), step.gives.name
        slope = f"the slope of {step.rule.name}"
        if step.rule.flat == "left":
            if flat == count:
                yield [
                    f"All units of {name} are off{where}: {slope} is 0 there, and no gradient comes through. Larger "
                    "first biases help."
                ]
        elif flat > MOST * count:
            how_many = f"All of {name} is" if flat == count else f"{flat} of {count} numbers of {name} are"
            helps = ["Smaller first weights"]
            if step.takes == explanation.chain.layers[0].gives and _is_unscaled(explanation.values[INPUT.name]):
                helps.append("scaled inputs")
            helps += [step.rule.instead] if step.rule.instead else []
            yield [
                f"{how_many} saturated{where}: {slope} is under {FLAT} there, so little of the gradient comes through. "
                f"{either(helps)} help."
            ]


def _is_unscaled(x):
    return x.double().square().mean().sqrt() > UNSCALED


def _stuck(explanation):
    """A last activation whose slope keeps the loss of a wrong answer from changing it."""
    last, step = explanation.chain.steps[-1], explanation.step
    if step.criterion.rule.answers is not None or step.criterion.rule.domain is not None or not last.is_activation:
        return
    a, y, found = explanation.values[last.gives.name], explanation.values[TARGET.name], _slopes(explanation, last)
    where = _wrong(explanation) & (found.abs() < FLAT)
    if not where.any():
        return
    place = largest_place((a - y).where(where, 0.0))
    of_logits = next((rule for rule in rules(Loss).values() if rule.answers is last.rule), None)
    remedy = f"A network that does not end with {last.rule.name} helps."
    if of_logits and of_logits.domain and of_logits.domain[0] <= y.min() and y.max() <= of_logits.domain[1]:
        without = f"{class_name(of_logits)} without the last {type(last.module).__name__}"
        remedy = f"The cross-entropy, {without}, helps: it has no such factor."
    yield [
        f"{named(last.gives.name, place)} = {formatted(a[place])} is far from its y = {formatted(y[place])}, and "
        f"almost nothing changes it: the slope of {last.rule.name} is {formatted(found[place])} there. {remedy}"
    ]


def _rounded_product(explanation):
    """Where the network is wrong, and the product of dL/dA and the slope, by which a loss of answers computes dL/dZ, is
    almost 0, although dL/dZ is not: a loss of logits computes it right."""
    step, last = explanation.step, explanation.chain.steps[-1]
    form = _logit_form(explanation)
    if form is None or not isinstance(form.answers, Activation):
        return
    logits = step.criterion.rule.answers is not None
    z = explanation.chain.output if logits else last.takes
    first, second = (factor.tensor for factor in explanation[d(z).name].factors)
    exact = explanation.values[d(z).name]
    if not logits:
        options = {name: step.criterion.options.get(name) for name in form.options}
        exact = (
            form.derivative(explanation.values[z.name], explanation.values[TARGET.name], **options)
            / step.criterion.divisor
        )
    found = _wrong(explanation) & ((first * second).abs() < FLAT * exact.abs())
    if not found.any():
        return
    place = largest_place(exact.where(found, 0.0))
    product, true = formatted((first * second)[place]), formatted(exact[place])
    near = [f"{named(step.criterion.answer.name, place)} has rounded to almost 0 or 1, and the two factors of ", d(z)]
    near += [f"{named('', place)} multiply to {product}, although the true derivative is {true}. "]
    if logits:
        loss = type(step.loss).__name__
        yield ["A loss of answers would not learn here: ", *near, f"{loss} computes ", d(z), " in one formula instead."]
    else:
        without = f"{class_name(form)} without the last {type(last.module).__name__}"
        yield [f"{type(step.loss).__name__} does not learn here: ", *near, f"{without} helps: it has no such product."]


def _logit_form(explanation):
    """The rule of the loss that takes the logits of the same answers, or None."""
    rule, last = explanation.step.criterion.rule, explanation.chain.steps[-1]
    if rule.answers is not None:
        return rule
    same = (other for other in rules(Loss).values() if other.answers is last.rule and other.of_answers is rule)
    return next(same, None)


def _vanishing(explanation):
    norms = explanation.norms()
    if not (len(norms) > 1 and 0 < norms[0] * VANISHED < norms[-1] < math.inf and _wrong(explanation).any()):
        return
    times, layers = _losses(explanation), len(explanation.chain.layers)
    first = layers - len(norms) + 1
    yield [
        "The gradient vanishes on its way back: ‖",
        d(Quantity("Z")),
        f"‖ is {formatted(norms[-1])} at layer {layers} and {formatted(norms[0])} at layer {first}, "
        f"{_many(norms[-1] / norms[0])} times less. Most is lost in {_lost_in(max(times, key=times.get))}",
    ]


def _lost_in(rule):
    """Where the gradient is lost, and what helps against it."""
    instead = f", or {rule.instead} in their place," if getattr(rule, "instead", None) else ""
    if not hasattr(rule, "flat"):
        return "the weights, which are small: larger first weights help."
    if rule.flat == "left":
        return f"the {rule.name} units that are off, which let nothing through: larger first biases help."
    if rule.steepest < 1:
        return f"the {rule.name} units, which let at most {rule.steepest:g} of it through: fewer layers{instead} help."
    return f"the {rule.name} units, which let less through where they are flat: smaller first weights{instead} help."


def _losses(explanation):
    """By the rule, how many times less comes out of its steps than goes in, on the way from the last Z to the first."""
    chain, times = explanation.chain, {}
    last = max(place for place, step in enumerate(chain.steps) if step.is_layer)
    for step in chain.steps[chain.first + 1 : last + 1]:
        above, below = (explanation.values[d(q).name].double().norm().item() for q in (step.gives, step.takes))
        times[step.rule] = times.get(step.rule, 1.0) * (above / below)
    return times


def _many(times):
    return f"{times:,.0f}" if times < 1e9 else formatted(times)


def overshot(explanation):
    loss, rounding = explanation.loss, 16 * torch.finfo(explanation.values[LOSS.name].dtype).eps
    if math.isfinite(loss) and not explanation.new_loss <= loss + rounding * abs(loss):  # nor is nan
        yield [
            "The loss went up: the step was too long. The slope at the start was no longer true at its end. A smaller "
            "learning rate helps."
        ]
