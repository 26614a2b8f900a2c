"""The checks: every record against torch (its layers, autograd and SGD), every derivative against its definition."""

import math

import torch
import torch.nn.functional as F

from torchbp.explanation import numeric_examples as worked
from torchbp.explanation.equations import d
from torchbp.explanation.records import OVERFLOW, Check, worst

ELEMENTS = 24  # of a tensor that are differentiated numerically: all, or so many of the largest
STEPS = 1e-5, 1e-4, 1e-3, 1e-2  # of a difference quotient: the first one, or the next where rounding hides the slope
SHORTER = 1e-7, 1e-9  # the first one that L is straight over, where it is not over the first of those
BENT = 0.1  # the share of the quotient that twice the step may change, of what is straight
ROUNDING = 100  # eps, of the size of what is rounded: what two orders of the same operations may differ by
HELD_WHY = "A is so near to 0 or 1 that torch bounds dL/dA, which is then no slope of L"
QUOTIENT = "[L(q + h) − L(q − h)]/2h"
TORCHS = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu}


def checked(derivation):
    """The records with their checks."""
    references, exact = by_torch(derivation), by_torch(derivation, torch.float64)
    bounds, quotients = bounds_of(derivation, references), Quotients(derivation, exact)
    records = []
    for record in derivation.records:
        bound, checks = bounds[record.name], []
        if record.stage == "backward":
            rounded = (references[record.name] - exact[record.name]).abs().max()
            checks.append(quotients.check(record.name[4:], record.tensor, bound + 2 * rounded))
        records.append(record.checked(references[record.name], bound, *checks))
    return records


def bounds_of(derivation, references):
    """What rounding explains of each element's difference to torch: 100 eps, of a tensor's largest number or 1. A
    derivative's error comes back as the derivative does, but nothing in it cancels, and it goes into the update:

        E(∂L/∂Z) = 100 eps (|∂L/∂Z| + 1/N) of the answers, then  E(∂L/∂q) = E(∂L/∂p) |∂p/∂q|;   E(W′) + α E(∂L/∂W)

    So a gradient that has vanished must be right to a bound that has vanished with it.
    """
    bounds, started = {}, (d(derivation.answer), d(derivation.chain.output))
    for record in derivation.records:
        reference = references[record.name]
        eps = torch.finfo(reference.dtype).eps
        if record.name in started:
            if record.name == d(derivation.answer) and held(derivation):
                eps = torch.finfo(torch.float32).eps
            bound = ROUNDING * eps * (reference.abs() + share(derivation))
        elif record.stage == "backward":
            above, local = record.factors
            bound = carried(record, bounds[above.name.replace("∂L/∂", "dL/d")], local.tensor.abs())
        else:
            numbers = reference[reference.isfinite()].abs()
            bound = ROUNDING * eps * max(1.0, numbers.max().item() if numbers.numel() else 0.0)
            if record.stage == "update":
                bound = bound + derivation.lr * bounds[d(record.name.removesuffix("′"))]
        bounds[record.name] = bound
    return bounds


def share(derivation):
    """Of one answer in L: 1/N, times the largest weights."""
    weights = [weight.abs().max().item() for weight in (derivation.weight, derivation.pos_weight) if weight is not None]
    return math.prod([1.0, *weights]) / (derivation.values["y"].numel() if derivation.mean else 1)


def carried(record, error, local):
    """An error of ∂L/∂p in ∂L/∂q, if all of its products have one sign."""
    if record.name[4] == "W":
        return error.T @ local
    if record.name[4] == "b":
        return error.sum(0)
    return error * local if "∘" in record.equation else error @ local


def held(derivation):
    """Whether torch's dL/dA is no longer the derivative, for an A so near to 0 or 1 that its formula is bounded; the
    bound is a number of single precision whatever A is in."""
    return derivation.kind != "squared" and bool(worked.held(derivation).any())


def by_torch(derivation, dtype=None):
    """Each record's tensor, by torch's own layers and loss, autograd and torch.optim.SGD; in another dtype if given."""
    chain, values = derivation.chain, {name: value.to(dtype) for name, value in derivation.values.items()}
    found = {name: values[name].clone().requires_grad_() for name in chain.start}
    with torch.enable_grad():
        outputs, loss = passes(derivation, found, values)
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
    with torch.no_grad():  # with the new weights that are recorded, so that a long step does not magnify their rounding
        outputs, loss = passes(derivation, {name: values[name + "′"] for name in found}, values)
        references |= {name + "′": tensor for name, tensor in {**found, **outputs, "L": loss}.items()}
        if derivation.logits:
            references[derivation.answer + "′"] = torch.sigmoid(outputs[chain.output])
    return {name: tensor.detach() for name, tensor in references.items()}


def passes(derivation, parameters, values):
    """Each layer's output of X, and the loss against y, by torch alone."""
    a, outputs = values["X"].clone(), {}
    for step in derivation.chain.steps:
        if step.kind == "linear":
            a = F.linear(a, parameters[step.weight], parameters.get(step.bias))
        else:
            a = TORCHS[step.kind](a)
        outputs[step.gives] = a
    return outputs, torchs_loss(derivation, a, values["y"])


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

    def __init__(self, derivation, references):
        self.derivation, self.chain = derivation, derivation.chain
        self.parameters = {name: p.double() for name, p in self.chain.start.items()}
        self.x, self.y = derivation.values["X"].double(), derivation.values["y"].double()
        self.values = {**self.parameters, **self.chain.forward(self.parameters, self.x)}
        if derivation.logits:  # as it is recorded: where it is almost 1, its own rounding counts
            self.values[derivation.answer] = derivation.values[derivation.answer].double()
        self.taken = {step.weight: step.takes for step in self.chain.steps if step.kind == "linear"}
        self.noises = self.noises_of(references)

    def noises_of(self, references):
        """The rounding of L, eps (|L| + Σ |q ∂L/∂q|), where it is computed from the answers, and from X; of logits also
        that of Z, which cancels where an answer is sure."""
        shares = {
            name: (value * references[d(name)].double()).abs().sum().item()
            for name, value in self.values.items()
            if d(name) in references
        }
        answer = shares.pop(self.derivation.answer) if self.derivation.logits else 0.0
        eps, loss = torch.finfo(torch.float64).eps, references["L"].abs().item()
        logits = self.values[self.chain.output].abs().sum().item() if self.derivation.logits else 0.0
        return eps * (loss + answer), eps * (loss + sum(shares.values()) + logits * share(self.derivation))

    def check(self, name, gradient, rounding):
        """The derivative by `name` against the quotients of its largest elements; `rounding` is the bound of its own,
        to which belongs what a dtype of lower precision has changed on the way."""
        derivation = self.derivation
        if held(derivation) and (not derivation.logits or name == derivation.answer):
            return Check(QUOTIENT, why=HELD_WHY)
        if not (gradient.isfinite().all() and rounding.isfinite().all() and math.isfinite(self.noises[1])):
            return Check(QUOTIENT, why=OVERFLOW)
        value = self.values[name].clone()
        flat, gradient, rounding = value.view(-1), gradient.reshape(-1).double(), rounding.reshape(-1).tolist()
        places = gradient.abs().argsort(descending=True)[:ELEMENTS].tolist()
        found = [(self.best(name, value, flat, place, gradient[place].item()), rounding[place]) for place in places]
        found = [(best[0], best[1] + rounded) for best, rounded in found if best]
        if not found:
            return Check(QUOTIENT, why="each h turns a relu on or off, or is too long for the slope to stay")
        error, bound = worst(*torch.tensor(found, dtype=torch.float64).T)
        if 0 < gradient.abs().max() < bound:
            return Check(QUOTIENT, why="rounding alone may move it by more than the derivative")
        elements = f" of {len(found)} elements" if len(found) < len(gradient) else ""
        return Check(QUOTIENT + elements, error, bound)

    def best(self, name, value, flat, place, slope):
        """The difference of a slope to its quotient, and the bound of that; None where there is no quotient."""
        found = []
        for step in STEPS:
            quotient = self.quotient(name, value, flat, place, step)
            if quotient is None:  # nor has a longer step one
                break
            found.append(quotient)
            if not quotient[1] > 0.01 * abs(slope):
                break
        if not found:
            shorter = (self.quotient(name, value, flat, place, step) for step in SHORTER)
            found = [next(filter(None, shorter), None)]
        quotient, bound = min(filter(None, found), key=lambda pair: pair[1], default=(None, None))
        return None if quotient is None else (abs(quotient - slope), bound)

    def quotient(self, name, value, flat, place, step):
        """The quotient and how far it may be off: what twice the step changes, and the rounding of L. None across a
        corner of relu, where there is no derivative, and where L bends too much for that to say how far."""
        was, h = flat[place].item(), self.step(name, flat[place].item(), step)
        quotients, on = [], []
        for apart in (h, 2 * h):
            sides, losses = (was + apart, was - apart), []
            for side in sides:
                flat[place] = side
                loss, relus = self.loss(name, value)
                losses.append(loss)
                on.append(relus)
            quotients.append((losses[0] - losses[1]) / (sides[0] - sides[1]))
        flat[place] = was
        if any(not torch.equal(relus, on[0]) for relus in on):
            return None
        noise = self.noises[not (self.derivation.logits and name == self.derivation.answer)]
        bent, rounding = abs(quotients[1] - quotients[0]), ROUNDING * noise / h
        return (quotients[0], bent + rounding) if bent <= BENT * abs(quotients[0]) + rounding else None

    def step(self, name, value, step):
        """h, large beside the rounding of the value; of a probability it is small beside its distance to 0 and 1, and
        of a weight small enough for the Z of large inputs."""
        least = 64 * torch.finfo(torch.float64).eps
        if name == self.derivation.answer and self.derivation.kind != "squared":
            return max(step * min(value, 1 - value), least)
        times = self.values[self.taken[name]].abs().max().item() if name in self.taken else 1.0
        return max(1.0, abs(value)) * max(step / max(1.0, times), least)

    def loss(self, name, value):
        """L, and which units of relu are on, where the quantity `name` has this value."""
        derivation = self.derivation
        if derivation.logits and name == derivation.answer:
            return loss_of_answers(derivation, value, self.y).item(), torch.tensor(())
        if name in self.parameters:
            values = self.chain.forward({**self.parameters, name: value}, self.x)
        else:
            values = self.chain.forward(self.parameters, self.x, self.above(name, value))
        relus = [step.gives for step in self.chain.steps if step.kind == "relu" and step.gives != name]
        on = torch.cat([values[relu].flatten() > 0 for relu in relus]) if relus else torch.tensor(())
        return torchs_loss(derivation, values[self.chain.output], self.y).item(), on

    def above(self, name, value):
        """What is known where the quantity `name` has another value: it, and all that lies below."""
        known = {}
        for step in self.chain.steps:
            if step.gives == name:
                return {**known, name: value}
            known[step.gives] = self.values[step.gives]
        return known
