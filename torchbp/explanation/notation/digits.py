"""How many digits each number of a line needs, and what the line comes to as it is printed.

Where numbers almost cancel, they have more digits, so that what is left of them is true.
"""

import functools
import math
import operator
from dataclasses import replace

import mpmath  # comes with torch
import torch

from torchbp.explanation.notation.equations import rebuilt
from torchbp.explanation.notation.numbers import Rest, Value
from torchbp.explanation.notation.rounding import rounded_size
from torchbp.ops.expressions import Call, Negative, Number, Power, Product, Quotient, Sum

CANCELS = 8  # times: terms so much larger than what is left of them have more digits
ALL = 1e13  # times: 17 digits, which are all there are
CLOSE = 5e-3  # the share of a number by which the line before it may differ


def leaves_of(tree):
    return [leaf for child in tree.children() for leaf in leaves_of(child)] if tree.children() else [tree]


def with_digits(tree):
    """The tree with as many digits for each number as the result needs."""
    if isinstance(tree, Quotient) and isinstance(tree.denominator, Number):
        return Quotient(with_digits(tree.numerator), tree.denominator)
    if _is_linear(tree):
        terms = [compute(term, lambda leaf: leaf.value, in_float64) for term in _terms(tree)]
        size = sum(_size_of_term(term) for term in _terms(tree))
        return _digits_changed(tree, lambda _: _digits(_times(size, sum(terms))))
    leaves = [leaf for leaf in leaves_of(tree) if _is_value(leaf)]
    tensors = [torch.tensor(leaf.value, dtype=torch.float64, requires_grad=True) for leaf in leaves]
    following = iter(tensors)
    with torch.enable_grad():
        result = compute(tree, lambda leaf: next(following) if _is_value(leaf) else leaf.value, _in_torch)
        if not isinstance(result, torch.Tensor) or not result.requires_grad:
            return tree
        slopes = torch.autograd.grad(result, tensors, allow_unused=True, materialize_grads=True)
    times = dict.fromkeys(leaves, 0.0)  # the same number has the same digits wherever it stands
    for leaf, slope in zip(leaves, slopes, strict=True):
        times[leaf] = max(times[leaf], _times(abs(leaf.value * slope.item()), result.item()))
    return _digits_changed(tree, lambda leaf: _digits(times[leaf]))


def _terms(tree):
    return tree.terms if isinstance(tree, Sum) else (tree,)


def _is_linear(tree):
    """Whether a tree is a number, a product of numbers, or a sum of those."""
    return all(map(_is_product, _terms(tree)))


def _is_value(leaf):
    return isinstance(leaf, Value | Rest)


def _is_product(term):
    """Whether a term is a number, or a product of numbers."""
    term = term.operand if isinstance(term, Negative) else term
    return all(not child.children() for child in (term.factors if isinstance(term, Product) else (term,)))


def _size_of_term(term):
    return sum(leaf.size for leaf in leaves_of(term) if isinstance(leaf, Rest)) or abs(
        compute(term, lambda leaf: leaf.value, in_float64)
    )


def _times(size, left):
    """How many times what is left the numbers are."""
    if size == 0 or math.isnan(size) or not math.isfinite(left):
        return 1.0
    return size / abs(left) if left else math.inf


def _digits(times):
    return 4 + math.ceil(math.log10(max(min(times / CANCELS, ALL), 1)))


def _digits_changed(tree, digits):
    """The tree with `digits(leaf)` digits for each number."""
    if _is_value(tree):
        return replace(tree, digits=digits(tree))
    children = tree.children()
    return rebuilt(tree, [_digits_changed(child, digits) for child in children]) if children else tree


def true_as_printed(tree, true):
    """The tree with more digits, where it is not what it is without rounding as it is printed."""
    for _ in range(13):
        if mpmath.isnan(true) or mpmath.isinf(true) or abs(exactly(tree, printed=True) - true) <= CLOSE * abs(true):
            break
        tree = _digits_changed(tree, lambda leaf: min(leaf.digits + 1, 17))
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


def in_float64(function, arguments):
    return _in_torch(function, arguments).item()


def _in_many_digits(function, arguments):
    if function.exact is not None:
        return function.exact(*arguments)
    return mpmath.mpf(in_float64(function, [float(argument) for argument in arguments]))


def exactly(tree, printed=False):
    """The tree's value without rounding, or, with `printed`, as a reader would compute it from what is printed."""
    number = lambda leaf: leaf.text().replace("−", "-") if printed and _is_value(leaf) else leaf.value  # noqa: E731
    try:
        if _is_linear(tree):
            terms = (compute(term, lambda leaf: float(number(leaf)), in_float64) for term in _terms(tree))
            return mpmath.mpf(math.fsum(terms))
        with mpmath.workdps(400):
            value = compute(tree, lambda leaf: mpmath.mpf(number(leaf)), _in_many_digits)
    except (ArithmeticError, ValueError):  # a division by 0, or inf − inf
        return mpmath.nan
    return value if isinstance(value, mpmath.mpf) else mpmath.nan


def size_of(tree):
    """The size of what is rounded on the way to the value of a tree of numbers."""
    if _is_linear(tree):
        return sum(map(_size_of_term, _terms(tree)))

    def leaf(tree):
        value = torch.tensor(float(tree.value), dtype=torch.float64)
        return value, torch.tensor(tree.size, dtype=torch.float64) if isinstance(tree, Rest) else value.abs()

    return rounded_size(tree, leaf)[1].item()
