"""What there is to see in a step, in sentences: what keeps a network from learning, and what would help."""

import itertools
import math

import torch

from torchbp.explanation.equations import d
from torchbp.explanation.worked import largest, named, number
from torchbp.ops.mlp import ACTIVATIONS

FLAT = 0.01  # a slope below is saturated; σ has it at |z| > 4.6
WRONG = 0.1  # an answer is so far from y
VANISHED = 100  # times smaller than at the last layer
HELP = {  # against a gradient that vanishes: by the activation that lets least of it through
    "sigmoid": "Each sigmoid lets at most ¼ through; fewer layers, relu or tanh help.",
    "tanh": "Each tanh lets all through where its unit is near 0, and almost nothing where it is near −1 or 1; weights "
    "that keep the units between, or relu, help.",
    "relu": "A relu takes nothing away where its unit is on: small weights, or units that are off, did this. Larger "
    "first weights help.",
    "linear": "There is no activation that takes it away: the weights are small. Larger first weights help.",
}


def observations(explanation):
    return [
        *alike(explanation),
        *saturated(explanation),
        *product(explanation),
        *vanishing(explanation),
        *overshot(explanation),
    ]


def alike(explanation):
    """Layers whose units learn the same: those that are one another's copies, in all that they take and give."""
    steps = linear(explanation)
    for step, above in itertools.pairwise(steps):
        values = explanation.values
        taken = [name for name in (step.weight, step.bias) if name in explanation.chain.parameters]
        rows = [values[name] for name in taken] + [values[above.weight].T]
        slopes = [values[d(name)] for name in taken] + [values[d(above.weight)].T]
        count = len(rows[0])
        if count > 1 and all(map(same, rows)) and all(map(nearly, slopes)):
            zero = " (it is 0)" if not slopes[0].any() else ""
            yield (
                f"All {count} units of layer {step.number} have the same weights and get the same gradient{zero}"
                ": they stay equal for ever, one unit in many copies. Random first weights break the symmetry."
            )


def same(rows):
    return (rows == rows[0]).all()


def nearly(rows):
    """The same, but for the order of the sums."""
    return torch.allclose(rows, rows[0].expand_as(rows), rtol=1e-6, atol=0)


def saturated(explanation):
    for step in explanation.chain.steps:
        if step.kind not in ("sigmoid", "tanh"):
            continue
        a = explanation.values[step.gives]
        flat = (ACTIVATIONS[step.kind][2](torch.ones_like(a), a) < FLAT).double().mean().item()
        if flat > 0.5:
            yield (
                f"{flat:.0%} of {step.gives} is saturated: its slope is under {FLAT}, and so little of the gradient "
                "comes through. Smaller first weights, scaled inputs or relu help."
            )


def product(explanation):
    """Where the network is wrong, dZ = (A − y)/N is right, and the product dA ∘ A ∘ (1 − A) is almost 0."""
    derivation = explanation.derivation
    if not derivation.logits:
        return
    record = explanation[d(explanation.chain.output)]
    first, second = (factor.tensor for factor in record.factors)
    wrong = (explanation.values[derivation.answer] - explanation.values["y"]).abs() > WRONG
    lost = (first * second).abs() < FLAT * record.tensor.abs()
    if (wrong & lost).any():
        place = largest(record.tensor.where(wrong & lost, 0.0))
        yield (
            f"A loss of probabilities would not learn here: A is so near to 0 or 1 that the product of the two "
            f"factors of {named(record.name, place)} is {number((first * second)[place])}; what the loss of logits "
            f"uses in its place is exact: {number(record.tensor[place])}."
        )


def vanishing(explanation):
    norms = explanation.norms()
    if len(norms) > 1 and 0 < norms[0] * VANISHED < norms[-1]:
        kinds = {step.kind for step in explanation.chain.steps}
        yield (
            f"The gradient vanishes on its way back: ‖dZ‖ is {number(norms[-1])} at layer {len(norms)} and "
            f"{number(norms[0])} at layer 1, {many(norms[-1] / norms[0])} times less. "
            f"{next(help for kind, help in HELP.items() if kind in kinds)}"
        )


def many(times):
    return f"{times:,.0f}" if times < 1e9 else number(times)


def overshot(explanation):
    loss, rounding = explanation.loss, 16 * torch.finfo(explanation.values["L"].dtype).eps
    if math.isfinite(loss) and not explanation.new_loss <= loss + rounding * abs(loss):  # nor is nan
        yield "The loss went up: the step was longer than the slope holds. A smaller learning rate helps."


def linear(explanation):
    return [step for step in explanation.chain.steps if step.kind == "linear"]
