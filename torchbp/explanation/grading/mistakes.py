"""The usual mistakes in an equation, made from its tree: each as a wrong tree and what is wrong with it, in words.

    dL/dZ1 = dL/dA1 ∘ A1 ∘ (1 − A1)     →   dL/dA1                          the slope A1 ∘ (1 − A1) is missing
                                            dL/dA1 ∘ A1                     the factor 1 − A1 is missing
                                            dL/dA1 ∘ A1 ∘ (1 + A1)          the sign of A1 is wrong in 1 − A1
                                            dL/dA1 ∘ Z1 ∘ (1 − Z1)          Z1 stands where A1 belongs

No equation has a list of its mistakes: that of any rule is made here.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from torchbp.explanation.notation.equations import rebuilt
from torchbp.explanation.notation.quantities import INPUT, TARGET, Derivative, Quantity
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
    SumOfRow,
    SumOver,
    Transpose,
    minimum,
    sigma,
    tanh,
)

ROUNDING = 1e-7  # of the largest number
OPPOSITE = {">": "≤", "<": "≥", "≥": "<", "≤": ">"}


@dataclass(frozen=True)
class Mistake:
    """A wrong tree in the place of the right one. parts: what is wrong, as texts and trees, for
    `torchbp.explanation.notation.records.sentence`."""

    tree: Expression
    parts: tuple


def mistakes(tree: Expression, shapes: dict[Quantity | Derivative, tuple[int, ...]]) -> Iterator[Mistake]:
    """The mistakes in an equation, the usual ones first. Some of their trees cannot be evaluated: shapes do not fit.

    Args:
        tree: the right side of the equation.
        shapes: those of all quantities, one of which may stand where another belongs.
    """
    yield Mistake(Negative(tree), ("the sign is wrong",))
    for base in (2, 10) if _has_logarithm(tree) else ():
        yield Mistake(tree / math.log(base), (f"the logarithm is of base {base}, and not natural",))
    yield from _in_nodes(tree)
    yield from _wrong_quantities(tree, shapes)


def wrong_values(tree, shapes, values, shape):
    """(mistake, its value) of the mistakes in an equation whose value is finite and has the shape of the right one."""
    for mistake in mistakes(tree, shapes):
        value = value_of(mistake.tree, values)
        if value is not None and value.shape == shape and value.isfinite().all():
            yield mistake, value


def value_of(tree, values):
    """The value of a tree, a tensor in float64; None where its parts do not fit, such as shapes, or max of two
    numbers."""
    try:
        value = tree.evaluate(values)
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError):
        return None
    return torch.as_tensor(value, dtype=torch.float64)


def agrees(value, right, tolerance):
    """Whether every number is right, up to a share of itself and to rounding."""
    if value.shape != right.shape:
        return False
    largest = right.abs().max() if right.numel() else 0.0
    return bool(((value - right).abs() <= tolerance * right.abs() + ROUNDING * largest).all())


def fitted(value, right):
    """A value in the shape of the right one, where it is that but for dimensions of 1, as (1, n) is of (n)."""
    squeezed = [n for n in value.shape if n != 1] == [n for n in right.shape if n != 1]
    return value.reshape(right.shape) if squeezed and value.dim() != right.dim() else value


def _has_logarithm(tree):
    return (isinstance(tree, Call) and tree.function.name == "ln") or any(map(_has_logarithm, tree.children()))


def _in_nodes(tree):
    """The mistakes in this node, then those in the nodes under it."""
    for method in (MISTAKES[cls] for cls in type(tree).__mro__ if cls in MISTAKES):
        yield from (Mistake(wrong, parts) for wrong, parts in method(tree))
    for place, child in enumerate(tree.children()):
        for inside in _in_nodes(child):
            yield replace(inside, tree=with_child(tree, place, inside.tree))


def with_child(tree, place, new):
    """The node with another child at a place among its children."""
    return rebuilt(tree, [new if i == place else child for i, child in enumerate(tree.children())])


def product_of(factors):
    return factors[0] if len(factors) == 1 else Product(tuple(factors))


def _in_product(tree):
    first, *slope = tree.factors
    if isinstance(first, Derivative):
        if len(slope) > 1:
            yield first, ("the slope ", product_of(slope), " is missing")
        yield product_of([*slope, *slope, first]), ("the slope ", product_of(slope), " is one time too many")
    for place, factor in enumerate(tree.factors):
        others = [*tree.factors[:place], *tree.factors[place + 1 :]]
        yield product_of(others), ("the factor ", factor, " is missing")
        yield Product((*tree.factors, factor)), ("the factor ", factor, " is one time too many")
        yield product_of([*others, Quotient(Number(1), factor)]), ("it is divided by ", factor, ", and not multiplied")


def _in_quotient(tree):
    yield tree.numerator, ("the division by ", tree.denominator, " is missing")
    yield tree.numerator * tree.denominator, ("it is multiplied by ", tree.denominator, ", and not divided")
    yield Quotient(tree, tree.denominator), ("it is divided by ", tree.denominator, " twice")


def _in_sum(tree):
    terms = list(tree.terms)
    for place, term in enumerate(terms):
        positive = term.operand if isinstance(term, Negative) else term
        other = positive if isinstance(term, Negative) else Negative(term)
        flipped = Sum((*terms[:place], other, *terms[place + 1 :]))
        yield flipped, ("the sign of ", positive, " is wrong in ", tree)
        rest = [*terms[:place], *terms[place + 1 :]]
        yield rest[0] if len(rest) == 1 else Sum(tuple(rest)), ("the term ", positive, " is missing in ", tree)
    if terms[0] == Number(1) and len(terms) == 2 and isinstance(terms[1], Negative):
        yield terms[1].operand, (terms[1].operand, " stands where ", tree, " belongs")


def turned(tree):
    return tree.operand if isinstance(tree, Transpose) else Transpose(tree)


def _in_matrix_product(tree):
    left, right = tree.left, tree.right
    yield Transpose(tree), ("it is the transpose of the right value, (", tree, ")ᵀ")
    yield MatrixProduct(left, turned(right)), (turned(right), " stands where ", right, " belongs")
    yield MatrixProduct(turned(left), right), (turned(left), " stands where ", left, " belongs")
    yield MatrixProduct(right, left), ("the product ", tree, " has the wrong order")
    yield Product((left, right)), ("a product element by element stands where the matrix product ", tree, " belongs")


def _in_sum_over(tree):
    if tree.rows:
        yield tree.operand, ("the sum over the rows is missing",)


def _in_sum_of_row(tree):
    yield tree.operand, ("the sum over the units of the row is missing",)
    yield SumOver(tree.operand, rows=True), ("the sum is over the rows, and not over the units of each row",)
    yield SumOver(tree.operand), ("the sum is over all numbers, and not over the units of each row",)


def _in_power(tree):
    yield tree.base, ("the exponent ", tree.exponent, " is missing")


def _in_call(tree):
    first, *more = tree.arguments
    name = tree.function.name
    if not more:
        yield first, (f"the function {name} is missing",)
    if name == "ln" and not first.children():
        yield Call(tree.function, (1 - first,)), (1 - first, " stands where ", first, " belongs")
    for other in (sigma, tanh):
        if not more and other.name != name:
            yield other(first), (f"{other.name} stands where {name} belongs",)
    if name == "max":
        yield minimum(*tree.arguments), ("min stands where max belongs",)


def _in_indicator(tree):
    yield Indicator(tree.left, OPPOSITE[tree.relation], tree.right), ("the condition ", tree, " is the wrong way round")
    yield Number(1), ("the condition ", tree, " is missing")


def _wrong_quantities(tree, shapes):
    """One quantity that stands where another of the same shape belongs."""
    by_name = {quantity.name: quantity for quantity in shapes}
    for name in tree.symbols():
        quantity = by_name.get(name)
        if quantity is None or quantity == TARGET:
            continue
        others = [q for q in shapes if q != quantity and shapes[q] == shapes[quantity]]
        for other in sorted(others, key=lambda q: _distance(quantity, q)):
            parts = (other, " stands where ", quantity, " belongs")
            if isinstance(quantity, Quantity) and other == quantity.after():
                parts = (*parts, ": the update comes after the gradients")
            yield Mistake(substituted(tree, quantity, other), parts)


def _distance(quantity, other):
    """How near a mistake lies: a number of the same layer is taken for another one first."""
    layers = [q.by.number if isinstance(q, Derivative) else 0 if q == INPUT else q.number for q in (quantity, other)]
    far = abs(layers[0] - layers[1]) if None not in layers else 99
    return type(quantity) is not type(other), far, other.name


def substituted(tree, quantity, other):
    if tree == quantity:
        return other
    children = tree.children()
    return rebuilt(tree, [substituted(child, quantity, other) for child in children]) if children else tree


MISTAKES = {
    Product: _in_product,
    Quotient: _in_quotient,
    Sum: _in_sum,
    MatrixProduct: _in_matrix_product,
    SumOver: _in_sum_over,
    SumOfRow: _in_sum_of_row,
    Power: _in_power,
    Call: _in_call,
    Indicator: _in_indicator,
}
