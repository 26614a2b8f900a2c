"""A derivative's definition, [L(q + h) − L(q − h)]/2h, for the largest elements q of a quantity, in float64."""

import math

import torch

from torchbp.explanation.comparison.references import loss_by_torch, loss_of_answers, share
from torchbp.explanation.notation import equations
from torchbp.explanation.notation.quantities import INPUT, LOSS, TARGET, d
from torchbp.explanation.notation.records import OVERFLOW, Check, worst

ELEMENTS = 24  # of a tensor that are differentiated numerically: all, or so many of the largest
STEPS = 1e-5, 1e-4, 1e-3, 1e-2  # of a difference quotient: the first one, or the next where rounding hides the slope
SHORTER = 1e-7, 1e-9  # the first one that L is straight over, where it is not over the first of those
BENT = 0.1  # the share of the quotient that twice the step may change, of what is straight
ROUNDING = 100  # eps, of the size of what is rounded
BY = "measured slope"
NO_CONDITIONS = torch.tensor(())
BOUNDED = "an answer is so near to 0 or 1 that torch bounds the derivative, which is then no slope of L"
CORNER = (
    "an activation switches exactly here, so the loss has a corner, or it bends within each step, and no single slope"
)


class DifferenceQuotients:
    """(L(q + h) − L(q − h)) / 2h for elements q of a quantity, in float64: the definition of the derivative.

    Args:
        step: the `TrainingStep`.
        references: its quantities by torch, in float64.
    """

    def __init__(self, step, references):
        self.of, self.chain, self.takes_logits = step, step.chain, step.criterion.rule.answers is not None
        self.parameters = {name: p.double() for name, p in self.chain.start.items()}
        self.x, self.y = step.values[INPUT.name].double(), step.values[TARGET.name].double()
        self.values = {**self.parameters, **self.chain.forward(self.parameters, self.x)}
        constants = {name: tensor.double() for name, tensor in self.chain.constants.items()}
        self.known = {equations.N.name: step.criterion.rows, **constants}
        self.part_of = {part: s for s in self.chain.steps for part in s.parts.values()}
        for layer in self.chain.steps:
            self._add_parts(layer, self.values)
        if self.takes_logits:  # as it is recorded: where it is almost 1, its own rounding counts
            self.values[step.criterion.answer.name] = step.values[step.criterion.answer.name].double()
        self.multiplied = self._multiplied()
        self.noises = self._noises(references)
        self.bounded = bool(step.bounded.any())
        self.conditions = [
            (s.gives, indicator.replace(equations.nodes(s)))
            for s in self.chain.steps
            for indicator in equations.indicators(s.tree("slope" if s.is_activation else "backward_equation"))
        ]
        self.conditions += [(None, indicator) for indicator in equations.indicators(step.criterion.tree("slope"))]

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

    def check(self, quantity, gradient, rounding):
        """The derivative by `quantity` against the quotients of its largest elements; `rounding` is the bound of the
        derivative's error, to which belongs what a dtype of lower precision has changed on the way."""
        if self.bounded and (not self.takes_logits or quantity == self.of.criterion.answer):
            return Check(BY, why=BOUNDED)
        if not (gradient.isfinite().all() and rounding.isfinite().all() and math.isfinite(self.noises[1])):
            return Check(BY, why=OVERFLOW)
        value = self.values[quantity.name].clone()
        flat, gradient, rounding = value.view(-1), gradient.reshape(-1).double(), rounding.reshape(-1).tolist()
        places = gradient.abs().argsort(descending=True)[:ELEMENTS].tolist()
        found = [(self.best(quantity, value, flat, place, gradient[place].item()), rounding[place]) for place in places]
        found = [(best[0], best[1] + rounded) for best, rounded in found if best]
        if not found:
            return Check(BY, why=CORNER)
        error, bound = worst(*torch.tensor(found, dtype=torch.float64).T)
        if 0 < gradient.abs().max() < bound:
            return Check(BY, why="rounding alone may move it by more than the derivative")
        elements = f" of {len(found)} elements" if len(found) < len(gradient) else ""
        return Check(BY + elements, error, bound)

    def best(self, quantity, value, flat, place, slope):
        """The difference of a slope to its quotient, and the bound of that; None where there is no quotient."""
        found = []
        for step in STEPS:
            quotient = self.quotient(quantity, value, flat, place, step)
            if quotient is None:  # nor has a longer step one
                break
            found.append(quotient)
            if not quotient[1] > 0.01 * abs(slope):
                break
        if not found:
            shorter = (self.quotient(quantity, value, flat, place, step) for step in SHORTER)
            found = [next(filter(None, shorter), None)]
        quotient, bound = min(filter(None, found), key=lambda pair: pair[1], default=(None, None))
        return None if quotient is None else (abs(quotient - slope), bound)

    def quotient(self, quantity, value, flat, place, step):
        """The quotient and how far it may be off: what twice the step changes, and the rounding of L. None across a
        corner of the loss, where there is no derivative, and where L bends too much for that to say how far."""
        was, h = flat[place].item(), self.step(quantity, flat[place].item(), step)
        quotients, states = [], []
        for apart in (h, 2 * h):
            sides, losses = (was + apart, was - apart), []
            for side in sides:
                flat[place] = side
                loss, state = self.loss(quantity, value)
                losses.append(loss)
                states.append(state)
            quotients.append((losses[0] - losses[1]) / (sides[0] - sides[1]))
        flat[place] = was
        if any(not torch.equal(state, states[0]) for state in states):
            return None
        noise = self.noises[not (self.takes_logits and quantity == self.of.criterion.answer)]
        bent, rounding = abs(quotients[1] - quotients[0]), ROUNDING * noise / h
        return (quotients[0], bent + rounding) if bent <= BENT * abs(quotients[0]) + rounding else None

    def step(self, quantity, value, step):
        """h, large beside the rounding of the value; of an answer with bounds it is small beside its distance to them,
        and of a parameter small enough for the Z of large inputs."""
        least = 64 * torch.finfo(torch.float64).eps
        if quantity == self.of.criterion.answer and self.of.criterion.rule.domain is not None:
            low, high = self.of.criterion.rule.domain
            return max(step * min(value - low, high - value), least)
        times = max(1.0, self.multiplied.get(quantity.name, 1.0))
        return max(1.0, abs(value)) * max(step / times, least)

    def loss(self, quantity, value):
        """L, and which conditions of the slopes hold, where the quantity has this value."""
        if self.takes_logits and quantity == self.of.criterion.answer:
            values = {
                TARGET.name: self.y,
                **{name: w.double() for name, w in self.of.criterion.weights.items()},
            }
            return loss_of_answers(self.of, value, values).item(), NO_CONDITIONS
        if quantity.name in self.parameters:
            values = self.chain.forward({**self.parameters, quantity.name: value}, self.x)
        elif quantity == INPUT:
            values = self.chain.forward(self.parameters, value)
        else:
            values = self.chain.forward(self.parameters, self.x, self._below(quantity, value))
        loss = loss_by_torch(self.of.criterion, values[self.chain.output.name]).item()
        if not self.conditions:
            return loss, NO_CONDITIONS
        symbols = self.of.symbols.new_child({**values, TARGET.name: self.y})
        states = [tree.evaluate(symbols).flatten() for gives, tree in self.conditions if gives != quantity]
        return loss, torch.cat(states) if states else NO_CONDITIONS

    def _below(self, quantity, value):
        """What is known where the quantity has another value: it, and all that lies below."""
        known, layer = {}, self.part_of.get(quantity)
        for step in self.chain.steps:
            if step is layer:
                values = {
                    name: v for name, v in self.values.items() if name not in {p.name for p in step.parts.values()}
                }
                self._add_parts(step, values, {quantity.name: value})
                z = equations.in_step(step, step.tree("equation")).evaluate({**self.known, **values})
                return {**known, step.gives.name: z}
            if step.gives == quantity:
                return {**known, quantity.name: value}
            known[step.gives.name] = self.values[step.gives.name]
        return known

    def _add_parts(self, step, values, moved=None):
        """Add the parts of a step to the values; those that are `moved` have other ones."""
        for part, tree, _ in equations.parts_of(step):
            values[part.name] = (moved or {}).get(part.name)
            if values[part.name] is None:
                values[part.name] = tree.evaluate({**self.known, **values})
