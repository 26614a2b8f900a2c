"""What an equation of a rule comes to without rounding, element by element, in mpmath's numbers of many digits."""

import functools
import operator

import mpmath  # comes with torch
import numpy as np

from torchbp.ops.expressions import Call, Indicator, Negative, Number, Power, Product, Quotient, Sum, Symbol
from torchbp.printing import with_article

OPERATORS = {Sum: operator.add, Product: operator.mul, Quotient: operator.truediv, Power: operator.pow}
RELATIONS = {">": operator.gt, "<": operator.lt, "≥": operator.ge, "≤": operator.le}
DIGITS = 60, 120, 450  # 1 + erf(z) at z = −27 needs over 300 of them
AGREE = mpmath.mpf("1e-30")


def value(tree, symbols):
    """The tree's value of mpmath's numbers.

    Raises:
        LookupError: a symbol without a value, a node that is no operation on numbers, or a function without `exact`.
    """
    if isinstance(tree, Symbol):
        return symbols[tree.name]
    if isinstance(tree, Number):
        return mpmath.mpf(tree.value)
    children = [value(child, symbols) for child in tree.children()]
    if isinstance(tree, Call):
        if tree.function.exact is None:
            raise LookupError(f"its function {tree.function.name} has no `exact`")
        return _call(tree.function.exact, mpmath.mp.prec, *children)
    if isinstance(tree, Negative):
        return -children[0]
    if isinstance(tree, Indicator):
        return mpmath.mpf(int(RELATIONS[tree.relation](*children)))
    if type(tree) not in OPERATORS:
        raise LookupError(f"its equation has {with_article(type(tree).__name__)}")
    return functools.reduce(OPERATORS[type(tree)], children)


@functools.lru_cache(maxsize=64)
def _call(function, _precision, *arguments):
    """A function of a number occurs several times in an equation and its slope."""
    return function(*arguments)


def values(function, *columns):
    """Arrays of `function`'s results, of the numbers of each row of the columns.

    Each row is computed with more and more digits until nothing changes. It is nan where mpmath knows no number.
    """
    rows = [_settled(function, row) for row in zip(*columns, strict=True)]
    return [np.array([_long(number) for number in column], dtype=np.longdouble) for column in zip(*rows, strict=True)]


def _settled(function, row):
    before = None
    for digits in DIGITS:
        with mpmath.workdps(digits):
            try:
                found = function(*map(mpmath.mpf, row))
            except (ArithmeticError, ValueError):
                return [mpmath.nan] * len(before or [0, 0])
            if before is not None and all(
                a != 0 and abs(a - b) <= AGREE * abs(a) for a, b in zip(found, before, strict=True)
            ):
                return found
        before = found
    return found


def _long(number):
    """mpmath's number as a longdouble: its mantissa in two parts, and its exponent."""
    if isinstance(number, mpmath.mpc) or not mpmath.isfinite(number):
        return np.longdouble("nan")
    with mpmath.workdps(DIGITS[-1]):
        mantissa, exponent = mpmath.frexp(number)
        high = float(mantissa)
        low = float(mantissa - high)
    return np.ldexp(np.longdouble(high) + np.longdouble(low), max(-16000, min(int(exponent), 16000)))
