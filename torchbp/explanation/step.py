"""The records of one training step, in the article's order: forward, loss, backward, update, and forward again."""

import functools
from collections import ChainMap

import torch

from torchbp.engine.losses import value_and_derivative
from torchbp.explanation import equations
from torchbp.explanation.agreement import differences, disagreement
from torchbp.explanation.criterion import Criterion
from torchbp.explanation.digits import CLOSE
from torchbp.explanation.equations import ALPHA, K, N
from torchbp.explanation.loss_record import loss_record
from torchbp.explanation.numeric_examples import example, largest_place
from torchbp.explanation.quantities import INPUT, TARGET, Derivative, d
from torchbp.explanation.records import Factor, Record

AGAIN = "The same network once more, with its new parameters."
COMPARED_WITH = {"backward": "autograd", "update": "torch.optim.SGD"}  # by the stage; the others have modules


class TrainingStep:
    """One step of gradient descent on L(x, y): `records` are what the article derives, with the reader's numbers.

    `values` holds every tensor by its name: X, y, W1, b1, Z1, …, L, dL/dW1, …, W1′, …, L′. `disagreements` holds a
    failing check by the name of each record whose equation does not give its tensor; the example is of such an element.
    """

    def __init__(self, chain, loss, x, y, lr):
        self.chain, self.loss, self.lr = chain, loss, lr
        self.criterion = Criterion(loss, chain, y)
        self.fixed = {TARGET.name, *self.criterion.rule.option_symbols}
        self.saved, self.records, self.learnt, self.disagreements = {}, [], [], {}
        self.values = {TARGET.name: y, **self.criterion.weights(y), **chain.start}
        self.values |= chain.forward(chain.start, x, saved=self.saved)
        self.symbols = ChainMap(self.values, {N.name: len(y), K.name: y[0].numel(), ALPHA.name: lr})
        self._forward()
        self._backward()
        self._update()
        self._again()

    def _add(self, quantity, kind, stage, step, sides, tensor, reason, tree=None, place=None, excused=None, **more):
        """Add a record. `tree` is the equation of its example, where that is not the last of the sides. `excused` are
        the elements that are not computed by it, and the equation of those."""
        self.values[quantity.name] = tensor
        shown = sides[-1] if tree is None else tree
        errors, bounds = differences(shown, tensor, self.symbols)
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
        if stage in COMPARED_WITH:
            return COMPARED_WITH[stage]
        if kind != "answer":
            return step.compared_with
        rule = self.criterion.rule.answers
        return "torch" if rule.torch_module or not rule.module_class else rule.module_class.__name__

    def _forward(self, stage="forward"):
        """The layers and the loss; in the stage "again" after the update."""
        prime = stage == "again"
        for step in self.chain.steps:
            gives = step.gives.after() if prime else step.gives
            side = equations.layer_output(step, prime)
            reason = AGAIN if prime else _description(step)
            self._add(gives, "output", stage, step, [side], self.values[gives.name], [reason])
        output = self.chain.output.after() if prime else self.chain.output
        z = self.values[output.name]
        if answers := self.criterion.rule.answers:
            answer = self.criterion.answer.after() if prime else self.criterion.answer
            side = answers.tree("equation").replace({"Z": output})
            reason = AGAIN if prime else self.criterion.rule.answers_description.format(z=output.name, a=answer.name)
            self._add(answer, "answer", stage, self.chain.steps[-1], [side], answers.forward(z), [reason])
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
        chain, values = self.chain, self.values
        _, gradient, scale = value_and_derivative(self.loss, values[chain.output.name], values["y"])
        gradient = gradient * scale
        self._add_derivative_of_answers(gradient, scale)
        for place in range(len(chain.steps) - 1, chain.first - 1, -1):
            step = chain.steps[place]
            values[d(step.gives).name] = gradient
            if not step.is_layer:
                gradient = self._add_derivative_of_activation(step, gradient)
                continue
            self._add_gradients_of_parameters(step, gradient)
            if place > chain.first:
                gradient = self._add_derivative_of_input(step, chain.steps[place - 1], gradient)

    def _add_derivative_of_answers(self, gradient, scale):
        """dL/dA of the answers, and, where the loss takes logits, dL/dZ."""
        answer, output, last = self.criterion.answer, self.chain.output, self.chain.steps[-1]
        slope, bounded = self.criterion.tree("slope"), self.bounded
        reason = f"The backward pass starts here: how fast L changes when {answer.name} changes."
        da, excused = gradient, None
        if bounded.any():
            reason += f" {self.criterion.computed_how('slope')}"
            excused = bounded, self.criterion.divided(self.criterion.tree("slope", computed=True))
        if self.criterion.rule.answers is not None:
            computed = self.criterion.tree("slope", computed=self.criterion.rule.slope_computed is not None)
            da = computed.evaluate(self.symbols) * scale
        self._add(
            d(answer),
            "derivative",
            "backward",
            last,
            [self.criterion.over_count(slope)],
            da,
            [reason],
            self.criterion.divided(slope),
            excused=excused,
            chain=(d(answer),),
        )
        if self.criterion.rule.answers is None:
            return
        rule, a, z = self.criterion.rule.answers, self.values[answer.name], self.values[output.name]
        local = Derivative(answer, output)
        product = d(answer) * rule.tree("slope").replace({"A": answer, "Z": output})
        sides, tree, excused = [product], None, None
        slope_is = rule.slope_description.format(a=answer.name, z=output.name)
        reason = ["Chain rule: multiply by the slope ", local, f", {slope_is}."]
        if self.criterion.rule.error is not None:
            error, symbol = self.criterion.tree("error"), self.criterion.count_symbol()
            sides.append(error if symbol is None else error / symbol)
            tree = self.criterion.divided(error)
            words = self.criterion.rule.error_description
            words = words(self.criterion.given) if callable(words) else words
            reason = [words.format(a=answer.name, z=output.name)]
            if self.criterion.rule.error_computed and (rounded := self._rounded(tree, gradient)).any():
                reason[0] += f" {self.criterion.computed_how('error')}"
                excused = rounded, self.criterion.divided(self.criterion.tree("error", computed=True))
        factors = (Factor(d(answer), da), Factor(local, rule.derivative(a, z)))
        self._add(
            d(output),
            "derivative",
            "backward",
            last,
            sides,
            gradient,
            reason,
            tree,
            excused=excused,
            chain=(d(answer), local),
            factors=factors,
        )

    def _rounded(self, tree, gradient):
        """Where the equation gives other digits than the gradient has, since its numbers are rounded."""
        errors, bounds = differences(tree, gradient, self.symbols)
        return (errors > CLOSE * gradient.abs()) & (errors <= bounds)

    def _add_derivative_of_activation(self, step, da):
        values, a, z = self.values, step.gives, step.takes
        dz = step.rule.backward(da, self.saved[a.name], **step.options)
        local = Derivative(a, z)
        slope = step.rule.slope_description.format(a=a.name, z=z.name)
        self._add(
            d(z),
            "derivative",
            "backward",
            step,
            [d(a) * step.rule.tree("slope", **step.options).replace(equations.nodes(step))],
            dz,
            ["Chain rule: multiply by the activation's slope ", local, f", {slope}."],
            chain=(d(a), local),
            factors=(Factor(d(a), da), Factor(local, step.derivative(values[a.name], values[z.name]))),
        )
        return dz

    def _add_gradients_of_parameters(self, step, dz):
        z, rows = step.gives, ", and rows add up" if len(dz) > 1 else ""
        for parameter, quantity in step.parameters:
            gradient = parameter.gradient(dz, self.saved[z.name], **step.options)
            why = parameter.why.format(z=z.name, x=step.takes.name)
            self._add_derivative_of_layer(
                step, step, quantity, parameter.equation, gradient, f"Chain rule: {why}{rows}.", has_rows=False
            )

    def _add_derivative_of_input(self, step, below, dz):
        arguments = step.arguments(self.chain.start)
        gradient = step.rule.backward(dz, self.saved[step.gives.name], *arguments, **step.options)
        why = step.rule.backward_why.format(z=step.gives.name, x=step.takes.name)
        self._add_derivative_of_layer(
            step, below, step.takes, step.rule.backward_equation, gradient, f"Chain rule: {why}."
        )
        return gradient

    def _add_derivative_of_layer(self, step, shown, by, tree, gradient, reason, has_rows=True):
        """dL/d`by` of a layer's parameter or input, where `tree` is its equation in the rule."""
        dz, local = d(step.gives), Derivative(step.gives, by)
        tree = tree.replace(equations.nodes(step))
        factors = ()
        if (factor := equations.local_factor(tree, dz.name)) is not None:
            tensor = factor.evaluate(self.values) if factor.symbols() else torch.ones_like(self.values[dz.name])
            factors = (Factor(dz, self.values[dz.name]), Factor(local, tensor))
        self._add(
            d(by),
            "derivative",
            "backward",
            shown,
            [tree],
            gradient,
            [reason],
            chain=(dz, local),
            factors=factors,
            has_rows=has_rows,
        )

    def _update(self):
        """W − α dW, as torch.optim.SGD computes it; a frozen parameter keeps its value."""
        for step in self.chain.layers:
            for _, quantity in step.parameters:
                if not self.chain.parameters[quantity.name].requires_grad:
                    self.values[quantity.after().name] = self.values[quantity.name]
                    continue
                self.learnt.append(quantity)
                gradient = self.values[d(quantity).name]
                new = self.values[quantity.name].add(gradient, alpha=-self.lr)
                reason = "A step against the gradient, which points uphill; the learning rate α says how far."
                side = quantity - ALPHA * d(quantity)
                place = largest_place(gradient)
                self._add(
                    quantity.after(), "update", "update", step, [side], new, [reason], place=place, has_rows=False
                )

    def _again(self):
        new = {name: self.values[f"{name}′"] for name in self.chain.start}
        after = self.chain.forward(new, self.values[INPUT.name])
        self.values |= {f"{name}′": tensor for name, tensor in after.items() if name != INPUT.name}
        self._forward("again")


def _description(step):
    """What a layer or an activation does."""
    if not step.is_layer:
        return f"The activation {step.rule.description}."
    missing = tuple(parameter.name for parameter in step.missing)
    return (step.rule.description_without or {}).get(missing, step.rule.description)
