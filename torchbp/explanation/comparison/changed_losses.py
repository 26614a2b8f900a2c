"""The loss where single numbers of the network are changed a little, in float64: many changes in one pass."""

import itertools
from dataclasses import dataclass

import torch

from torchbp.explanation.comparison.reference_modules import reference_module
from torchbp.explanation.comparison.references import loss_of_answers
from torchbp.explanation.notation import equations
from torchbp.explanation.notation.quantities import INPUT, TARGET, Derivative, Quantity

AT_ONCE = 250_000  # numbers that a layer gives, of all changes together: 2 MB, which a processor keeps at hand


@dataclass(frozen=True, slots=True)
class Change:
    """The number of a quantity at `place`, counted through all of them, is each of `sides`, one after the other."""

    quantity: Quantity | Derivative
    place: int
    sides: tuple[float, ...]


class ChangedLosses:
    """L for changes of single numbers. A change begins at the layer that its number belongs to; from there on all
    changes pass the layers together, as one dimension more.

    Args:
        step: the `TrainingStep`.
        parameters, values: its parameters, and all quantities of the forward pass, parts too, in float64.
        known: what else the equations of the layers name, N and constants.
    """

    def __init__(self, step, parameters, values, known):
        self.chain, self.criterion, self.step = step.chain, step.criterion, step
        self.parameters, self.values, self.known, self.one_by_one = parameters, values, known, set()
        self.module = reference_module(self.criterion.loss, values[INPUT.name])
        self.target, y = (t.double() if t.is_floating_point() else t for t in (self.criterion.target, self.criterion.y))
        self.given = {TARGET.name: y, **{name: w.double() for name, w in self.criterion.weights.items()}}
        self.symbols = step.symbols.new_child(values | self.given)
        self.begins = {INPUT: -1}  # by the quantity, the place of the step whose output is the first that it changes
        for place, s in enumerate(self.chain.steps):
            changing = (s.gives, *s.parts.values(), *(quantity for _, quantity in s.parameters))
            self.begins |= dict.fromkeys(changing, place)
        self.conditions = [_conditions(s) for s in self.chain.steps]
        self.conditions_of_loss = equations.indicators(self.criterion.tree("slope"))

    def of(self, changes):
        """(losses, switched): L of each side of each change, and whether a condition in a slope, such as [A > 0], holds
        on some sides of the change and not on others."""
        sides = len(changes[0].sides)
        losses = torch.empty(len(changes), sides, dtype=torch.float64)
        switched = torch.zeros(len(changes), dtype=torch.bool)
        through = [i for i, change in enumerate(changes) if change.quantity in self.begins]
        for i in set(range(len(changes))).difference(through):  # of the answers of a loss that takes logits
            losses[i], _ = self._of_each("answers", self._loss_of_answers, self._changed([changes[i]]))
        through.sort(key=lambda i: self.begins[changes[i].quantity])
        widest = max(self.values[q.name].numel() for q in (INPUT, *(s.gives for s in self.chain.steps)))
        count = max(1, AT_ONCE // (sides * widest))
        for first in range(0, len(through), count):
            some = through[first : first + count]
            losses[some], switched[some] = self._through_the_layers([changes[i] for i in some], sides)
        return losses, switched

    def _through_the_layers(self, changes, sides):
        """`of` changes that are in the order of the layers at which they begin."""
        waiting, batch, switched = list(changes), None, []
        for place in range(self.begins[changes[0].quantity], len(self.chain.steps)):
            if batch is not None:
                batch, states = self._of_each(place, lambda x, place=place: self._pass(place, x), batch)
                switched = _switched(switched, states, sides)
            while waiting and self.begins[waiting[0].quantity] == place:
                quantity = waiting[0].quantity
                same = sum(1 for _ in itertools.takewhile(lambda change, q=quantity: change.quantity == q, waiting))
                # a layer with other weights for each change takes their memory so many times
                some = waiting[: min(same, max(1, AT_ONCE // (sides * self.values[quantity.name].numel())))]
                waiting = waiting[len(some) :]
                outputs, states = self._first_outputs(place, some)
                batch = outputs if batch is None else torch.cat([batch, outputs])
                switched += _switched([False] * len(some), states, sides)
        losses, states = self._of_each("loss", self._loss, batch)
        return losses.reshape(-1, sides).cpu(), torch.tensor(_switched(switched, states, sides))

    def _changed(self, changes):
        """Their quantity, for each side of each change, in one dimension more."""
        value = self.values[changes[0].quantity.name]
        sides = value.new_tensor([side for change in changes for side in change.sides])
        places = torch.tensor([change.place for change in changes for _ in change.sides])
        changed = value.reshape(-1).repeat(len(sides), 1)
        changed[torch.arange(len(sides)), places] = sides
        return changed.reshape(-1, *value.shape)

    def _first_outputs(self, place, changes):
        """(what the step at `place` gives for each side of changes of one quantity, which of its conditions hold)"""
        changed, quantity = self._changed(changes), changes[0].quantity
        if place < 0 or quantity == self.chain.steps[place].gives:
            return changed, changed.new_empty(len(changed), 0)
        step = self.chain.steps[place]
        if quantity in step.parts.values():
            return self._of_each(quantity, lambda part: self._by_parts(step, {quantity.name: part}), changed)
        x, name = self.values[step.takes.name], quantity.name
        return self._of_each(quantity, lambda p: self._pass(place, x, self.parameters | {name: p}), changed)

    def _pass(self, place, x, parameters=None):
        """(what the step at `place` gives, which of its conditions hold)"""
        step, parameters = self.chain.steps[place], parameters or self.parameters
        z, _ = self.chain.pass_through(step, x, parameters)
        return z, self._state(self.conditions[place], {**parameters, step.takes.name: x, step.gives.name: z})

    def _by_parts(self, step, moved):
        """The same by the equation of the step, where some of its parts are moved."""
        names = {part.name for part in step.parts.values()}
        values = {name: value for name, value in self.values.items() if name not in names}
        for part, tree, _ in equations.parts_of(step):
            values[part.name] = moved[part.name] if part.name in moved else tree.evaluate({**self.known, **values})
        z = equations.in_step(step, step.tree("equation")).evaluate({**self.known, **values})
        place = self.begins[step.gives]
        return z, self._state(self.conditions[place], {step.gives.name: z})

    def _loss(self, output):
        loss = self.module(output, self.target) * self.criterion.factor
        return loss, self._state(self.conditions_of_loss, {self.chain.output.name: output})

    def _loss_of_answers(self, answers):
        return loss_of_answers(self.step, answers, self.given), answers.new_empty(0)

    def _state(self, conditions, values):
        """Which conditions hold, 1 or 0, in one dimension."""
        symbols = self.symbols.new_child(values)
        states = [tree.evaluate(symbols).flatten() for tree in conditions]
        return torch.cat(states) if states else next(iter(values.values())).new_empty(0)

    def _of_each(self, name, function, batch):
        """A function's results for each of a batch: of all at once, or, of one that vmap does not take, such as a layer
        of the user's that asks for a number, of one after the other."""
        if name not in self.one_by_one:
            try:
                return torch.func.vmap(function)(batch)
            except Exception:  # torch's and the user's functions raise errors of many classes under vmap
                self.one_by_one.add(name)
        return tuple(map(torch.stack, zip(*map(function, batch), strict=True)))


def _conditions(step):
    """The conditions of a step's slope, such as [A > 0]: where one changes, the slope jumps."""
    trees = [step.tree("slope" if step.is_activation else "backward_equation")]
    trees += [tree for _, (tree, _) in step.trees_of_parts()]
    return [found.replace(equations.nodes(step)) for tree in trees for found in equations.indicators(tree)]


def _switched(switched, states, sides):
    """For each change whether it has `switched`, or does by these states, (changes · sides, conditions)."""
    if not states.shape[1]:
        return switched
    states = states.reshape(len(switched), sides, -1)
    return [was or now for was, now in zip(switched, (states != states[:, :1]).any(2).any(1).tolist(), strict=True)]
