"""The records of one training step, in the article's order: forward, loss, backward, update, and forward again."""

import functools
from collections import ChainMap
from dataclasses import replace

import torch

from torchbp.explanation.comparison.agreement import differences, disagreement
from torchbp.explanation.derivation.answers_derivative import add_derivative_of_answers
from torchbp.explanation.derivation.gradient_pass import gradients
from torchbp.explanation.derivation.loss_record import loss_record
from torchbp.explanation.notation import equations
from torchbp.explanation.notation.equations import ALPHA, K, N
from torchbp.explanation.notation.numeric_examples import example, largest_place
from torchbp.explanation.notation.quantities import INPUT, TARGET, Derivative, d
from torchbp.explanation.notation.records import Factor, Record

AGAIN = "The same network once more, with its new parameters."


class TrainingStep:
    """One step of gradient descent on L(x, y): `records` are what the article derives, with the reader's numbers.

    `values` holds every tensor by its name: X, y, W1, b1, Z1, …, L, dL/dW1, …, W1′, …, L′; `given` those of them that
    nothing computes, and `directions` the D of W′ = W − α D, by the name of W. `disagreements` holds a failing check by
    the name of each record whose equation does not give its tensor; the example is of such an element. `written_out`
    are equations with those of their parts in them, by the name of the record.
    """

    def __init__(self, chain, criterion, x, descent):
        self.chain, self.criterion, self.descent = chain, criterion, descent
        self.loss, self.lr = criterion.loss, descent.lr
        self.fixed = {TARGET.name, *criterion.rule.option_symbols}
        self.records, self.learnt, self.disagreements, self.directions = [], [], {}, {}
        self.written_out = {}
        y = criterion.y
        self.given = {INPUT.name: x, TARGET.name: y, **criterion.weights, **chain.start, **chain.drawn}
        self.given |= chain.constants | descent.state
        self.values = gradients(chain, criterion, x) | self.given
        self.symbols = ChainMap(self.values, {N.name: len(y), K.name: y[0].numel(), **descent.symbols})
        self._forward()
        self._backward()
        self._update()
        self._again()

    def add(
        self, quantity, kind, stage, step, sides, tensor, reason, tree=None, place=None, excused=None, full=None, **more
    ):
        """Add a record. `tree` is the equation of its example, where that is not the last of the sides. `excused` are
        the elements that are not computed by it, and the equation of those. `full` is the equation with all that is
        rounded on the way, where there are parts."""
        self.values[quantity.name] = tensor
        shown = sides[-1] if tree is None else tree
        if full is not None:
            self.written_out[quantity.name] = full
        errors, bounds = differences(shown if full is None else full, tensor, self.symbols)
        where, instead = excused or (None, None)
        if where is not None:
            others = differences(instead, tensor, self.symbols)
            errors, bounds = errors.where(~where, others[0]), bounds.where(~where, others[1])
        if found := disagreement(errors, bounds):
            value_place, self.disagreements[quantity.name] = found
        else:
            value_place = largest_place(tensor) if place is None else place
        shown = shown if where is None or not where[value_place] else instead
        found = example(quantity, shown, value_place, tensor[value_place].item(), self.symbols, self.fixed)
        if full is not None:  # the parts in the line are rounded already
            found = replace(found, bound=max(found.bound, bounds[value_place].item()))
        names = {name for side in (quantity, *sides) for name in side.symbols()} & self.values.keys()
        shapes = {name: tuple(self.values[name].shape) for name in names}
        number, layer = (step.number, step.layer) if step else (None, "")
        record = Record(
            quantity,
            kind,
            stage,
            number,
            layer,
            tuple(sides),
            tensor,
            tuple(reason),
            example=found,
            shapes=shapes,
            compared_with=self._compared_with(kind, stage, step),
            **more,
        )
        self.records.append(record)

    def _compared_with(self, kind, stage, step):
        """Who the reference of a record is from."""
        if stage in ("backward", "update"):
            return "autograd" if stage == "backward" else self.descent.name
        if kind != "answer":
            return step.compared_with
        rule = self.criterion.rule.answers
        return "torch" if rule.torch_module or not rule.module_class else rule.module_class.__name__

    def _forward(self, stage="forward"):
        """The layers and the loss; in the stage "again" after the update."""
        prime = stage == "again"
        for step in self.chain.steps:
            gives = step.gives.after() if prime else step.gives
            side = equations.in_step(step, step.tree("equation"), prime)
            reason = AGAIN if prime else _description(step)
            for part, tree, words in equations.parts_of(step, prime):
                tensor = tree.evaluate(self.symbols)
                rows = tensor.dim() == 2
                self.add(part, "part", stage, step, [tree], tensor, [AGAIN if prime else words], has_rows=rows)
            full = equations.written_out(step, step.tree("equation"), prime) if step.parts else None
            self.add(gives, "output", stage, step, [side], self.values[gives.name], [reason], full=full)
        output = self.chain.output.after() if prime else self.chain.output
        z = self.values[output.name]
        if self.criterion.rule.answers:
            answer = self.criterion.answer.after() if prime else self.criterion.answer
            side = self.criterion.answers_tree("equation", prime)
            reason = AGAIN if prime else self.criterion.rule.answers_description.format(z=output.name, a=answer.name)
            tensor = self.criterion.answers_of(z)
            self.add(answer, "answer", stage, self.chain.steps[-1], [side], tensor, [reason])
        self.records.append(loss_record(self, z, prime))

    @functools.cached_property
    def bounded(self):
        """Where ∂ℓ/∂A is not computed by its equation: near a bound of the answers."""
        answer = self.values[self.criterion.answer.name]
        if self.criterion.rule.slope_computed is None:
            return torch.zeros_like(answer, dtype=torch.bool)
        exact, computed = (self.criterion.tree("slope", computed=how).evaluate(self.symbols) for how in (False, True))
        return (exact != computed) & self.criterion.near_a_bound(answer)

    def _backward(self):
        add_derivative_of_answers(self)
        for place in range(len(self.chain.steps) - 1, -1, -1):
            step = self.chain.steps[place]
            if step.is_activation:
                self._add_derivative_of_activation(step)
                continue
            self._add_backward_parts(step)
            self._add_gradients_of_parameters(step)
            self._add_derivative_of_input(step, self.chain.steps[place - 1] if place else step)

    def _add_derivative_of_activation(self, step):
        values, a, z = self.values, step.gives, step.takes
        local = Derivative(a, z)
        slope = step.rule.slope_description.format(a=a.name, z=z.name)
        self.add(
            d(z),
            "derivative",
            "backward",
            step,
            [d(a) * step.rule.tree("slope", **step.options).replace(equations.nodes(step))],
            values[d(z).name],
            ["Chain rule: multiply by the activation's slope ", local, f", {slope}."],
            chain=(d(a), local),
            factors=(Factor(d(a), values[d(a).name]), Factor(local, step.derivative(values[a.name], values[z.name]))),
        )

    def _add_gradients_of_parameters(self, step):
        z, rows = step.gives, ", and rows add up" if self.criterion.rows > 1 else ""
        for parameter, quantity in step.parameters:
            why = parameter.why.format(z=z.name, x=step.takes.name)
            self._add_derivative_of_layer(
                step, step, quantity, step.gradient_tree(parameter), f"Chain rule: {why}{rows}.", has_rows=False
            )

    def _add_backward_parts(self, step):
        """dL/dU of the parts of a layer, where its rule says them."""
        for derivative, tree, why in equations.backward_parts_of(step):
            tensor = tree.evaluate(self.symbols)
            above = self._above(step, tree)
            chain = (d(above), Derivative(above, derivative.by))
            full = equations.written_out(step, dict(step.backward_trees())[f"d{derivative.by.letter}"][0])
            self.add(derivative, "derivative", "backward", step, [tree], tensor, [why], chain=chain, full=full)

    @staticmethod
    def _above(step, tree):
        """The quantity whose derivative a derivative follows from: a part of the layer, or what it gives."""
        parts = [part for part in step.parts.values() if d(part).name in tree.symbols()]
        return parts[0] if len(parts) == 1 and d(step.gives).name not in tree.symbols() else step.gives

    def _add_derivative_of_input(self, step, below):
        why = step.rule.backward_why.format(z=step.gives.name, x=step.takes.name)
        self._add_derivative_of_layer(step, below, step.takes, step.tree("backward_equation"), f"Chain rule: {why}.")

    def _add_derivative_of_layer(self, step, shown, by, tree, reason, has_rows=True):
        """dL/d`by` of a layer's parameter or input, where `tree` is its equation in the rule."""
        full = equations.written_out(step, tree) if step.parts else None
        tree, factors = equations.in_step(step, tree), ()
        above = self._above(step, tree)
        dz, local = d(above), Derivative(above, by)
        if (factor := equations.local_factor(tree, dz.name)) is not None:
            tensor = factor.evaluate(self.values) if factor.symbols() else torch.ones_like(self.values[dz.name])
            factors = (Factor(dz, self.values[dz.name]), Factor(local, tensor))
        self.add(
            d(by),
            "derivative",
            "backward",
            shown,
            [tree],
            self.values[d(by).name],
            [reason],
            chain=(dz, local),
            factors=factors,
            has_rows=has_rows,
            full=full,
        )

    def _update(self):
        """W′ = W − α D, as torch's optimizer computes it; a frozen parameter keeps its value."""
        for step in self.chain.layers:
            for _, quantity in step.parameters:
                if not self.chain.parameters[quantity.name].requires_grad:
                    self.values[quantity.after().name] = self.values[quantity.name]
                    continue
                self.learnt.append(quantity)
                self.directions[quantity.name] = self.descent.update(quantity, self.values, self.symbols)
                place = largest_place(self.values[d(quantity).name])
                after, direction, reason = self.descent.equations(quantity)
                updates = [*after, (quantity.after(), quantity - ALPHA * direction, reason)]
                for what, side, why in updates:
                    tensor = self.values[what.name]
                    self.add(what, "update", "update", step, [side], tensor, [why], place=place, has_rows=False)

    def _again(self):
        new = {name: self.values[f"{name}′"] for name in self.chain.start}
        after = self.chain.forward(new, self.values[INPUT.name])
        self.values |= {f"{name}′": tensor for name, tensor in after.items() if name != INPUT.name}
        self._forward("again")


def _description(step):
    """What a layer or an activation does."""
    if step.is_activation:
        return f"The activation {step.rule.description}."
    missing = tuple(parameter.name for parameter in step.missing)
    return (step.rule.description_without or {}).get(missing, step.rule.description)
