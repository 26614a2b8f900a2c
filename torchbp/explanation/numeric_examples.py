"""Equations with numbers in them, of one element: the largest one. Its place is [row, unit], both from 1.

What a line says is true as it is printed: where numbers almost cancel, they have more digits.
"""

import functools
import math
import operator
from dataclasses import dataclass, replace

import mpmath  # comes with torch
import torch

from torchbp.explanation.equations import ALPHA, rebuilt, rounded_size
from torchbp.explanation.numbers import Rest, Value, formatted
from torchbp.explanation.quantities import Derivative, Quantity
from torchbp.explanation.render.plain_text import plain
from torchbp.ops import expressions
from torchbp.ops.expressions import (
    Call,
    Expression,
    Indicator,
    MatrixProduct,
    Negative,
    Number,
    Power,
    Product,
    Quotient,
    Sum,
    SumOver,
    Symbol,
    Transpose,
)

TERMS = 3  # products of a sum that are written out
CANCELS = 8  # times: terms so much larger than what is left of them have more digits
ALL = 1e13  # times: 17 digits, which are all there are
CLOSE = 5e-3  # the share of a number by which the line before it may differ
ZERO = Number(0)
ROUNDING = 100  # eps, of the size of what is rounded
EXACT = {  # functions of numbers of many digits; another function is computed in float64
    expressions.sigma: lambda z: 1 / (1 + mpmath.exp(-z)),
    expressions.tanh: mpmath.tanh,
    expressions.exp: mpmath.exp,
    expressions.ln: mpmath.log,
    expressions.sin: mpmath.sin,
    expressions.cos: mpmath.cos,
    expressions.maximum: max,
}


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


def example(quantity, tree, place, value, values, given=(), verified=True):
    """The tree with the numbers of the element at `place`. `values` has a tensor or a number for each symbol; `given`
    are the names of those that are not computed. Unless it is `verified`, only its digits are chosen."""
    numeric = with_digits(without_zeros(Numbers(values, given).of(tree, place)))
    exact, bound = math.nan, math.nan
    if verified and math.isfinite(value):
        true = exactly(numeric)
        numeric = _true_as_printed(numeric, true)
        exact, bound = float(true), ROUNDING * torch.finfo(values["X"].dtype).eps * size_of(numeric)
    return Example(quantity, place, numeric, value, exact, bound)


class Numbers:
    """The numbers of one element in the place of an equation's quantities."""

    def __init__(self, values, given=()):
        self.values, self.given = values, given

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
        if isinstance(tree, Indicator):
            sides = (self.of(side, place) for side in (tree.left, tree.right))
            left, right = (torch.tensor(side.value, dtype=torch.float64) for side in sides)
            return Number(int(expressions.RELATIONS[tree.relation](left, right)))
        return rebuilt(tree, [self.of(child, place) for child in tree.children()])

    def _value(self, tree, place):
        name = tree.name
        tensor = self.values[name]
        if not isinstance(tensor, torch.Tensor):
            return Value(tensor, source=(name,)) if tree == ALPHA else Number(tensor)
        shape = tensor.shape
        at = tuple(0 if size == 1 else i for size, i in zip(shape, place[len(place) - len(shape) :], strict=True))
        return Value(tensor[at].item(), given=name in self.given, source=(name, at))

    def _matrix_product(self, tree, place):
        row, column = place[-2:]
        left, right = (side.evaluate(self.values) for side in (tree.left, tree.right))
        return products(left[row].tolist(), right[:, column].tolist())

    def _sum_over_rows(self, tree, place):
        factors = tree.operand.factors if isinstance(tree.operand, Product) else (tree.operand,)
        columns = [self._column(factor, *place) for factor in factors]
        return products(*columns) if len(columns) > 1 else numbers(columns[0])

    def _column(self, tree, unit):
        rows = max(tensor.shape[0] for name in tree.symbols() if (tensor := self.values[name]).dim() == 2)
        tensor = tree.evaluate(self.values)
        return (tensor if tensor.dim() == 2 else tensor.expand(rows, -1))[:, unit].tolist()


def products(*factors):
    """Σ a b, with the largest products written out; the others are one number in brackets."""
    return _shortened(
        [math.prod(numbers) for numbers in zip(*factors, strict=True)],
        lambda i: Product(tuple(Value(numbers[i]) for numbers in factors)),
        TERMS,
    )


def numbers(terms, most=TERMS + 1):
    """The same of numbers."""
    return _shortened(terms, lambda i: Value(terms[i]), most)


def _shortened(terms, node, most):
    shown = range(len(terms))
    if len(terms) > most + 1:  # one number is not left out alone
        shown = sorted(sorted(shown, key=lambda i: -abs(terms[i]))[:most])
    found = [node(i) for i in shown]
    if others := [term for i, term in enumerate(terms) if i not in set(shown)]:
        found.append(Rest(len(others), sum(others), size=sum(map(abs, others))))
    return found[0] if len(found) == 1 else Sum(tuple(found))


def without_zeros(tree):
    """The tree without the products that have a 0 among the numbers that are given, and without such factors of 1."""
    if not tree.children():
        return tree
    children = [without_zeros(child) for child in tree.children()]
    if not isinstance(tree, Sum):
        children = [_positive(child) for child in children]
    if isinstance(tree, Product):
        if 0 in map(_given, children) or any(child is ZERO for child in children):
            return ZERO
        children = [child for child in children if _given(child) != 1] or [Number(1)]
    elif isinstance(tree, Sum):
        children = [child for child in children if child is not ZERO] or [ZERO]
    elif isinstance(tree, Negative) and children[0] is ZERO:
        return ZERO
    elif isinstance(tree, Quotient):
        if children[0] is ZERO or _given(children[0]) == 0:
            return ZERO
        if _given(children[1]) == 1:
            return children[0]
    return children[0] if isinstance(tree, Product | Sum) and len(children) == 1 else rebuilt(tree, children)


def _positive(tree):
    """3 for −(−3)."""
    if isinstance(tree, Negative) and isinstance(tree.operand, Value) and tree.operand.value < 0:
        return replace(tree.operand, value=-tree.operand.value)
    return tree


def _given(tree):
    """The value of a tree whose quantities are all given; None of another one, and of one without quantities."""
    leaves = leaves_of(tree)
    if any(isinstance(leaf, Value) for leaf in leaves) and all(
        isinstance(leaf, Number) or (isinstance(leaf, Value) and leaf.given) for leaf in leaves
    ):
        return compute(tree, lambda leaf: leaf.value, _in_float64)
    return None


def leaves_of(tree):
    return [leaf for child in tree.children() for leaf in leaves_of(child)] if tree.children() else [tree]


def with_digits(tree):
    """The tree with as many digits for each number as the result needs."""
    if isinstance(tree, Quotient) and isinstance(tree.denominator, Number):
        return Quotient(with_digits(tree.numerator), tree.denominator)
    if is_linear(tree):
        terms = [compute(term, lambda leaf: leaf.value, _in_float64) for term in tree.terms]
        size = sum(_size_of_term(term) for term in tree.terms)
        return digits_changed(tree, lambda _: _digits(_times(size, sum(terms))))
    leaves = [leaf for leaf in leaves_of(tree) if is_value(leaf)]
    tensors = [torch.tensor(leaf.value, dtype=torch.float64, requires_grad=True) for leaf in leaves]
    following = iter(tensors)
    with torch.enable_grad():
        result = compute(tree, lambda leaf: next(following) if is_value(leaf) else leaf.value, _in_torch)
        if not isinstance(result, torch.Tensor) or not result.requires_grad:
            return tree
        slopes = torch.autograd.grad(result, tensors, allow_unused=True, materialize_grads=True)
    times = dict.fromkeys(leaves, 0.0)  # the same number has the same digits wherever it stands
    for leaf, slope in zip(leaves, slopes, strict=True):
        times[leaf] = max(times[leaf], _times(abs(leaf.value * slope.item()), result.item()))
    return digits_changed(tree, lambda leaf: _digits(times[leaf]))


def is_linear(tree):
    """Whether a tree is a sum of numbers and of products of numbers."""
    return isinstance(tree, Sum) and all(map(_is_product, tree.terms))


def is_value(leaf):
    return isinstance(leaf, Value | Rest)


def _is_product(term):
    """Whether a term is a number, or a product of numbers."""
    term = term.operand if isinstance(term, Negative) else term
    return all(not child.children() for child in (term.factors if isinstance(term, Product) else (term,)))


def _size_of_term(term):
    return sum(leaf.size for leaf in leaves_of(term) if isinstance(leaf, Rest)) or abs(
        compute(term, lambda leaf: leaf.value, _in_float64)
    )


def _times(size, left):
    """How many times what is left the numbers are."""
    if size == 0 or math.isnan(size) or not math.isfinite(left):
        return 1.0
    return size / abs(left) if left else math.inf


def _digits(times):
    return 4 + math.ceil(math.log10(max(min(times / CANCELS, ALL), 1)))


def digits_changed(tree, digits):
    """The tree with `digits(leaf)` digits for each number."""
    if is_value(tree):
        return replace(tree, digits=digits(tree))
    children = tree.children()
    return rebuilt(tree, [digits_changed(child, digits) for child in children]) if children else tree


def _true_as_printed(tree, true):
    """The tree with more digits, where it is not what it is without rounding as it is printed."""
    for _ in range(13):
        if mpmath.isnan(true) or mpmath.isinf(true) or abs(exactly(tree, printed=True) - true) <= CLOSE * abs(true):
            break
        tree = digits_changed(tree, lambda leaf: min(leaf.digits + 1, 17))
    return tree


def compute(tree, leaf, call):
    """The tree's value by Python's operators, of `leaf(number)` and `call(function, arguments)`."""
    if not tree.children():
        return leaf(tree)
    children = [compute(child, leaf, call) for child in tree.children()]
    if isinstance(tree, Call):
        return call(tree.function, children)
    if isinstance(tree, Negative):
        return -children[0]
    return functools.reduce(OPERATORS[type(tree)], children)


OPERATORS = {Sum: operator.add, Product: operator.mul, Quotient: operator.truediv, Power: operator.pow}


def _in_torch(function, arguments):
    return function.compute(*(torch.as_tensor(argument, dtype=torch.float64) for argument in arguments))


def _in_float64(function, arguments):
    return _in_torch(function, arguments).item()


def _in_many_digits(function, arguments):
    if function in EXACT:
        return EXACT[function](*arguments)
    return mpmath.mpf(_in_float64(function, [float(argument) for argument in arguments]))


def exactly(tree, printed=False):
    """The tree's value without rounding, or, with `printed`, as a reader would compute it from what is printed."""
    number = lambda leaf: leaf.text().replace("−", "-") if printed and is_value(leaf) else leaf.value  # noqa: E731
    if is_linear(tree):
        terms = (compute(term, lambda leaf: float(number(leaf)), _in_float64) for term in tree.terms)
        return mpmath.mpf(math.fsum(terms))
    with mpmath.workdps(400):
        try:
            value = compute(tree, lambda leaf: mpmath.mpf(number(leaf)), _in_many_digits)
        except (ArithmeticError, ValueError):
            return mpmath.nan
        return value if isinstance(value, mpmath.mpf) else mpmath.nan


def size_of(tree):
    """The size of what is rounded on the way to the value of a tree of numbers."""
    if is_linear(tree):
        return sum(map(_size_of_term, tree.terms))

    def leaf(tree):
        value = torch.tensor(float(tree.value), dtype=torch.float64)
        return value, torch.tensor(tree.size, dtype=torch.float64) if isinstance(tree, Rest) else value.abs()

    return rounded_size(tree, leaf)[1].item()
