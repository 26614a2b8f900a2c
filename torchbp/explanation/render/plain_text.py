"""Equations as plain text: Z1 = X W1ᵀ + b1, and with numbers in it Z1[1,2] = 0.5·(−0.2) + 0.1 = 0."""

import math

from torchbp.explanation.notation.numbers import formatted
from torchbp.explanation.notation.quantities import Derivative, Quantity
from torchbp.explanation.render.printer import ATOM, PRODUCT, SUM, Printer, strength, whole
from torchbp.ops.expressions import Quotient, Sum
from torchbp.ops.places import Folded

RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class PlainText(Printer):
    """partial: the sign of a derivative: dL/dW1, or with ∂ ∂L/∂W1. shapes: name → shape; each quantity is then printed
    as its shape."""

    open_ended = Printer.open_ended | Quotient
    plus, minus, sign, dot, elementwise, space, comma = " + ", " − ", "−", "·", " ∘ ", " ", ", "

    def __init__(self, partial="d", shapes=None):
        self.partial, self.shapes = partial, shapes

    def row(self, parts):
        return "".join(parts)

    def bracket(self, text):
        return f"({text})"

    def square(self, text):
        return f"[{text}]"

    def words(self, text):
        return text

    def operator(self, sign):
        return f" {sign} "

    def _gather(self, tree, of_numbers):
        if not self.shapes or not isinstance(tree.operand, Quantity | Derivative):
            return super()._gather(tree, of_numbers)
        rows, *row = self.shapes[tree.operand.name]
        if isinstance(tree, Folded):
            return f"({rows * math.prod(row) // tree.columns}×{tree.columns})"
        return f"({'×'.join(map(str, tree.shape or (rows, len(tree.index))))})"

    def function(self, function):
        return function.name

    def quotient(self, tree, of_numbers):
        above = self._at_least(tree.numerator, PRODUCT, of_numbers)
        return f"{above}/{self._at_least(tree.denominator, ATOM, of_numbers)}"

    def power(self, tree, of_numbers):
        base = self._node(tree.base, of_numbers)
        if strength(tree.base) < ATOM or isinstance(tree.base, Derivative) or "e" in base:
            base = self.bracket(base)
        if (exponent := whole(tree.exponent)) is not None:
            return f"{base}{str(exponent).translate(RAISED)}"
        return f"{base}^{self._at_least(tree.exponent, ATOM, of_numbers)}"

    def transpose(self, tree, of_numbers):
        if self.shapes and isinstance(tree.operand, Quantity | Derivative):
            return self._shape(tree.operand, turned=True)
        if self.shapes and isinstance(tree.operand, Folded):
            rows, columns = self._node(tree.operand, of_numbers)[1:-1].split("×")
            return f"({columns}×{rows})"
        text = self._node(tree.operand, of_numbers)
        return f"{text}ᵀ" if isinstance(tree.operand, Quantity) else f"({text})ᵀ"

    def sum_over(self, tree, of_numbers):
        inside = self._node(tree.operand, of_numbers or not tree.rows)
        if isinstance(tree.operand, Sum):
            inside = f"({inside})" if tree.rows else f"[ {inside} ]"
        return f"{'Σₙ' if tree.rows else 'Σ'} {inside}"

    def sum_of_row(self, tree, of_numbers):
        inside = self._node(tree.operand, of_numbers)
        return f"Σₖ {self.bracket(inside) if isinstance(tree.operand, Sum) else inside}"

    def indicator(self, tree, of_numbers):
        sides = (self._at_least(side, SUM, of_numbers) for side in (tree.left, tree.right))
        return f"[{next(sides)} {tree.relation} {next(sides)}]"

    def constant(self, tree, of_numbers):
        return formatted(tree.value, 12)

    def value(self, tree, of_numbers):
        return tree.text()

    def rest(self, tree, of_numbers):
        return f"[{tree.count} more: {tree.text()}]"

    def symbol(self, tree, of_numbers):
        return tree.name

    def quantity(self, tree, of_numbers=False):
        return self._shape(tree) if self.shapes else tree.name

    def derivative(self, tree, of_numbers=False):
        if self.shapes:
            return self._shape(tree)
        return f"{self.partial}{tree.of.name}/{self.partial}{tree.by.name}"

    def _shape(self, tree, turned=False):
        shape = self.shapes[tree.name]
        return f"({'×'.join(map(str, reversed(shape) if turned else shape))})"


plain = PlainText()
partial = PlainText("∂")
