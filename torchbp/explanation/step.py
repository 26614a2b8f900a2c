"""The records, in the article's order: forward, loss, backward from the last layer to the first, update, again."""

from torchbp.engine.losses import value_and_derivative
from torchbp.explanation import equations
from torchbp.explanation import numeric_examples as worked
from torchbp.explanation.backward import backward
from torchbp.explanation.equations import d
from torchbp.explanation.records import Factor, Record
from torchbp.ops.rules import activation, rule_of


class Derivation:
    """One step of gradient descent on L(x, y): `records` are what the article derives, with the reader's numbers.

    `values` holds every tensor by its name: X, y, W1, b1, Z1, …, L, dL/dW1, …, W1′, …, L′.
    """

    def __init__(self, chain, loss, x, y, lr):
        self.chain, self.loss, self.lr = chain, loss, lr
        self.logits = rule_of(loss).answers is not None
        self.mean = loss.reduction == "mean"
        self.weight, self.pos_weight = getattr(loss, "weight", None), getattr(loss, "pos_weight", None)
        self.kind = {"mse_loss": "squared", "binary_cross_entropy": "of_probabilities"}.get(
            rule_of(loss).name, "with_logits"
        )
        self.answer = self.name_of_answer()
        self.values = {"y": y, **chain.start, **chain.forward(chain.start, x)}
        self.records = []
        self.forward()
        backward(self)
        self.update()
        self.again()

    def name_of_answer(self):
        """A2 for a network that ends with Z2 and a loss of logits: σ(Z2) is part of the loss."""
        output = self.chain.output
        if not self.logits:
            return output
        return f"A{output[1:]}" if output[0] == "Z" else f"P{output[1:]}"

    def settings(self):
        count = ("N" if self.values["y"].shape[1] == 1 else "NK") if self.mean else ""
        return {"count": count, "weight": self.weight is not None, "pos_weight": self.pos_weight is not None}

    def add(self, name, stage, step, equation, tensor, why, factors=(), rule="", numbers=""):
        self.values[name] = tensor
        shapes = {key: value.shape for key, value in self.values.items()}
        sizes = equations.sizes(equation, shapes) if tensor.dim() else ""
        number, layer = (step.number, step.layer) if step else (None, "")
        factors = tuple(Factor(*factor) for factor in factors)
        self.records.append(Record(name, stage, number, layer, equation, tensor, why, sizes, rule, factors, numbers))

    def forward(self, prime="", stage="forward"):
        """The layers and the loss; with a prime, after the step."""
        values = self.values
        again = "The same network once more, with its new weights." if prime else ""
        for step in self.chain.steps:
            name = step.gives + prime
            equation, why = equations.forward(step, step.bias in self.chain.parameters, prime)
            self.add(name, stage, step, equation, values[name], again or why, numbers=worked.layer(step, values, prime))
        last, output = self.chain.steps[-1], values[self.chain.output + prime]
        if self.logits:
            name = self.answer + prime
            equation = f"{name} = σ({self.chain.output}{prime})"
            why = "The answer is a probability: σ turns the last layer's number, a logit, into P(y = 1 | x)."
            values[name] = activation("sigmoid").apply(output)
            numbers = worked.activation("sigmoid", name, self.chain.output + prime, values)
            self.add(name, stage, last, equation, values[name], again or why, numbers=numbers)
        value, _, _ = value_and_derivative(self.loss, output, values["y"])
        equation = equations.loss(self.kind, self.answer + prime, **self.settings(), prime=prime)
        if stage == "again":
            why = "The same loss with the new weights: how well the step has done."
        elif self.kind == "squared":
            why = "How far the answers are from y: 0 for the right ones, and large errors weigh most."
        else:
            why = "How far the answers, probabilities, are from y: least where they are y, and large if sure and wrong."
        why += self.as_torch_computes(prime)
        numbers = worked.loss(self, output, prime)
        self.add(f"L{prime}", "loss" if stage == "forward" else stage, None, equation, value, why, numbers=numbers)

    def as_torch_computes(self, prime):
        """A sentence, where the loss is not computed by its equation, since A is too near to 0 or 1."""
        z = self.chain.output + prime
        if self.logits and worked.from_logits(self, prime).any():
            return (
                f" Its equation asks too much of an A that rounds to 0 or 1: it is computed from {z}, as "
                f"(1 − y) {z} + ln(1 + e^−{z})."
            )
        if self.kind == "of_probabilities" and worked.clamped(self, prime).any():
            return " As in torch's BCELoss no logarithm is below −100: no loss is infinite."
        return ""

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
