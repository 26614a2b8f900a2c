"""Which answers of a step are wrong, and how steep its activations are."""

import torch

from torchbp.explanation.notation.quantities import TARGET, d

WRONG = 0.1  # an answer is so far from y


def scale(explanation):
    """What is a large error of an answer: 1 for probabilities and other answers between bounds, otherwise the largest
    y."""
    step, last = explanation.step, explanation.chain.steps[-1]
    bounded = step.criterion.rule.domain is not None or (last.is_activation and last.rule.range is not None)
    return 1.0 if bounded else explanation.values[TARGET.name].abs().max().item() or 1.0


def errors(explanation):
    """|answer − y| of each answer that counts in the loss, and 0 of the others, (N, K)."""
    values, criterion = explanation.values, explanation.step.criterion
    answer = criterion.answer
    found = (criterion.as_target(values[answer.name]) - values[TARGET.name]).abs()
    return found.where(values[d(answer).name] != 0, 0.0)


def wrong(explanation):
    """Which answers, of (N, K), are far from their y, and count in the loss."""
    return errors(explanation) > WRONG * scale(explanation)


def slopes(explanation, step):
    """∂A/∂Z of an activation."""
    return step.derivative(explanation.values[step.gives.name], explanation.values[step.takes.name])


def is_finite(*tensors):
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
