"""Units and answers whose slope is almost 0: they let little of the gradient through."""

from torchbp.explanation.notation.numbers import formatted
from torchbp.explanation.notation.numeric_examples import largest_place, named
from torchbp.explanation.notation.quantities import INPUT, TARGET, d
from torchbp.explanation.notation.words import class_name, either
from torchbp.explanation.observations.answers import slopes, wrong
from torchbp.explanation.observations.gradient_flow import all_off, layers_below
from torchbp.ops.registry import rules
from torchbp.ops.rules import Activation, Loss

FLAT = 0.01  # a slope below is saturated; σ has it at |z| > 4.6, tanh at |z| > 3
MOST = 0.5  # of the units are saturated
UNSCALED = 5  # the root of the mean of X² above it: X is not scaled


def off(explanation):
    """Hidden layers whose units are all off: in every row, or in those whose answers are wrong."""
    bad = wrong(explanation).any(1)
    for step in _hidden(explanation, "left"):
        name, slope, helps = step.gives.name, f"the slope of {step.rule.name}", " Larger first biases help."
        if all_off(explanation, step):
            every = " in every row" if len(bad) > 1 else ""
            yield [
                f"All units of {name} are off{every}: {slope} is 0 there, and no gradient comes through to "
                f"{layers_below(explanation, step)}.{helps if bad.any() else ''}"
            ]
        elif bad.any() and (slopes(explanation, step)[bad].abs() < FLAT).all():
            where = "" if bad.all() else " in the rows with wrong answers"
            yield [
                f"All units of {name} are off{where}: {slope} is under {FLAT} there, so little of the gradient comes "
                f"through.{helps}"
            ]


def _hidden(explanation, flat):
    """The activations before the last step, behind parameters, whose slope is flat there."""
    chain = explanation.chain
    activations = (step for step in chain.steps[chain.first : -1] if step.is_activation)
    return [step for step in activations if step.rule.flat == flat]


def saturated(explanation):
    """Hidden layers most of whose units are saturated, in the rows whose answers are wrong."""
    rows = wrong(explanation).any(1)
    if not rows.any():
        return
    where = "" if rows.all() else " in the rows with wrong answers"
    for step in _hidden(explanation, "both sides"):
        found = slopes(explanation, step)[rows].abs()
        flat, count, name = int((found < FLAT).sum()), found.numel(), step.gives.name
        if flat > MOST * count:
            how_many = f"All of {name} is" if flat == count else f"{flat} of {count} numbers of {name} are"
            helps = ["Smaller first weights"]
            if step.takes == explanation.chain.layers[0].gives and _is_unscaled(explanation.values[INPUT.name]):
                helps.append("scaled inputs")
            helps += [step.rule.instead] if step.rule.instead else []
            yield [
                f"{how_many} saturated{where}: the slope of {step.rule.name} is under {FLAT} there, so little of the "
                f"gradient comes through. {either(helps)} help."
            ]


def _is_unscaled(x):
    return x.double().square().mean().sqrt() > UNSCALED


def stuck(explanation):
    """A last activation whose slope keeps the loss of a wrong answer from changing it."""
    last, step = explanation.chain.steps[-1], explanation.step
    if step.criterion.rule.answers is not None or step.criterion.rule.domain is not None:
        return
    if not last.is_activation:
        return
    a, y, found = explanation.values[last.gives.name], explanation.values[TARGET.name], slopes(explanation, last)
    where = wrong(explanation) & (found.abs() < FLAT)
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


def applied_twice(explanation):
    """A last layer that the loss applies once more, as of a Softmax before the cross-entropy of logits."""
    last, answers = explanation.chain.steps[-1], explanation.step.criterion.rule.answers
    if answers is not None and last.rule is answers:
        name, loss = type(last.module).__name__, type(explanation.step.loss).__name__
        yield [
            f"{answers.name} is applied twice: the network ends with {name}, and {loss} applies it too, so that no "
            f"answer is sure. Leave the last {name} out."
        ]


def rounded_product(explanation):
    """Where the network is wrong, and the product of dL/dA and the slope, by which a loss of answers computes dL/dZ, is
    almost 0, although dL/dZ is not: a loss of logits computes it right."""
    step, last = explanation.step, explanation.chain.steps[-1]
    form = logit_form(explanation)
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
    found = wrong(explanation) & ((first * second).abs() < FLAT * exact.abs())
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


def logit_form(explanation):
    """The rule of the loss that takes the logits of the same answers, or None."""
    rule, last = explanation.step.criterion.rule, explanation.chain.steps[-1]
    if rule.answers is not None:
        return rule
    same = (other for other in rules(Loss).values() if other.answers is last.rule and other.of_answers is rule)
    return next(same, None)
