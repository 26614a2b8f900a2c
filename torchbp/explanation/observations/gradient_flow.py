"""What becomes of the gradient on its way back: it stops, vanishes, explodes or overflows."""

import math

import torch

from torchbp.explanation.notation.numbers import formatted
from torchbp.explanation.notation.quantities import INPUT, Quantity, d
from torchbp.explanation.notation.rounding import rounding_of
from torchbp.explanation.notation.words import either
from torchbp.explanation.observations.answers import is_finite, slopes, wrong
from torchbp.ops.rules import Activation

TIMES = 100  # smaller, or larger, than at the last layer
WEIGHTS = "the weights"


def overflow(explanation):
    """The first quantity of the two passes that is not finite, and from which others are computed."""
    helps = ["A smaller learning rate"] if explanation.number > 1 else []
    helps += ["smaller first weights", "scaled inputs"]
    if explanation.values[INPUT.name].dtype != torch.float64:
        helps.append("a dtype of larger numbers")
    helps[0] = helps[0].capitalize()
    criterion = explanation.step.criterion
    for record in explanation.records:
        if record.stage in ("forward", "loss", "backward") and not is_finite(record.tensor):
            z = d(criterion.output)
            if record.quantity == d(criterion.answer) != z and is_finite(explanation.values[z.name]):
                loss = type(explanation.step.loss).__name__
                yield [
                    record.quantity,
                    " holds inf or nan, since an answer is almost 0 or 1. Nothing is computed from it: "
                    f"{loss} computes ",
                    z,
                    " in one formula.",
                ]
                continue
            yield [
                "Numbers overflow: ",
                record.quantity,
                f" holds inf or nan, and so may all that follows from it. {either(helps)} help.",
            ]
            return


def stopped(explanation):
    """The step below the last layer's output at which the gradient becomes exactly 0, in all rows, or None."""
    values = explanation.values
    for step in reversed(_on_the_way(explanation)):
        above, below = values[d(step.gives).name], values[d(step.takes).name]
        if above.any() and not below.any():
            return step
    return None


def layers_below(explanation, step):
    """Which layers the gradient of what a step takes belongs to, in words: layers 1 to 3."""
    first = explanation.chain.first_number
    last = step.takes.number
    return f"layer {last}" if first == last else f"layers {first} to {last}"


def cut_off(explanation):
    """A gradient that is exactly 0 from some layer down. Of units that are all off `off` says it."""
    step = stopped(explanation)
    if step is None or all_off(explanation, step):
        return
    above, below = d(step.gives), d(step.takes)
    begin = [f"No gradient comes through to {layers_below(explanation, step)}: ", below]
    if step.is_activation:
        if not slopes(explanation, step)[explanation.values[above.name] != 0].any():
            slope = f" is exactly 0, since the slope of {step.rule.name} is 0, or rounds to it, wherever "
            yield [*begin, slope, above, " is not 0."]
        else:
            yield [*begin, " is exactly 0, since each product of ", above, f" and the slope of {step.rule.name} is 0."]
        return
    weights = [q for _, q in step.parameters if explanation.values[q.name].dim() == 2]
    if weights and not any(explanation.values[q.name].any() for q in weights):
        helps = " Random first weights help." if wrong(explanation).any() else ""
        yield [*begin, " is exactly 0, since ", weights[0], f" is 0.{helps}"]
        return
    size = rounding_of(explanation[below.name].sides[0], explanation.step.symbols)
    why = "the terms of each sum cancel" if size.any() else "every product is 0, or too small for a number of its dtype"
    yield [*begin, f" is exactly 0, since {why}."]


def all_off(explanation, step):
    """Whether no unit of an activation such as relu lets anything through, in any row."""
    return step.is_activation and step.rule.flat == "left" and not slopes(explanation, step).any()


def vanishing(explanation):
    norms = explanation.norms()
    if len(norms) > 1 and 0 < norms[0] * TIMES < norms[-1] < math.inf and wrong(explanation).any():
        times = gains(explanation)
        lost = min(times, key=times.get)
        yield [
            *_from_last_to_first(explanation, norms, "vanishes", norms[-1] / norms[0], "less"),
            f"Most is lost in {_lost_in(explanation, lost)}",
        ]


def exploding(explanation):
    norms = explanation.norms()
    if len(norms) > 1 and 0 < norms[-1] * TIMES < norms[0] < math.inf and wrong(explanation).any():
        times = gains(explanation)
        gained = max(times, key=times.get)
        yield [
            *_from_last_to_first(explanation, norms, "explodes", norms[0] / norms[-1], "more"),
            f"Most comes from {_gained_in(explanation, gained)}.",
        ]


def _gained_in(explanation, rule):
    """Where the gradient grows, and what helps against it."""
    if isinstance(rule, Activation):
        return f"the {rule.name} units, whose slope is up to {rule.steepest:g}"
    if not _multiplies(explanation, rule):
        return f"the {rule.name}"
    return f"{WEIGHTS}, which are large: smaller first weights help"


def _multiplies(explanation, rule):
    """Whether the layers of a rule multiply by a matrix of weights."""
    steps = [step for step in explanation.chain.steps if step.rule is rule]
    return any(explanation.values[q.name].dim() == 2 for step in steps for _, q in step.parameters)


def _from_last_to_first(explanation, norms, verb, times, than):
    first, last = explanation.chain.first_number, len(explanation.chain.layers)
    return [
        f"The gradient {verb} on its way back: ‖",
        d(Quantity("Z")),
        f"‖ is {formatted(norms[-1])} at layer {last} and {formatted(norms[0])} at layer {first}, "
        f"{_many(times)} times {than}. ",
    ]


def _lost_in(explanation, rule):
    """Where the gradient is lost, and what helps against it."""
    if not isinstance(rule, Activation):
        if not _multiplies(explanation, rule):
            return f"the {rule.name}."
        if _cancels(explanation, rule):
            return f"{WEIGHTS}, whose products with it cancel: other random first weights help."
        return f"{WEIGHTS}, which are small: larger first weights help."
    instead = f", or {rule.instead} in their place," if rule.instead else ""
    if rule.flat == "left":
        found = [slopes(explanation, s).abs() for s in explanation.chain.steps if s.rule is rule]
        little = "nothing" if all(((s == 0) | (s > 0.1)).all() for s in found) else "little"
        return f"the {rule.name} units that are off, which let {little} through: larger first biases help."
    if rule.steepest < 1:
        return f"the {rule.name} units, which let at most {rule.steepest:g} of it through: fewer layers{instead} help."
    if rule.flat == "nowhere":
        return f"the {rule.name} units, whose slope is small where they let little through: larger first biases help."
    return f"the {rule.name} units, which let less through where they are flat: smaller first weights{instead} help."


def _on_the_way(explanation):
    """The steps between the last Z and the first."""
    chain = explanation.chain
    last = max(place for place, step in enumerate(chain.steps) if step.is_layer)
    return chain.steps[chain.first + 1 : last + 1]


def gains(explanation):
    """By the rule, how many times more comes out of its steps than goes in, on the way from the last Z to the first."""
    times = {}
    for step in _on_the_way(explanation):
        above, below = (explanation.values[d(q).name].double().norm().item() for q in (step.gives, step.takes))
        times[step.rule] = times.get(step.rule, 1.0) * (below / above)
    return times


def _cancels(explanation, rule):
    """Whether what is lost in the layers of a rule is lost by sums that cancel, more than by small products."""
    small = cancelled = 0.0
    for step in _on_the_way(explanation):
        if step.rule is rule:
            above, below = (explanation.values[d(q).name].double().norm().item() for q in (step.gives, step.takes))
            size = rounding_of(explanation[d(step.takes).name].sides[0], explanation.step.symbols)
            whole = size.double().norm().item()
            small += math.log(above / whole)
            cancelled += math.log(whole / below)
    return cancelled > max(small, 0.0)


def _many(times):
    return f"{times:,.0f}" if times < 1e9 else formatted(times)
