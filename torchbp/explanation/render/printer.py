"""What all printers of equations share: which node becomes what, and where brackets are needed.

A printer is a subclass with a method for each kind of node. `PlainText`, `MathML` and `LaTeX` are three of them.
"""

import math

from torchbp.explanation.notation.numbers import Rest, Value
from torchbp.explanation.notation.quantities import INPUT, Derivative, Quantity
from torchbp.ops.expressions import (
    Call,
    Indicator,
    MatrixProduct,
    Negative,
    Number,
    Power,
    Product,
    Quotient,
    Sum,
    SumOfRow,
    SumOver,
    Symbol,
    Transpose,
)
from torchbp.ops.places import Beside, Collect, Contraction, FirstLargest, Folded, Gather

SUM, PRODUCT, ATOM = 1, 2, 3  # how strongly a node holds together


class Printer:
    """Prints a tree. `of_numbers` is true inside Σ over all elements, where products are products of numbers.

    open_ended: nodes that seem to take the next factor in, unless they stand in brackets.
    """

    open_ended = SumOver | SumOfRow | MatrixProduct | Collect | Contraction

    def __call__(self, tree):
        return self._node(tree, False)

    def _node(self, tree, of_numbers):
        for cls in type(tree).__mro__:
            if method := METHODS.get(cls):
                return getattr(self, method)(tree, of_numbers)
        raise TypeError(f"explain cannot print {type(tree).__name__}; build equations from torchbp.ops.expressions")

    def _at_least(self, tree, level, of_numbers):
        """The node, in brackets where it holds together less than `level`."""
        text = self._node(tree, of_numbers)
        return text if strength(tree) >= level else self.bracket(text)

    def _sum(self, tree, of_numbers):
        parts = []
        for position, term in enumerate(tree.terms):
            negative = isinstance(term, Negative)
            term = term.operand if negative else term
            if position or negative:  # the first term needs no brackets, even of a negative number
                parts.append(self.minus if negative else self.plus)
                parts.append(self._at_least(term, PRODUCT, of_numbers))
            else:
                parts.append(self._node(term, of_numbers))
        if isinstance(tree.terms[0], Negative):
            parts[0] = self.sign
        return self.row(parts)

    def _negative(self, tree, of_numbers):
        return self.row([self.sign, self._at_least(tree.operand, PRODUCT, of_numbers)])

    def _product(self, tree, of_numbers):
        parts, last = [], len(tree.factors) - 1
        for position, factor in enumerate(tree.factors):
            if position:
                parts.append(self._times(tree.factors[position - 1], factor, of_numbers))
            text = self._node(factor, of_numbers)
            open_end = position < last and isinstance(factor, self.open_ended)
            parts.append(self.bracket(text) if strength(factor) < PRODUCT or open_end else text)
        return self.row(parts)

    def _times(self, left, right, of_numbers):
        """Before a number a dot; after a matrix the sign of a product element by element."""
        if is_tensor(left) and not of_numbers:
            return self.elementwise
        if not right.symbols():
            return self.dot
        return "" if isinstance(left, Symbol) and isinstance(right, Symbol) else self.space

    def _matrix_product(self, tree, of_numbers):
        sides = (self._at_least(side, PRODUCT, of_numbers) for side in (tree.left, tree.right))
        return self.row([next(sides), self.space, next(sides)])

    def _contraction(self, tree, of_numbers):
        left, right = (self._at_least(side, ATOM, of_numbers) for side in (tree.left, tree.right))
        return self.row([left, self.operator(tree.sign), right])

    def _gather(self, tree, of_numbers):
        if not tree.name:
            return self._node(tree.operand, of_numbers)
        return self.row([self._at_least(tree.operand, ATOM, of_numbers), self.square(self.words(tree.name))])

    def _first_largest(self, tree, of_numbers):
        return self.square(self.row([self._node(tree.operand, of_numbers), self.space, self.words("is largest")]))

    def _beside(self, tree, of_numbers):
        return self.square(self.comma.join(self._node(side, of_numbers) for side in (tree.left, tree.right)))

    def _collect(self, tree, of_numbers):
        """A sum over rows, or over units."""
        sums = SumOver(tree.operand, rows=True) if tree.rows else SumOfRow(tree.operand)
        return self._node(sums, of_numbers)

    def _call(self, tree, of_numbers):
        arguments = [self._node(argument, of_numbers) for argument in tree.arguments]
        if not tree.function.brackets and len(arguments) == 1 and isinstance(tree.arguments[0], Quantity):
            return self.row([self.function(tree.function), self.space, *arguments])
        return self.row([self.function(tree.function), self.bracket(self.comma.join(arguments))])


def is_tensor(tree):
    """Whether there is a quantity of the network in the tree; y and the loss's weights alone are written as numbers."""
    if isinstance(tree, Quantity):
        return tree.number is not None or tree == INPUT
    return isinstance(tree, Derivative) or any(map(is_tensor, tree.children()))


def strength(tree):
    if isinstance(tree, Gather | Folded):
        return ATOM if tree.name else strength(tree.operand)
    if isinstance(tree, Sum | Negative) or (isinstance(tree, Number | Value) and tree.value < 0):
        return SUM
    products = Product | MatrixProduct | Quotient | SumOver | SumOfRow | Collect | Contraction
    return PRODUCT if isinstance(tree, products) else ATOM


METHODS = {
    Sum: "_sum",
    Negative: "_negative",
    Product: "_product",
    MatrixProduct: "_matrix_product",
    Contraction: "_contraction",
    Gather: "_gather",
    Folded: "_gather",
    FirstLargest: "_first_largest",
    Beside: "_beside",
    Collect: "_collect",
    Call: "_call",
    Quotient: "quotient",
    Power: "power",
    Transpose: "transpose",
    SumOver: "sum_over",
    SumOfRow: "sum_of_row",
    Indicator: "indicator",
    Number: "constant",
    Value: "value",
    Rest: "rest",
    Symbol: "symbol",
    Quantity: "quantity",
    Derivative: "derivative",
}


def whole(exponent):
    """The exponent as an integer, or None."""
    if isinstance(exponent, Number) and math.isfinite(exponent.value) and exponent.value == int(exponent.value):
        return int(exponent.value)
    return None
