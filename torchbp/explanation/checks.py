"""The checks: every record against torch (its layers, autograd and SGD), every derivative against its definition."""

import torch
import torch.nn.functional as F

from torchbp.explanation.equations import d
from torchbp.explanation.records import largest

ELEMENTS = 24  # of a tensor that are differentiated numerically: all, or so many of the largest
STEP = 1e-5
TORCHS = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu}


def checked(derivation):
    """The records with their checks."""
    references = by_torch(derivation)
    quotients = Quotients(derivation)
    return [
        record.checked(references[record.name], *quotients.of(record.name[4:], record.tensor))
        if record.stage == "backward"
        else record.checked(references[record.name])
        for record in derivation.records
    ]


def by_torch(derivation):
    """Each record's tensor, by torch's own layers and loss, autograd and torch.optim.SGD."""
    chain, values = derivation.chain, derivation.values
    found = {name: p.clone().requires_grad_() for name, p in chain.start.items()}
    with torch.enable_grad():
        outputs, loss = passes(derivation, found)
        names = [*(name for name, a in outputs.items() if a.requires_grad), *found]
        gradients = torch.autograd.grad(loss, [{**outputs, **found}[name] for name in names])
        references = {**outputs, "L": loss} | {d(n): g for n, g in zip(names, gradients, strict=True)}
        if derivation.logits:
            a = values[derivation.answer].clone().requires_grad_()
            (slope,) = torch.autograd.grad(loss_of_answers(derivation, a, values["y"]), a)
            references |= {derivation.answer: torch.sigmoid(outputs[chain.output]), d(derivation.answer): slope}
    learnt = [found[name] for name in derivation.learnt]
    if learnt:
        for p, name in zip(learnt, derivation.learnt, strict=True):
            p.grad = references[d(name)]
        torch.optim.SGD(learnt, lr=derivation.lr).step()
    with torch.no_grad():
        outputs, loss = passes(derivation, found)
        references |= {name + "′": tensor for name, tensor in {**found, **outputs, "L": loss}.items()}
        if derivation.logits:
            references[derivation.answer + "′"] = torch.sigmoid(outputs[chain.output])
    return {name: tensor.detach() for name, tensor in references.items()}


def passes(derivation, parameters):
    """Each layer's output, and the loss, by torch alone."""
    a, outputs = derivation.values["X"].clone(), {}
    for step in derivation.chain.steps:
        if step.kind == "linear":
            a = F.linear(a, parameters[step.weight], parameters.get(step.bias))
        else:
            a = TORCHS[step.kind](a)
        outputs[step.gives] = a
    return outputs, torchs_loss(derivation, a, derivation.values["y"])


def torchs_loss(derivation, output, y):
    weight, pos_weight, reduction = derivation.weight, derivation.pos_weight, derivation.loss.reduction
    if derivation.logits:
        cast = {"weight": like(weight, y), "pos_weight": like(pos_weight, y)}
        return F.binary_cross_entropy_with_logits(output, y, reduction=reduction, **cast)
    if derivation.kind == "squared":
        return F.mse_loss(output, y, reduction=reduction)
    return F.binary_cross_entropy(output, y, like(weight, y), reduction=reduction)


def like(weight, y):
    return None if weight is None else weight.to(y)


def loss_of_answers(derivation, a, y):
    """The loss of logits as a function of A = σ(Z)."""
    weight, reduction = like(derivation.weight, y), derivation.loss.reduction
    if derivation.pos_weight is None:
        return F.binary_cross_entropy(a, y, weight, reduction=reduction)
    positive = y * F.binary_cross_entropy(a, torch.ones_like(y), reduction="none") * derivation.pos_weight.to(y)
    each = positive + (1 - y) * F.binary_cross_entropy(a, torch.zeros_like(y), reduction="none")
    each = each if weight is None else each * weight
    return each.mean() if reduction == "mean" else each.sum()


class Quotients:
    """(L(q + h) − L(q − h)) / 2h for elements q of a quantity, in float64: the definition of the derivative."""

    def __init__(self, derivation):
        self.derivation = derivation
        self.has_corners = any(step.kind == "relu" for step in derivation.chain.steps)
        self.parameters = {name: p.double() for name, p in derivation.chain.start.items()}
        self.x, self.y = derivation.values["X"].double(), derivation.values["y"].double()
        values = derivation.chain.forward(self.parameters, self.x)
        self.values = {**self.parameters, **values}
        if derivation.logits:
            self.values[derivation.answer] = torch.sigmoid(values[derivation.chain.output])

    def of(self, name, gradient):
        """The largest difference to the derivative by `name`, and of how many elements; None where there is none."""
        value = self.values[name].clone()
        flat, gradient = value.view(-1), gradient.reshape(-1).double()
        places = gradient.abs().argsort(descending=True)[:ELEMENTS].tolist()
        found = []
        for place in places:
            h = self.step(name, flat[place].item())
            quotient = self.quotient(name, value, flat, place, h) if h else None
            if quotient is not None:
                found.append(quotient - gradient[place])
        return (largest(torch.stack(found)), len(found)) if found else (None, 0)

    def step(self, name, value):
        """h; of a probability it is small beside its distance to 0 and 1, and 0 where it is one of them."""
        derivation = self.derivation
        probability = name == derivation.answer and derivation.kind != "squared"
        return STEP * min(abs(value), abs(1 - value), 1) if probability else STEP * max(1.0, abs(value))

    def quotient(self, name, value, flat, place, h):
        """None at a corner of relu, where the slopes to both sides differ: there is no derivative."""
        was, losses = flat[place].item(), []
        for side in (was + h, was, was - h):
            flat[place] = side
            losses.append(self.loss(name, value))
        flat[place] = was
        above, middle, below = losses
        bend = (above - 2 * middle + below).abs()
        if self.has_corners and bend > 0.01 * ((above - middle).abs() + (middle - below).abs()):
            return None
        return (above - below) / ((was + h) - (was - h))

    def loss(self, name, value):
        derivation = self.derivation
        if derivation.logits and name == derivation.answer:
            return loss_of_answers(derivation, value, self.y)
        if name in self.parameters:
            values = derivation.chain.forward({**self.parameters, name: value}, self.x)
        else:
            values = derivation.chain.forward(self.parameters, self.x, self.above(name, value))
        return torchs_loss(derivation, values[derivation.chain.output], self.y)

    def above(self, name, value):
        """What is known where the quantity `name` has another value: it, and all that lies below."""
        known = {}
        for step in self.derivation.chain.steps:
            if step.gives == name:
                return {**known, name: value}
            known[step.gives] = self.values[step.gives]
        return known
