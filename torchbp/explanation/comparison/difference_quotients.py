"""A derivative's definition, [L(q + h) − L(q − h)]/2h, for the largest elements q of a quantity, in float64."""

import math
from dataclasses import dataclass, field

import torch

from torchbp.explanation.comparison.changed_losses import Change, ChangedLosses
from torchbp.explanation.comparison.references import share
from torchbp.explanation.notation import equations
from torchbp.explanation.notation.quantities import INPUT, LOSS, Derivative, Quantity, d
from torchbp.explanation.notation.records import OVERFLOW, Check, worst

ELEMENTS = 24  # of a tensor that are differentiated numerically: all, or so many of the largest
LEAST, WORK = 4, 2e9  # so few in a large network, where all together would take more multiplications
STEPS = 1e-5, 1e-4, 1e-3, 1e-2  # of a difference quotient: the first one, or the next where rounding hides the slope
SHORTER = 1e-7, 1e-9  # the first one that L is straight over, where it is not over the first of those
BENT = 0.1  # the share of the quotient that twice the step may change, of what is straight
ROUNDING = 100  # eps, of the size of what is rounded
BY = "measured slope"
BOUNDED = "an answer is so near to 0 or 1 that torch bounds the derivative, which is then no slope of L"
CORNER = (
    "an activation switches exactly here, so the loss has a corner, or it bends within each step, and no single slope"
)


@dataclass(slots=True)
class Element:
    """A number of a quantity whose slope is measured. found: its quotients, each with how far it may be off; None for
    one across a corner of the loss, where there is no slope, and where L bends too much for that to say how far."""

    quantity: Quantity | Derivative
    place: int
    value: float
    slope: float
    rounding: float
    found: list = field(default_factory=list)

    @property
    def is_hidden(self):
        """Whether rounding hides the slope at the last step, so that a longer one may say more."""
        return self.found[-1] is not None and self.found[-1][1] > 0.01 * abs(self.slope)

    def best(self):
        """The difference of the slope to the best quotient, and the bound of that; None where there is no quotient."""
        found = [pair for pair in self.found if pair is not None]
        if not found:
            return None
        quotient, bound = min(found, key=lambda pair: pair[1])
        return abs(quotient - self.slope), bound + self.rounding


class DifferenceQuotients:
    """(L(q + h) − L(q − h)) / 2h for elements q of quantities, in float64: the definition of the derivative.

    Args:
        step: the `TrainingStep`.
        references: its quantities by torch, in float64.
    """

    def __init__(self, step, references):
        self.of, self.chain, self.takes_logits = step, step.chain, step.criterion.rule.answers is not None
        parameters = {name: p.double() for name, p in self.chain.start.items()}
        self.values = {**parameters, **self.chain.forward(parameters, step.values[INPUT.name].double())}
        constants = {name: tensor.double() for name, tensor in self.chain.constants.items()}
        known = {equations.N.name: step.criterion.rows, **constants}
        for layer in self.chain.steps:
            for part, tree, _ in equations.parts_of(layer):
                self.values[part.name] = tree.evaluate({**known, **self.values})
        if self.takes_logits:  # as it is recorded: where it is almost 1, its own rounding counts
            self.values[step.criterion.answer.name] = step.values[step.criterion.answer.name].double()
        self.losses = ChangedLosses(step, parameters, self.values, known)
        self.multiplied = self._multiplied()
        self.noises = self._noises(references)
        self.bounded = bool(step.bounded.any())

    def _multiplied(self):
        """The largest number of its input that each parameter is multiplied by."""
        found = {}
        for step in self.chain.layers:
            for parameter, quantity in step.parameters:
                tree = step.gradient_tree(parameter).replace(equations.nodes(step))
                factor = equations.local_factor(tree, d(step.gives).name)
                if factor is not None and step.takes.name in factor.symbols():
                    found[quantity.name] = factor.evaluate(self.values).abs().max().item()
        return found

    def _noises(self, references):
        """The rounding of L, eps (|L| + Σ |q ∂L/∂q|), where it is computed from the answers, and from X; of logits also
        that of Z, which cancels where an answer is sure."""
        names = {q.name: d(q).name for s in self.chain.steps for q in (s.takes, s.gives, *(p for _, p in s.parameters))}
        names[self.of.criterion.answer.name] = d(self.of.criterion.answer).name
        shares = {
            name: (self.values[name] * references[of].double()).abs().sum().item()
            for name, of in names.items()
            if of in references
        }
        answer = shares.pop(self.of.criterion.answer.name) if self.takes_logits else 0.0
        eps, loss = torch.finfo(torch.float64).eps, references[LOSS.name].abs().item()
        logits = self.values[self.chain.output.name].abs().sum().item() if self.takes_logits else 0.0
        return eps * (loss + answer), eps * (loss + sum(shares.values()) + logits * share(self.of))

    def checks(self, derivatives):
        """{quantity: the derivative by it against the quotients of its largest elements}.

        derivatives: {quantity: (the derivative, the bound of its error)}; to the error belongs what a dtype of lower
            precision has changed on the way.
        """
        found, elements = {}, {}
        work = 4 * sum(map(self._products, self.chain.layers)) * self.of.criterion.rows * len(derivatives)
        most = min(ELEMENTS, max(LEAST, int(WORK / max(work, 1))))
        for quantity, (gradient, rounding) in derivatives.items():
            if self.bounded and (not self.takes_logits or quantity == self.of.criterion.answer):
                found[quantity] = Check(BY, why=BOUNDED)
            elif not (gradient.isfinite().all() and rounding.isfinite().all() and math.isfinite(self.noises[1])):
                found[quantity] = Check(BY, why=OVERFLOW)
            else:
                elements[quantity] = self._largest(quantity, gradient, rounding, most)
        self.measure([element for some in elements.values() for element in some])
        for quantity, some in elements.items():
            found[quantity] = _check(derivatives[quantity][0], some)
        return found

    def _products(self, step):
        """How often a layer multiplies in each row: a convolution by its kernel at each place, and another one by each
        weight once, or, where it takes each vector of a row alone, once for each vector."""
        numbers = self.values[step.gives.name][0].numel()
        of_parameters = (
            p.numel() * max(1, numbers // len(p)) for p in (self.values[q.name] for _, q in step.parameters)
        )
        return equations.products(step.tree("equation")) or sum(of_parameters)

    def _largest(self, quantity, gradient, rounding, most):
        """The elements with the largest slopes."""
        gradient, rounding = gradient.reshape(-1).double(), rounding.reshape(-1)
        values = self.values[quantity.name].reshape(-1)
        places = gradient.abs().argsort(descending=True)[:most]
        numbers = (tensor[places].tolist() for tensor in (values, gradient, rounding))
        return [Element(quantity, *of) for of in zip(places.tolist(), *numbers, strict=True)]

    def measure(self, elements):
        """Add quotients to the elements, of longer and longer steps, until one says what the slope is; or of a shorter
        one that crosses no corner."""
        hidden = elements
        for step in STEPS:
            self.add_quotients(hidden, step)
            hidden = [element for element in hidden if element.is_hidden]
        for step in SHORTER:
            self.add_quotients([element for element in elements if not any(element.found)], step)

    def add_quotients(self, elements, step):
        """Add to each element its quotient, and how far that may be off: what twice the step changes, and the rounding
        of L."""
        if not elements:
            return
        lengths = [self.length(element.quantity, element.value, step) for element in elements]
        sides = [tuple(e.value + h * times for times in (1, -1, 2, -2)) for e, h in zip(elements, lengths, strict=True)]
        changes = [Change(e.quantity, e.place, of) for e, of in zip(elements, sides, strict=True)]
        losses, switched = self.losses.of(changes)
        measured = zip(elements, lengths, sides, losses.tolist(), switched.tolist(), strict=True)
        for element, h, of, loss, switch in measured:
            short, long = ((loss[i] - loss[i + 1]) / (of[i] - of[i + 1]) for i in (0, 2))
            noise = self.noises[not (self.takes_logits and element.quantity == self.of.criterion.answer)]
            bent, rounding = abs(long - short), ROUNDING * noise / h
            straight = not switch and bent <= BENT * abs(short) + rounding
            element.found.append((short, bent + rounding) if straight else None)

    def length(self, quantity, value, step):
        """h, large beside the rounding of the value; of an answer with bounds it is small beside its distance to them,
        and of a parameter small enough for the Z of large inputs."""
        least = 64 * torch.finfo(torch.float64).eps
        if quantity == self.of.criterion.answer and self.of.criterion.rule.domain is not None:
            low, high = self.of.criterion.rule.domain
            return max(step * min(value - low, high - value), least)
        times = max(1.0, self.multiplied.get(quantity.name, 1.0))
        return max(1.0, abs(value)) * max(step / times, least)


def _check(gradient, elements):
    """The derivative by a quantity against the quotients of these elements."""
    found = [best for element in elements if (best := element.best()) is not None]
    if not found:
        return Check(BY, why=CORNER)
    error, bound = worst(*torch.tensor(found, dtype=torch.float64).T)
    if 0 < gradient.abs().max() < bound:
        return Check(BY, why="rounding alone may move it by more than the derivative")
    of_some = f" of {len(found)} elements" if len(found) < gradient.numel() else ""
    return Check(BY + of_some, error, bound)
