"""What the records are compared with: the same quantities by torch's own layers and loss, or the user's own where they
are of the user's classes, autograd and SGD."""

import math

import torch

from torchbp.explanation.quantities import INPUT, LOSS, TARGET, d
from torchbp.explanation.reference_modules import reference_module


def share(step):
    """How much one answer counts in L: 1/N, times the largest weights."""
    weights = [value.abs().max().item() for value in step.criterion.options.values() if isinstance(value, torch.Tensor)]
    return math.prod([1.0, *weights]) / float(step.criterion.divisor)


def by_torch(step, dtype=None):
    """Each record's tensor, by torch's own layers and loss, autograd and torch.optim.SGD; in another dtype if given."""
    chain, values = step.chain, {name: value.to(dtype) for name, value in step.values.items()}
    found = {name: values[name].clone().requires_grad_() for name in chain.start}
    with torch.enable_grad():
        outputs, loss = _passes(step, found, values)
        names = [*(name for name, a in outputs.items() if a.requires_grad), *found]
        gradients = torch.autograd.grad(loss, [{**outputs, **found}[name] for name in names])
        gradients = dict(zip(names, gradients, strict=True))
        references = {**outputs, LOSS.name: loss}
        references |= {d(q).name: gradients[q.name] for q in _quantities(chain) if q.name in gradients}
        if step.criterion.rule.answers:
            references[step.criterion.answer.name] = _answers_of(
                step.criterion.rule.answers, outputs[chain.output.name]
            )
            references[d(step.criterion.answer).name] = _slope_of_answers(step, values)
    learnt = [found[quantity.name] for quantity in step.learnt]
    if learnt:
        for p, quantity in zip(learnt, step.learnt, strict=True):
            p.grad = references[d(quantity).name]
        torch.optim.SGD(learnt, lr=step.lr).step()
    with torch.no_grad():  # from the recorded new parameters: a long step would magnify their rounding
        outputs, loss = _passes(step, {name: values[f"{name}′"] for name in found}, values)
        references |= {f"{name}′": tensor for name, tensor in {**found, **outputs, LOSS.name: loss}.items()}
        if step.criterion.rule.answers:
            references[step.criterion.answer.after().name] = _answers_of(
                step.criterion.rule.answers, outputs[chain.output.name]
            )
    return {name: tensor.detach() for name, tensor in references.items()}


def _quantities(chain):
    """All outputs and parameters of the network."""
    return [q for step in chain.steps for q in (step.gives, *(quantity for _, quantity in step.parameters))]


def _passes(step, parameters, values):
    """Each layer's output of X, and the loss against y, by the modules alone."""
    outputs = step.chain.forward(parameters, values[INPUT.name].clone(), reference=True)
    del outputs[INPUT.name]
    output = outputs[step.chain.output.name]
    return outputs, reference_module(step.loss, output)(output, values[TARGET.name])


def _answers_of(rule, logits):
    """The answers of a loss that takes logits, by the module of its activation; by the rule where there is none."""
    return rule.forward(logits) if rule.known_class is None else rule.known_class()(logits)


def loss_of_answers(step, a, values):
    """The loss of logits as a function of the answers, by its equation."""
    each = step.criterion.tree("equation").evaluate({**step.symbols, **values, step.criterion.answer.name: a})
    return each.sum() / step.criterion.divisor


def _slope_of_answers(step, values):
    """The derivative of that by autograd; where torch bounds it, by the bounded expression."""
    a = values[step.criterion.answer.name].clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss_of_answers(step, a, values), a)
    bounded = step.bounded
    if bounded.any():
        computed = (
            step.criterion.tree("slope", computed=True).evaluate({**step.symbols, **values}) / step.criterion.divisor
        )
        slope = computed.where(bounded, slope)
    return slope
