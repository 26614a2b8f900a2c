"""What is to be said of the step as a whole: copies of units, frozen parameters, a minimum, a loss that went up."""

import itertools
import math

import torch

from torchbp.explanation.comparison.references import share
from torchbp.explanation.notation.numbers import formatted
from torchbp.explanation.notation.quantities import LOSS, d
from torchbp.explanation.notation.rounding import rounding_of
from torchbp.explanation.observations.answers import errors, is_finite, scale, wrong

ALMOST = 1e-6  # of the size of its terms, a gradient is 0 up to rounding
NAMED = 6  # frozen parameters that are named


def copies(explanation):
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


def frozen(explanation):
    """Parameters that the step does not change, since they ask for no gradient."""
    step = explanation.step
    found = [q for _, q in (pair for layer in explanation.chain.layers for pair in layer.parameters)]
    still = [q for q in found if q not in step.learnt]
    if still and not step.learnt:
        yield ["All parameters are frozen (requires_grad is False): the step changes nothing."]
    elif still:
        names = [part for q in still[:NAMED] for part in (", ", q)][1:]
        if len(still) > NAMED:
            names.append(f" and {len(still) - NAMED} more")
        elif len(still) > 1:
            names[-2] = " and "
        are, them = ("are", "them") if len(still) > 1 else ("is", "it")
        yield [*names, f" {are} frozen (requires_grad is False): the step does not change {them}."]


def at_rest(explanation):
    """Gradients that are all 0, up to rounding: where the answers are right, the minimum is reached."""
    step = explanation.step
    records = [explanation[d(q).name] for q in step.learnt]
    last = explanation.values[d(explanation.chain.layers[-1].gives).name]
    if not records or not is_finite(last, *(record.tensor for record in records)):
        return
    small = last.abs().max().item() <= ALMOST * share(step) * scale(explanation)
    if small and not wrong(explanation).any():
        far, norm = errors(explanation).max().item(), math.sqrt(explanation.squared_norm())
        exact = "each answer is its y, and every gradient is 0"
        up_to = f" up to {formatted(far, 1)}" if far else ""
        near = f"each answer is its y{up_to}, and the gradient's norm is {formatted(norm, 1)}"
        yield [f"The minimum is reached: {near if far or norm else exact}."]
    elif not small and all(map(_cancels, records, itertools.repeat(step))):
        yield [
            "Every gradient is 0, up to rounding, since the parts of the rows cancel"
            f"{': the step changes nothing' if step.descent.is_plain else ''}. This is a minimum, or a saddle or a "
            "plateau of the loss; one step does not tell which."
        ]


def _cancels(record, step):
    """Whether a gradient is 0 up to the rounding of the terms that it adds up."""
    size = rounding_of(record.sides[0], step.symbols)
    return bool((record.tensor.abs() <= ALMOST * size).all())


def overshot(explanation):
    loss, rounding = explanation.loss, 16 * torch.finfo(explanation.values[LOSS.name].dtype).eps
    if not math.isfinite(loss) or explanation.new_loss <= loss + rounding * abs(loss):
        return
    if explanation.slope() < 0:  # of plain gradient descent it is not
        descent = explanation.step.descent
        more = ["earlier gradients"] * bool(descent.kept) + ["weight decay"] * bool(descent.settings["weight_decay"])
        yield [f"The loss went up: the step led uphill, since it follows {' and '.join(more)} beside this gradient."]
    else:  # to nan too
        yield [
            "The loss went up: the step was too long. The slope at the start was no longer true at its end. A smaller "
            "learning rate helps."
        ]
