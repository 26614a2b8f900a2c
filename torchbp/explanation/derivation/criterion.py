"""The loss of a step: its rule, the answers that it compares with y, and its expressions in the step's quantities."""

import math

import torch
from torch.nn.functional import one_hot

from torchbp.engine.losses import count, value_and_derivative
from torchbp.explanation.notation.equations import K, N
from torchbp.explanation.notation.quantities import TARGET, Quantity, d
from torchbp.ops.expressions import Negative, Number, Product, Quotient
from torchbp.ops.registry import rule_of
from torchbp.ops.rules import Activation

EDGE = 1e-6  # of the domain of a loss: nearer to its bounds than this share, it may be computed otherwise


class Criterion:
    """A loss and what it is of.

    rule, options: of the loss. given: the names of the options that are neither None nor 0.
    target: what the loss compares the output with, as it takes it. y: the same as the equations have it, (N, K): of
        classes 1 for the class of a row, and 0 for the others.
    output: the quantity that the network gives.
    answer: the quantity that the loss compares with y: the output, or of a loss that takes logits what its activation
        makes of them, A2 after Z2.
    factor: what L is multiplied by. divisor: what Σ ℓ is divided by: what the mean divides by, 1 of a sum, over the
        factor.
    """

    def __init__(self, loss, chain, target, factor=1.0):
        self.loss, self.target = loss, target
        self.rule, self.options = rule_of(loss), rule_of(loss).options_of(loss)
        self.given = frozenset(name for name, value in self.options.items() if _is_given(value))
        dtype = next(iter(chain.start.values())).dtype
        self.y = one_hot(target, chain.outputs).to(dtype) if self.rule.target == "classes" else target
        self.mean, self.rows, self.elements = loss.reduction == "mean", len(self.y), self.y.numel()
        self.output = self.answer = chain.output
        if self.rule.answers is not None:
            self.answer = Quantity("A" if chain.steps[-1].is_layer else "P", chain.output.number)
        self.factor = factor
        self._count = count(self.rule, target, self.options, dtype) if self.mean else 1
        self.divisor = self._count if factor == 1 else float(self._count) / factor
        pairs = zip(self.rule.option_symbols, self.options.values(), strict=True)
        # the tensors among the options of the loss, by their symbols, in the shape of y
        self.weights = {s: value.expand_as(self.y) for s, value in pairs if isinstance(value, torch.Tensor)}

    def value_and_derivative(self, output):
        """L, and ∂L/∂output."""
        if self._is_nan(output):
            return output.sum() * math.nan, torch.full_like(output, math.nan)
        value, derivative, scale = value_and_derivative(self.loss, output, self.target)
        return value * self.factor, derivative * (scale * self.factor)

    def each(self, output):
        """ℓ, a number for each element of y, or for each row."""
        if self._is_nan(output):
            return torch.full_like(self.y, math.nan)
        return self.rule.each(output, self.target, **self.options)

    def _is_nan(self, output):
        """Whether the output holds a nan, which a loss of probabilities refuses with an error."""
        return self.rule.domain is not None and bool(output.isnan().any())

    def as_target(self, answer):
        """The answers on the scale of y: of log-probabilities the probabilities."""
        return answer if self.rule.as_target is None else self.rule.as_target(answer, **self.options)

    def answers_of(self, output):
        """What the loss makes of the network's output."""
        return self.rule.answers.forward(output, **self.rule.answers_options)

    def answers_tree(self, name, prime=False):
        """An expression of the rule of the answers in this step's quantities: "equation", or "derivative", ∂L/∂Z."""
        rule, options = self.rule.answers, self.rule.answers_options
        answer, output = (quantity.after() if prime else quantity for quantity in (self.answer, self.output))
        if not isinstance(rule, Activation):
            name = {"derivative": "backward_equation"}.get(name, name)
            return rule.tree(name, **options).replace({"X": output, "Z": answer, "dZ": d(answer)})
        if name == "derivative":
            return d(answer) * rule.tree("slope").replace({"A": answer, "Z": output})
        return rule.tree(name).replace({"Z": output})

    def tree(self, name, prime=False, computed=False):
        """An expression of the loss, "equation", "slope" or "error", of this step's quantities."""
        tree = self.rule.tree(name, self.given, computed)
        found = {"A": self.answer, "Z": self.output}
        found = {symbol: quantity.after() if prime else quantity for symbol, quantity in found.items()}
        for symbol, value in zip(self.rule.option_symbols, self.options.values(), strict=True):
            found[symbol] = Quantity(symbol) if isinstance(value, torch.Tensor) else Number(value)
        return tree.replace(found | {"y": TARGET})

    def near_a_bound(self, answer):
        """Where an answer is so near to a bound of the loss's domain that the loss may be computed otherwise than by
        its equation; of a loss without a domain it may be everywhere."""
        if self.rule.domain is None:
            return torch.ones_like(answer, dtype=torch.bool)
        low, high = self.rule.domain
        least = EDGE * (high - low)
        return (answer - low < least) | (high - answer < least)

    def count_symbol(self):
        """What Σ ℓ is divided by, as the equations call it; None of a sum."""
        symbol = self._mean_symbol()
        if self.factor == 1:
            return symbol
        return Number(1 / self.factor) if symbol is None else 1 / self.factor * symbol

    def _mean_symbol(self):
        if not self.mean:
            return None
        rows, elements = self.rows, self.elements
        if self.rule.count is None or self._count in (rows, elements):
            return N if elements == rows or (self.rule.count is not None and self._count == rows) else N * K
        return Number(float(self._count))

    def divided(self, tree):
        """An element's part of ∂L, with numbers: divided by what Σ ℓ is divided by."""
        if self._cancels(tree):
            tree, divisor = _without_first(tree), self._count
        else:
            divisor = self.divisor
        return tree if divisor == 1 else Quotient(tree, Number(float(divisor)))

    def over_count(self, tree):
        """The same with symbols, the count before the tree."""
        tree, symbol = self._counted(tree)
        if symbol is None:
            return tree
        if isinstance(tree, Negative):
            return Negative(Quotient(Number(1), symbol) * tree.operand)
        return Quotient(Number(1), symbol) * tree

    def under_count(self, tree):
        """The same with the count under the tree."""
        tree, symbol = self._counted(tree)
        return tree if symbol is None else tree / symbol

    def _counted(self, tree):
        return (_without_first(tree), self._mean_symbol()) if self._cancels(tree) else (tree, self.count_symbol())

    def _cancels(self, tree):
        """Whether the factor cancels the tree's first number: ½ · 2 (A − y) is A − y."""
        first = tree.factors[0] if isinstance(tree, Product) else None
        return self.factor != 1 and isinstance(first, Number) and first.value * self.factor == 1

    def computed_how(self, name, prime=False):
        """The sentence on what is computed in place of the expression "equation" or "slope"."""
        a, z = (quantity.after() if prime else quantity for quantity in (self.answer, self.output))
        why = getattr(self.rule, f"{name}_computed").why
        return (why(self.given) if callable(why) else why).format(a=a.name, z=z.name)


def _without_first(product):
    _, *others = product.factors
    return others[0] if len(others) == 1 else Product(tuple(others))


def _is_given(value):
    return value is not None if isinstance(value, torch.Tensor) else value not in (None, 0)
