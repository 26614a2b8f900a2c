"""Equations with numbers in them, of one element: the largest one, or one that the equation does not give.

The place of the element is [row, unit], both from 1.

What a line says is true as it is printed: where numbers almost cancel, they have more digits.
"""

import math
from dataclasses import dataclass

import torch

from torchbp.explanation.notation.digits import (
    CLOSE,
    compute,
    exactly,
    in_float64,
    size_of,
    true_as_printed,
    with_digits,
)
from torchbp.explanation.notation.equations import ALPHA, rebuilt
from torchbp.explanation.notation.fixed_numbers import ZERO, fixed_value, without_zeros
from torchbp.explanation.notation.numbers import Rest, Value, formatted
from torchbp.explanation.notation.quantities import Derivative, Quantity
from torchbp.explanation.render.plain_text import plain
from torchbp.ops import expressions
from torchbp.ops.expressions import (
    Expression,
    Indicator,
    MatrixProduct,
    Number,
    Product,
    Sum,
    SumOfRow,
    SumOver,
    Symbol,
    Transpose,
)
from torchbp.ops.places import FirstLargest, Multilinear

WHOLE, TERMS = 8, 3  # products of a sum that are written out: all of a short sum, the largest of a longer one
ROUNDING = 100  # eps, of the size of what is rounded


@dataclass(frozen=True)
class Example:
    """A quantity's element, and the equation that gives it with its numbers.

    place: of the element, indices from 0. tree: of `Value`s. value: the element.
    exact: what the tree gives without rounding. bound: how far rounding may bring `value` from it.
    """

    quantity: Quantity | Derivative
    place: tuple[int, ...]
    tree: Expression
    value: float
    exact: float
    bound: float

    @property
    def agrees(self):
        """Whether the equation gives the number, up to rounding. What overflows is not compared."""
        if not math.isfinite(self.value) or math.isnan(self.exact) or not math.isfinite(self.bound):
            return True
        return abs(self.exact - self.value) <= self.bound

    @property
    def is_close(self):
        """Whether the equation gives the digits that are printed. What overflows is not compared."""
        return not math.isfinite(self.value) or math.isnan(self.exact) or is_close(self.exact, self.value)

    def text(self, printer=plain):
        left, right, value = named(printer(self.quantity), self.place), printer(self.tree), formatted(self.value)
        if right == value:
            return f"{left} = {value}"
        exact = self.value if self.is_close else self.exact
        line = f"{left} = {right} = {formatted(exact)}"
        if exact == self.value:
            return line
        return f"{line}, which is {value} where it is rounded" if self.agrees else f"{line}, and not {value}"


def is_close(exact, value):
    """Whether a line that gives `exact` may end with the value."""
    return exact == value or abs(exact - value) <= CLOSE * abs(value) < math.inf


def named(name, place):
    return f"{name}[{','.join(str(index + 1) for index in place)}]" if place else name


def largest_place(tensor):
    """The place of the largest element by magnitude."""
    at, place = int(tensor.abs().reshape(-1).argmax()), []
    for size in reversed(tensor.shape):
        at, index = divmod(at, size)
        place.append(index)
    return tuple(reversed(place))


def example(quantity, tree, place, value, values, fixed=(), verified=True):
    """The tree with the numbers of the element at `place`. `values` has a tensor or a number for each symbol; `fixed`
    are the names of those that no formula computes, y and the loss's weights. Unless it is `verified`, only its digits
    are chosen."""
    numeric = with_digits(without_zeros(Numbers(values, fixed).of(tree, place)))
    exact, bound = math.nan, math.nan
    if verified and math.isfinite(value):
        true = exactly(numeric)
        numeric = true_as_printed(numeric, true)
        dtype = torch.finfo(values["X"].dtype)
        exact, bound = float(true), ROUNDING * dtype.eps * size_of(numeric) + dtype.tiny
    return Example(quantity, place, numeric, value, exact, bound)


class Numbers:
    """The numbers of one element in the place of an equation's quantities."""

    def __init__(self, values, fixed=()):
        self.values, self.fixed = values, fixed

    def of(self, tree, place):
        if isinstance(tree, Quantity | Derivative | Symbol):
            return self._value(tree, place)
        if isinstance(tree, Number | Value | Rest):
            return tree
        if isinstance(tree, Transpose):
            return self.of(tree.operand, (*place[:-2], place[-1], place[-2]))
        if isinstance(tree, MatrixProduct):
            return self._matrix_product(tree, place)
        if isinstance(tree, SumOver):
            return self._sum_over_rows(tree, place)
        if isinstance(tree, SumOfRow):
            return self._sum_of_row(tree, place)
        if isinstance(tree, Multilinear):
            return self._multilinear(tree, place)
        if isinstance(tree, FirstLargest):
            return Number(int(tree.evaluate(self.values)[place]))
        if isinstance(tree, Indicator):
            sides = (self.of(side, place) for side in (tree.left, tree.right))
            values = (compute(side, lambda leaf: leaf.value, in_float64) for side in sides)
            left, right = (torch.tensor(value, dtype=torch.float64) for value in values)
            return Number(int(expressions.RELATIONS[tree.relation](left, right)))
        return rebuilt(tree, [self.of(child, place) for child in tree.children()])

    def _value(self, tree, place):
        name = tree.name
        tensor = self.values[name]
        if not isinstance(tensor, torch.Tensor):
            return Value(tensor, source=(name,)) if tree == ALPHA else Number(tensor)
        shape = tensor.shape
        at = tuple(0 if size == 1 else i for size, i in zip(shape, place[len(place) - len(shape) :], strict=True))
        return Value(tensor[at].item(), fixed=name in self.fixed, source=(name, at))

    def _multilinear(self, tree, place):
        """The products that the element adds up, the largest of them."""
        children = tree.children()
        values = [child.evaluate(self.values) for child in children]
        terms = tree.terms(place, [value.shape for value in values])
        numbers = [math.prod(values[child][at].item() for child, at in term) for term in terms]

        def node(i):
            factors = [self.of(children[child], at) for child, at in terms[i]]
            return factors[0] if len(factors) == 1 else Product(tuple(factors))

        return _shortened(numbers, node, TERMS)

    def _matrix_product(self, tree, place):
        row, column = place[-2:]
        left, right = (side.evaluate(self.values) for side in (tree.left, tree.right))
        return _shortened_products(left[row].tolist(), right[:, column].tolist())

    def _sum_over_rows(self, tree, place):
        factors = tree.operand.factors if isinstance(tree.operand, Product) else (tree.operand,)
        columns = [self._column(factor, place[-1]) for factor in factors]
        return _shortened_products(*columns) if len(columns) > 1 else shortened_sum(columns[0])

    def _sum_of_row(self, tree, place):
        """Σₖ, with the largest terms written out; those that are 0 by a fixed number are left out."""
        units = max(value.shape[-1] for name in tree.symbols() if (value := self._tensor(name)) is not None)
        terms = [without_zeros(self.of(tree.operand, (*place[:-1], unit))) for unit in range(units)]
        terms = [term for term in terms if term is not ZERO and fixed_value(term) != 0] or [ZERO]
        numbers = [compute(term, lambda leaf: leaf.value, in_float64) for term in terms]
        return _shortened(numbers, lambda i: terms[i], TERMS)

    def _tensor(self, name):
        value = self.values[name]
        return value if isinstance(value, torch.Tensor) and value.dim() else None

    def _column(self, tree, unit):
        tensor = tree.evaluate(self.values)
        return (tensor if tensor.dim() == 2 else tensor.expand(len(self.values["X"]), -1))[:, unit].tolist()


def _shortened_products(*factors):
    """Σ a b, with the largest products written out; the others are one number in brackets."""
    return _shortened(
        [math.prod(numbers) for numbers in zip(*factors, strict=True)],
        lambda i: Product(tuple(Value(numbers[i]) for numbers in factors)),
        TERMS,
    )


def shortened_sum(terms, most=TERMS + 1):
    """The same of numbers."""
    return _shortened(terms, lambda i: Value(terms[i]), most)


def _shortened(terms, node, most):
    shown = range(len(terms))
    if len(terms) > max(WHOLE, most + 1):  # one number is not left out alone
        shown = sorted(sorted(shown, key=lambda i: -abs(terms[i]))[:most])
    found = [node(i) for i in shown]
    if others := [term for i, term in enumerate(terms) if i not in set(shown)]:
        found.append(Rest(len(others), sum(others), size=sum(map(abs, others))))
    return (found[0] if found else ZERO) if len(found) < 2 else Sum(tuple(found))
