"""What the records are compared with: the same quantities by torch's own layers and loss, or the user's own where they
are of the user's classes, autograd and SGD."""

import math

import torch

from torchbp.explanation.comparison.reference_modules import reference_module
from torchbp.explanation.notation import equations
from torchbp.explanation.notation.equations import N
from torchbp.explanation.notation.quantities import INPUT, LOSS, d


def share(step):
    """How much one answer counts in L: 1/N, times the largest weights."""
    weights = [value.abs().max().item() for value in step.criterion.options.values() if isinstance(value, torch.Tensor)]
    return math.prod([1.0, *weights]) / float(step.criterion.divisor)


def by_torch(step, dtype=None):
    """Each record's tensor, by torch's own layers and loss, autograd and torch.optim.SGD; in another dtype if given."""
    chain, values = step.chain, {name: value.to(dtype) for name, value in step.values.items()}
    inputs = {name: values[name].clone().requires_grad_() for name in (*chain.start, INPUT.name)}
    with torch.enable_grad():
        outputs, loss = _passes(step, inputs, inputs[INPUT.name])
        found = {**outputs, **inputs}
        gradients = torch.autograd.grad(loss, list(found.values()), retain_graph=True)
        references = {**outputs, LOSS.name: loss}
        parts = _parts(step, found)
        references |= parts
        quantities = [INPUT, *_quantities(chain)]
        gradients = dict(zip(found, gradients, strict=True))
        references |= {d(q).name: gradients[q.name] for q in quantities}
        references |= _derivatives_of_parts(step, {**found, **parts}, references)
        if step.criterion.rule.answers:
            references[step.criterion.answer.name] = _answers_of(step.criterion.rule, outputs[chain.output.name])
            references[d(step.criterion.answer).name] = _slope_of_answers(step, values)
    # of the recorded gradients, and forward from the recorded new parameters: a long step would magnify their rounding
    if step.learnt:
        learnt = {q.name: values[q.name].clone().requires_grad_() for q in step.learnt}
        references |= step.descent.by_torch(learnt, {q.name: values[d(q).name] for q in step.learnt}, dtype)
    with torch.no_grad():
        outputs, loss = _passes(step, {name: values[f"{name}′"] for name in chain.start}, values[INPUT.name])
        known = {name: values[f"{name}′"] for name in chain.start} | outputs | {INPUT.name: values[INPUT.name]}
        references |= {
            f"{name}′": tensor for name, tensor in {**outputs, LOSS.name: loss, **_parts(step, known)}.items()
        }
        if step.criterion.rule.answers:
            references[step.criterion.answer.after().name] = _answers_of(
                step.criterion.rule, outputs[chain.output.name]
            )
    return {name: tensor.detach() for name, tensor in references.items()}


def _quantities(chain):
    """All outputs and parameters of the network."""
    return [q for step in chain.steps for q in (step.gives, *(quantity for _, quantity in step.parameters))]


def _parts(step, found):
    """The quantities on the way to what the layers give, such as the mean of a row, by their equations: torch's modules
    do not show them."""
    parts = {}
    known = {N.name: step.criterion.rows, **_constants(step, found)}
    for s in step.chain.steps:
        for quantity, tree, _ in equations.parts_of(s):
            parts[quantity.name] = tree.evaluate({**known, **found, **parts})
    return parts


def _constants(step, like):
    """The constants of the layers, in the dtype of the inputs."""
    return {name: tensor.to(like[INPUT.name].dtype) for name, tensor in step.chain.constants.items()}


def _derivatives_of_parts(step, values, references):
    """∂L/∂U of the parts, by autograd: of the equation of what the layer gives, from ∂L/∂Z."""
    found, known = {}, {N.name: step.criterion.rows, **_constants(step, values), **values}
    for s in step.chain.steps:
        quantities = [derivative.by for derivative, _, _ in equations.backward_parts_of(s)]
        if quantities:
            z = equations.in_step(s, s.tree("equation")).evaluate(known)
            parts = [values[q.name] for q in quantities]
            slopes = torch.autograd.grad(z, parts, references[d(s.gives).name], retain_graph=True)
            found |= {d(q).name: slope for q, slope in zip(quantities, slopes, strict=True)}
    return found


def _passes(step, parameters, x):
    """Each layer's output of X, and the loss against the target, by the modules alone."""
    outputs = step.chain.forward(parameters, x, reference=True)
    del outputs[INPUT.name]
    return outputs, loss_by_torch(step.criterion, outputs[step.chain.output.name])


def loss_by_torch(criterion, output):
    """L, by the module of the loss; of a nan, which torch's BCELoss refuses, nan."""
    if output.isnan().any():
        return output.sum() * criterion.factor * math.nan
    target = criterion.target.to(output.dtype) if criterion.target.is_floating_point() else criterion.target
    return reference_module(criterion.loss, output)(output, target) * criterion.factor


def _answers_of(rule, logits):
    """The answers of a loss that takes logits, by the module of its activation; by the rule where there is none."""
    answers, options = rule.answers, rule.answers_options
    if answers.known_class is None:
        return answers.forward(logits, **options)
    return answers.known_class(**options)(logits)


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
