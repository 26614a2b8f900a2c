"""The records, in the article's order: forward, loss, backward from the last layer to the first, update, again."""

import re

import torch

from torchbp.engine.losses import LOSSES, value_and_derivative, with_logits
from torchbp.explanation import equations, worked
from torchbp.explanation.equations import d
from torchbp.explanation.records import Factor, Record
from torchbp.ops.binary_cross_entropy import bce_da
from torchbp.ops.linear import linear_dbias, linear_dweight, linear_dx
from torchbp.ops.mlp import ACTIVATIONS

ELEMENTWISE = re.compile(r"∘|[σhx]\(|y")  # signs of an equation without a matrix product


class Derivation:
    """One step of gradient descent on L(x, y): `records` are what the article derives, with the reader's numbers.

    `values` holds every tensor by its name: X, y, W1, b1, Z1, …, L, dL/dW1, …, W1′, …, L′.
    """

    def __init__(self, chain, loss, x, y, lr):
        self.chain, self.loss, self.lr = chain, loss, lr
        self.logits = LOSSES[type(loss)] is with_logits
        self.mean = loss.reduction == "mean"
        self.weight, self.pos_weight = getattr(loss, "weight", None), getattr(loss, "pos_weight", None)
        self.kind = LOSSES[type(loss)].__name__
        self.answer = self.name_of_answer()
        self.values = {"y": y, **chain.start, **chain.forward(chain.start, x)}
        self.records = []
        self.forward()
        self.backward()
        self.update()
        self.again()

    def name_of_answer(self):
        """A2 for a network that ends with Z2 and a loss of logits: σ(Z2) is part of the loss."""
        output = self.chain.output
        if not self.logits:
            return output
        return f"A{output[1:]}" if output[0] == "Z" else f"P{output[1:]}"

    def settings(self):
        return {"mean": self.mean, "weight": self.weight is not None, "pos_weight": self.pos_weight is not None}

    def add(self, name, stage, step, equation, tensor, why, factors=(), rule="", numbers=""):
        self.values[name] = tensor
        shapes = {key: value.shape for key, value in self.values.items()}
        if tensor.dim() and (stage == "update" or not ELEMENTWISE.search(equation)):
            sizes = equations.sizes(equation, shapes)
        else:
            sizes = f"({'×'.join(map(str, tensor.shape))}), element by element" if tensor.dim() else ""
        number, layer = (step.number, step.layer) if step else (None, "")
        factors = tuple(Factor(*factor) for factor in factors)
        self.records.append(Record(name, stage, number, layer, equation, tensor, why, sizes, rule, factors, numbers))

    def forward(self, prime="", stage="forward"):
        values = self.values
        for step in self.chain.steps:
            name = step.gives + prime
            equation, why = equations.forward(step, step.bias in self.chain.parameters, prime)
            why = "The same network once more, with its new weights." if prime else why
            self.add(name, stage, step, equation, values[name], why, numbers=worked.layer(step, values, prime))
        last, output = self.chain.steps[-1], values[self.chain.output + prime]
        if self.logits:
            name = self.answer + prime
            equation = f"{name} = σ({self.chain.output}{prime})"
            why = "The answer is a probability: σ turns the last layer's number, a logit, into P(y = 1 | x)."
            why = "The same network once more, with its new weights." if prime else why
            values[name] = ACTIVATIONS["sigmoid"][0](output)
            numbers = worked.activation("sigmoid", name, self.chain.output + prime, values)
            self.add(name, stage, last, equation, values[name], why, numbers=numbers)
        value, derivative, scale = value_and_derivative(self.loss, output, values["y"])
        equation = equations.loss(self.kind, self.answer + prime, **self.settings(), prime=prime)
        if stage == "again":
            why = "The same loss with the new weights: how well the step has done."
        elif self.kind == "squared":
            why = "How far the answers are from y: 0 for the right ones, and large errors weigh most."
        else:
            why = "How surprised the network is by y: almost 0 if sure and right, without bound if sure and wrong."
        numbers = worked.loss(self, output, prime)
        self.add(f"L{prime}", "loss" if stage == "forward" else stage, None, equation, value, why, numbers=numbers)
        return derivative * scale, scale

    def backward(self):
        values, steps = self.values, self.chain.steps
        gradient, scale = value_and_derivative(self.loss, values[self.chain.output], values["y"])[1:]
        gradient = gradient * scale
        self.of_answer(gradient, scale)
        for position in range(len(steps) - 1, -1, -1):
            step = steps[position]
            values[d(step.gives)] = gradient
            if step.kind == "linear":
                self.of_parameters(step, gradient)
                if step.number == 1:  # nothing that learns lies below
                    return
                gradient = linear_dx(gradient, values[step.weight])
                self.of_input(step, steps[position - 1], gradient)
            else:
                gradient = self.of_activation(step, gradient)

    def of_answer(self, gradient, scale):
        """dL/dA of the answers, and, where the loss takes logits, dL/dZ."""
        a, y = self.values[self.answer], self.values["y"]
        last, output = self.chain.steps[-1], self.chain.output
        equation = equations.loss_slope(self.kind, self.answer, **self.settings())
        why = "How the loss changes with each answer: here the way back begins."
        da = self.answer_slope(a, y, scale) if self.logits else gradient
        numbers = worked.answer_slope(self, da)
        self.add(d(self.answer), "backward", last, equation, da, why, rule=f"∂L/∂{self.answer}", numbers=numbers)
        if not self.logits:
            return
        slope = ACTIVATIONS["sigmoid"][2](torch.ones_like(a), a)
        rule = f"∂L/∂{output} = ∂L/∂{self.answer} · ∂{self.answer}/∂{output}"
        equation = equations.fused(output, self.answer, **self.settings())
        why = (
            "Chain rule, through σ. The two factors cancel: what is left is the answer minus the truth, exact even "
            "where σ is saturated and the product is not."
        )
        factors = (f"∂L/∂{self.answer}", da), (f"∂{self.answer}/∂{output}", slope)
        self.add(d(output), "backward", last, equation, gradient, why, factors, rule, worked.error(self, gradient))

    def answer_slope(self, a, y, scale):
        """dL/dA of A = σ(Z) for a loss that takes Z: that of the cross-entropy of probabilities."""
        dloss = torch.full_like(a, scale) if self.weight is None else self.weight * scale * torch.ones_like(a)
        if self.pos_weight is None:
            return bce_da(dloss, a, y)
        positive, negative = torch.ones_like(y), torch.zeros_like(y)
        return bce_da(dloss * self.pos_weight * y, a, positive) + bce_da(dloss * (1 - y), a, negative)

    def of_activation(self, step, da):
        values, a, z = self.values, self.values[step.gives], step.takes
        formula = ACTIVATIONS[step.kind][2]
        dz = formula(da, a)
        equation, slope = equations.SLOPES[step.kind]
        equation = equation.format(dz=d(z), da=d(step.gives), a=step.gives)
        rule = f"∂L/∂{z} = ∂L/∂{step.gives} · ∂{step.gives}/∂{z}"
        why = f"Chain rule, through the activation: its slope ∂{step.gives}/∂{z} is {slope.format(a=step.gives)}."
        factors = (f"∂L/∂{step.gives}", da), (f"∂{step.gives}/∂{z}", formula(torch.ones_like(a), a))
        numbers = worked.slope(step, values, da, dz)
        self.add(d(z), "backward", step, equation, dz, why, factors, rule, numbers)
        return dz

    def of_parameters(self, step, dz):
        values, z = self.values, step.gives
        a = values[step.takes]
        rows = ", and rows add up" if len(a) > 1 else ""
        for name, gradient, equation, factor, why in (
            (
                step.weight,
                linear_dweight(dz, a),
                f"{d(step.weight)} = ({d(z)})ᵀ {step.takes}",
                (f"∂{z}/∂{step.weight}", a),
                f"Chain rule: {z} contains each weight times the number that the weight multiplies, so its derivative "
                f"by the weight is that number{rows}.",
            ),
            (
                step.bias,
                linear_dbias(dz),
                f"{d(step.bias)} = Σₙ {d(z)}",
                (f"∂{z}/∂{step.bias}", torch.ones_like(dz)),
                f"Chain rule: {z} contains each bias as it is, so the factor is 1{rows}.",
            ),
        ):
            if name not in self.chain.parameters:
                continue
            rule = f"∂L/∂{name} = ∂L/∂{z} · ∂{z}/∂{name}"
            factors = (f"∂L/∂{z}", dz), factor
            numbers = worked.parameter(step, name, values, dz, gradient)
            self.add(d(name), "backward", step, equation, gradient, why, factors, rule, numbers)

    def of_input(self, step, below, gradient):
        a, z = step.takes, step.gives
        rule = f"∂L/∂{a} = ∂L/∂{z} · ∂{z}/∂{a}"
        why = (
            f"Chain rule: each number of {a} went into every unit of layer {step.number}, by its weight; the same "
            "weights bring the blame back."
        )
        factors = (f"∂L/∂{z}", self.values[d(z)]), (f"∂{z}/∂{a}", self.values[step.weight])
        equation = f"{d(a)} = {d(z)} {step.weight}"
        numbers = worked.blame(step, self.values, gradient)
        self.add(d(a), "backward", below, equation, gradient, why, factors, rule, numbers)

    def update(self):
        """W − α dW, as torch.optim.SGD computes it; a frozen parameter keeps its value."""
        self.learnt = []
        for step in self.chain.steps:
            for name in (step.weight, step.bias) if step.kind == "linear" else ():
                if name not in self.chain.parameters:
                    continue
                if not self.chain.parameters[name].requires_grad:
                    self.values[name + "′"] = self.values[name]
                    continue
                self.learnt.append(name)
                new = self.values[name].add(self.values[d(name)], alpha=-self.lr)
                equation = f"{name}′ = {name} − α {d(name)}"
                why = "A step against the gradient, which points uphill; the learning rate α says how far."
                numbers = worked.update(name, self.values, new, self.lr)
                self.add(name + "′", "update", step, equation, new, why, numbers=numbers)

    def again(self):
        parameters = self.chain.start
        new = {name: self.values[name + "′"] for name in parameters}
        after = self.chain.forward(new, self.values["X"])
        self.values |= {name + "′": tensor for name, tensor in after.items() if name != "X"}
        self.forward("′", "again")
