"""What there is to see in a step, in sentences: what keeps a network from learning, and what would help."""

import torch

from torchbp.explanation.equations import d
from torchbp.explanation.worked import number
from torchbp.ops.mlp import ACTIVATIONS

FLAT = 0.01  # a slope below is saturated; σ has it at |z| > 4.6
VANISHED = 100  # times smaller than at the last layer


def observations(explanation):
    return [
        *alike(explanation),
        *saturated(explanation),
        *product(explanation),
        *vanishing(explanation),
        *overshot(explanation),
    ]


def alike(explanation):
    """Layers whose units learn the same."""
    for step in linear(explanation)[:-1]:
        weight, gradient = explanation.values[step.weight], explanation.values[d(step.weight)]
        if (
            len(weight) > 1
            and (weight == weight[0]).all()
            and torch.allclose(gradient, gradient[0].expand_as(gradient), rtol=1e-6, atol=0)
        ):
            zero = " (it is 0)" if not gradient.any() else ""
            yield (
                f"All {len(weight)} units of layer {step.number} have the same weights and get the same gradient{zero}"
                ": they stay equal for ever, one unit in many copies. Random first weights break the symmetry."
            )


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
    """Where dZ = (A − y)/N is right and the product dA ∘ A ∘ (1 − A) is not."""
    if not explanation.derivation.logits:
        return
    record = explanation[d(explanation.chain.output)]
    first, second = record.factors
    off = (first.tensor * second.tensor - record.tensor).abs()
    if off.max() > 1e-3 * record.tensor.abs().max():
        place = tuple(int(i) for i in (off == off.max()).nonzero()[0])
        name = f"{record.name}[{','.join(str(i + 1) for i in place)}]"
        yield (
            f"A loss of probabilities would not learn here: A is so near to 0 or 1 that the product of the two "
            f"factors of {name} is {number((first.tensor * second.tensor)[place])}; what the loss of logits uses in "
            f"its place is exact: {number(record.tensor[place])}."
        )


def vanishing(explanation):
    norms = explanation.norms()
    if len(norms) > 1 and 0 < norms[0] * VANISHED < norms[-1]:
        kinds = {step.kind for step in explanation.chain.steps}
        help = "Each sigmoid lets at most ¼ through; fewer layers, relu or tanh help."
        help = help if "sigmoid" in kinds else "Fewer layers, or larger first weights, help."
        yield (
            f"The gradient vanishes on its way back: ‖dZ‖ is {number(norms[-1])} at layer {len(norms)} and "
            f"{number(norms[0])} at layer 1, {many(norms[-1] / norms[0])} times less. {help}"
        )


def many(times):
    return f"{times:,.0f}" if times < 1e9 else number(times)


def overshot(explanation):
    if explanation.new_loss > explanation.loss:
        yield "The loss went up: the step was longer than the slope holds. A smaller learning rate helps."


def linear(explanation):
    return [step for step in explanation.chain.steps if step.kind == "linear"]
