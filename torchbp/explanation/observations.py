"""What there is to see in a step, in sentences: what keeps a network from learning, and what would help.

Advice is for what is wrong: answers that are far from their y, and layers that keep the gradient from changing them.
"""

import itertools
import math

import torch

from torchbp.explanation.equations import d
from torchbp.explanation.numeric_examples import largest, named, number
from torchbp.ops.rules import activation

FLAT = 0.01  # a slope below is saturated; σ has it at |z| > 4.6, tanh at |z| > 3
MOST = 0.5  # of the units are saturated
WRONG = 0.1  # an answer is so far from y
UNSCALED = 5  # the root of the mean of X² above it: X is not scaled
VANISHED = 100  # times smaller than at the last layer
HELP = {  # against a gradient that vanishes: by where most of it is lost
    "sigmoid": "the sigmoids, which let at most ¼ through: fewer layers, or relu or tanh in their place, help.",
    "tanh": "the tanh units, which let less through the nearer they are to −1 or 1: smaller first weights, or relu in "
    "their place, help.",
    "relu": "the relu units that are off, which let nothing through: larger first biases help.",
    "linear": "the weights, which are small: larger first weights help.",
}


def observations(explanation):
    return [
        *alike(explanation),
        *saturated(explanation),
        *stuck(explanation),
        *product(explanation),
        *vanishing(explanation),
        *overshot(explanation),
    ]


def alike(explanation):
    """Layers whose units learn the same: those that are one another's copies, in all that they take and give, so that
    their gradients differ by the order of sums at most."""
    steps = linear(explanation)
    for step, above in itertools.pairwise(steps):
        values = explanation.values
        taken = [name for name in (step.weight, step.bias) if name in explanation.chain.parameters]
        rows = [values[name] for name in taken] + [values[above.weight].T]
        count = len(rows[0])
        if count > 1 and all(map(same, rows)):
            zero = " (it is 0)" if not values[d(step.weight)].any() else ""
            yield (
                f"All {count} units of layer {step.number} have the same weights and get the same gradient{zero}"
                ": they stay equal for ever, one unit in many copies. Random first weights break the symmetry."
            )


def same(rows):
    return (rows == rows[0]).all()


def wrong(explanation):
    """Which answers, of (N, K), are far from their y, and count in the loss."""
    derivation, y = explanation.derivation, explanation.values["y"]
    bounded = derivation.kind != "squared" or explanation.chain.steps[-1].kind in ("sigmoid", "tanh")
    size = 1.0 if bounded else y.abs().max().item() or 1.0
    far = (explanation.values[derivation.answer] - y).abs() > WRONG * size
    return far & (explanation.values[d(derivation.answer)] != 0)


def slope(kind, a):
    """∂A/∂Z, by A."""
    return activation(kind).backward(torch.ones_like(a), a)


def saturated(explanation):
    """Hidden layers that let little through, in the rows whose answers are wrong."""
    rows = wrong(explanation).any(1)
    where = "" if rows.all() else " in the rows with wrong answers"
    for step in explanation.chain.steps[:-1]:
        if step.kind == "linear" or not rows.any():
            continue
        a = explanation.values[step.gives][rows]
        flat, count = int((slope(step.kind, a) < FLAT).sum()), a.numel()
        if step.kind == "relu":
            if flat == count:
                yield (
                    f"All of {step.gives} is 0{where}: its relu units are off, and no gradient comes through. Larger "
                    "first biases help."
                )
        elif flat > MOST * count:
            how_many = f"All of {step.gives} is" if flat == count else f"{flat} of {count} numbers of {step.gives} are"
            unscaled = step.takes == "Z1" and explanation.values["X"].double().square().mean().sqrt() > UNSCALED
            yield (
                f"{how_many} saturated{where}: the slope of {step.kind} is under {FLAT} there, and so little of the "
                f"gradient comes through. Smaller first weights{', scaled inputs' if unscaled else ''} or relu help."
            )


def stuck(explanation):
    """A last activation whose slope keeps the squared error of a wrong answer from changing it."""
    last, derivation = explanation.chain.steps[-1], explanation.derivation
    if derivation.kind != "squared" or last.kind == "linear":
        return
    a, y = explanation.values[last.gives], explanation.values["y"]
    slopes = slope(last.kind, a)
    found = wrong(explanation) & (slopes < FLAT)
    if not found.any():
        return
    place = largest((a - y).where(found, 0.0))
    helps = "The cross-entropy, BCEWithLogitsLoss without the last Sigmoid, helps: it has no such factor."
    if last.kind != "sigmoid" or ((y < 0) | (y > 1)).any():
        helps = f"A network that does not end with {last.kind} helps."
    yield (
        f"{named(last.gives, place)} = {number(a[place])} is far from its y = {number(y[place])}, and almost nothing "
        f"changes it: the slope of {last.kind} is {number(slopes[place])} there. {helps}"
    )


def product(explanation):
    """Where the network is wrong, dZ = (A − y)/N is right, and the product dA ∘ A ∘ (1 − A) is almost 0."""
    derivation, last = explanation.derivation, explanation.chain.steps[-1]
    if derivation.kind == "squared":
        return
    a = explanation.values[derivation.answer]
    z = explanation.chain.output if derivation.logits else last.takes
    first, second = (factor.tensor for factor in explanation[d(z)].factors)
    exact = explanation.values[d(z)] if derivation.logits else error(explanation, a)
    found = wrong(explanation) & ((first * second).abs() < FLAT * exact.abs())
    if not found.any():
        return
    place = largest(exact.where(found, 0.0))
    near = (
        f"{named(derivation.answer, place)} is so near to 0 or 1 that the product of the two factors of "
        f"{named(d(z), place)} is {number((first * second)[place])}"
    )
    if derivation.logits:
        yield (
            f"A loss of probabilities would not learn here: {near}; what the loss of logits uses in its place is "
            f"exact: {number(exact[place])}."
        )
    else:
        yield (
            f"The loss of probabilities does not learn here: {near}. BCEWithLogitsLoss without the last Sigmoid helps: "
            f"it is exact, {number(exact[place])}."
        )


def error(explanation, a):
    """dL/dZ = w (A − y)/N of a loss of probabilities."""
    of = explanation.derivation
    dz = (a - explanation.values["y"]) * (1.0 if of.weight is None else of.weight)
    return dz / a.numel() if of.mean else dz


def vanishing(explanation):
    norms = explanation.norms()
    if not (len(norms) > 1 and 0 < norms[0] * VANISHED < norms[-1] < math.inf and wrong(explanation).any()):
        return
    times = losses(explanation)
    yield (
        f"The gradient vanishes on its way back: ‖dL/dZ‖ is {number(norms[-1])} at layer {len(norms)} and "
        f"{number(norms[0])} at layer 1, {many(norms[-1] / norms[0])} times less. "
        f"Most is lost in {HELP[max(times, key=times.get)]}"
    )


def losses(explanation):
    """By the kind of layer, how many times less comes out of it than goes in, on the way from the last Z to Z1."""
    steps, times = explanation.chain.steps, {}
    first, *_, last = (steps.index(step) for step in linear(explanation))
    for step in steps[first + 1 : last + 1]:
        above, below = (explanation.values[d(name)].double().norm().item() for name in (step.gives, step.takes))
        times[step.kind] = times.get(step.kind, 1.0) * (above / below)
    return times


def many(times):
    return f"{times:,.0f}" if times < 1e9 else number(times)


def overshot(explanation):
    loss, rounding = explanation.loss, 16 * torch.finfo(explanation.values["L"].dtype).eps
    if math.isfinite(loss) and not explanation.new_loss <= loss + rounding * abs(loss):  # nor is nan
        yield "The loss went up: the step was longer than the slope holds. A smaller learning rate helps."


def linear(explanation):
    return [step for step in explanation.chain.steps if step.kind == "linear"]
