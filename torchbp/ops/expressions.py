"""Equations as trees: what a rule states of its operation, and what every explanation is printed from.

    A, Z = Symbol("A"), Symbol("Z")
    slope = A * (1 - A)                     # a tree: a product of A and a difference
    slope.evaluate({"A": torch.tensor(0.5)})  # tensor(0.2500)

A tree knows what it computes, and nothing of how it is printed. `torchbp.explanation` prints it for a terminal and in
MathML, LaTeX, Markdown and JSON, with its symbols or with numbers in their place.
"""

import functools
import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch


class Expression:
    """A node of a tree. `+ − * / **` and `@` make new ones; a number stands for itself.

    `*` is a product element by element, and `@` a product of matrices.
    """

    __slots__ = ()

    def __add__(self, other):
        return Sum((*_terms(self), *_terms(other)))

    def __radd__(self, other):
        return Sum((*_terms(other), *_terms(self)))

    def __sub__(self, other):
        return Sum((*_terms(self), Negative(expression(other))))

    def __rsub__(self, other):
        return Sum((*_terms(other), Negative(self)))

    def __mul__(self, other):
        return Product((*_factors(self), *_factors(other)))

    def __rmul__(self, other):
        return Product((*_factors(other), *_factors(self)))

    def __truediv__(self, other):
        return Quotient(self, expression(other))

    def __rtruediv__(self, other):
        return Quotient(expression(other), self)

    def __pow__(self, exponent):
        return Power(self, expression(exponent))

    def __rpow__(self, base):
        return Power(expression(base), self)

    def __neg__(self):
        return Negative(self)

    def __matmul__(self, other):
        return MatrixProduct(self, expression(other))

    @property
    def T(self):
        return Transpose(self)

    def children(self):
        """The nodes under this one, in the order of its fields."""
        found = []
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            found += [v for v in (value if isinstance(value, tuple) else (value,)) if isinstance(v, Expression)]
        return tuple(found)

    def symbols(self):
        """The names of its symbols, each once, in the order of the equation."""
        return tuple(dict.fromkeys(name for child in self.children() for name in child.symbols()))

    def replace(self, nodes):
        """The same tree with other nodes in the place of symbols: `{"A": Symbol("A1")}`; numbers are made nodes."""

        def new(value):
            if isinstance(value, tuple):
                return tuple(map(new, value))
            return value.replace(nodes) if isinstance(value, Expression) else value

        return type(self)(*(new(getattr(self, name)) for name in self.__dataclass_fields__))

    def evaluate(self, values):
        """The value, by torch's operations, which autograd can differentiate. `values` has a tensor or a number for
        each symbol's name.

        Raises:
            KeyError: a symbol that has no value.
        """
        raise NotImplementedError(f"{type(self).__name__} has no evaluate")


class Named(Expression):
    """A node without children, whose value has its `name`."""

    __slots__ = ()

    def children(self):
        return ()

    def symbols(self):
        return (self.name,)

    def replace(self, nodes):
        return self

    def evaluate(self, values):
        return values[self.name]


@dataclass(frozen=True, slots=True)
class Symbol(Named):
    """A quantity by its name, such as A, Z, y or w."""

    name: str

    def replace(self, nodes):
        return expression(nodes.get(self.name, self))


@dataclass(frozen=True, slots=True)
class Number(Expression):
    value: float

    def children(self):
        return ()

    def evaluate(self, values):
        return self.value


@dataclass(frozen=True, slots=True)
class Sum(Expression):
    """Terms that are added up; a − b is the sum of a and `Negative(b)`."""

    terms: tuple[Expression, ...]

    def children(self):
        return self.terms

    def evaluate(self, values):
        first, *rest = (term.evaluate(values) for term in self.terms)
        for term in rest:
            first = first + term
        return first


@dataclass(frozen=True, slots=True)
class Product(Expression):
    """Factors that are multiplied element by element."""

    factors: tuple[Expression, ...]

    def children(self):
        return self.factors

    def evaluate(self, values):
        first, *rest = (factor.evaluate(values) for factor in self.factors)
        for factor in rest:
            first = first * factor
        return first


@dataclass(frozen=True, slots=True)
class MatrixProduct(Expression):
    left: Expression
    right: Expression

    def evaluate(self, values):
        return self.left.evaluate(values) @ self.right.evaluate(values)


@dataclass(frozen=True, slots=True)
class Quotient(Expression):
    numerator: Expression
    denominator: Expression

    def evaluate(self, values):
        return self.numerator.evaluate(values) / self.denominator.evaluate(values)


@dataclass(frozen=True, slots=True)
class Power(Expression):
    base: Expression
    exponent: Expression

    def evaluate(self, values):
        return self.base.evaluate(values) ** self.exponent.evaluate(values)


@dataclass(frozen=True, slots=True)
class Negative(Expression):
    operand: Expression

    def evaluate(self, values):
        return -self.operand.evaluate(values)


@dataclass(frozen=True, slots=True)
class Transpose(Expression):
    operand: Expression

    def evaluate(self, values):
        return self.operand.evaluate(values).mT


@dataclass(frozen=True, slots=True)
class SumOver(Expression):
    """Σ of the elements; over the rows alone where `rows` is true, Σ_n."""

    operand: Expression
    rows: bool = False

    def evaluate(self, values):
        tensor = self.operand.evaluate(values)
        return tensor.sum(-2) if self.rows else tensor.sum()


@dataclass(frozen=True, slots=True)
class SumOfRow(Expression):
    """Σₖ over the units k of each row, a number for each row: (N, K) becomes (N, 1)."""

    operand: Expression

    def evaluate(self, values):
        return self.operand.evaluate(values).sum(-1, keepdim=True)


@dataclass(frozen=True, slots=True)
class Indicator(Expression):
    """[left > right]: 1 where the relation, ">", "<", "≥" or "≤", is true, and 0 elsewhere."""

    left: Expression
    relation: str
    right: Expression

    def __post_init__(self):
        if self.relation not in RELATIONS:
            raise ValueError(f"Indicator has the relation {self.relation!r}; use {', '.join(RELATIONS)}")
        for name in ("left", "right"):
            object.__setattr__(self, name, expression(getattr(self, name)))

    def evaluate(self, values):
        left, right = self.left.evaluate(values), self.right.evaluate(values)
        like = left if isinstance(left, torch.Tensor) else torch.as_tensor(right, dtype=torch.float64)
        left, right = (torch.as_tensor(v, dtype=like.dtype, device=like.device) for v in (left, right))
        return RELATIONS[self.relation](left, right).to(like.dtype)


RELATIONS = {">": torch.gt, "<": torch.lt, "≥": torch.ge, "≤": torch.le}


@dataclass(frozen=True)
class Function:
    """A function of numbers by name, to be called with expressions: `sin = Function("sin", torch.sin)`.

    Args:
        name: as it is printed, such as σ or ln.
        compute: torch's function of the same arguments.
        latex: the name in LaTeX; None is `\\mathrm{name}`.
        brackets: whether one symbol as its argument stands in brackets: tanh(Z), but ln A.
        exact: the same function of numbers of mpmath, for lines with many digits; None is `compute` in float64.
    """

    name: str
    compute: Callable
    latex: str | None = None
    brackets: bool = True
    exact: Callable | None = None

    def __call__(self, *arguments):
        return Call(self, tuple(map(expression, arguments)))


@dataclass(frozen=True, slots=True)
class Call(Expression):
    """A function of expressions, such as σ(Z) or max(Z, 0)."""

    function: Function
    arguments: tuple[Expression, ...]

    def evaluate(self, values):
        return self.function.compute(*(argument.evaluate(values) for argument in self.arguments))


def expression(value):
    """The node that a number stands for; a node is itself.

    Raises:
        TypeError: something else.
    """
    if isinstance(value, Expression):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return Number(value)
    raise TypeError(f"{value!r} is neither an expression nor a number")


def _terms(value):
    value = expression(value)
    return value.terms if isinstance(value, Sum) else (value,)


def _factors(value):
    value = expression(value)
    return value.factors if isinstance(value, Product) else (value,)


def _larger(left, right):
    return torch.maximum(*_tensors(left, right))


def _smaller(left, right):
    return torch.minimum(*_tensors(left, right))


def _tensors(left, right):
    """Both as tensors; one of them may be a number."""
    tensor = left if isinstance(left, torch.Tensor) else right
    return (torch.as_tensor(v, dtype=tensor.dtype, device=tensor.device) for v in (left, right))


def _root(number):
    return number.sqrt() if isinstance(number, torch.Tensor) else math.sqrt(number)


def _softplus(z):
    return z.clamp(min=0) + (-z.abs()).exp().log1p()


def _mpmath(name, number):
    return getattr(importlib.import_module("mpmath"), name)(number)  # it comes with torch, and takes a while to import


def _exact_sigma(z):
    return 1 / (1 + _mpmath("exp", -z))


def _exact_softplus(z):
    return _mpmath("log1p", _mpmath("exp", z))


def _exact_sign(number):
    return (number > 0) - (number < 0)


def _exactly(name):
    return functools.partial(_mpmath, name)


sigma = Function("σ", torch.sigmoid, r"\sigma", exact=_exact_sigma)
tanh = Function("tanh", torch.tanh, r"\tanh", exact=_exactly("tanh"))
exp = Function("exp", torch.exp, r"\exp", exact=_exactly("exp"))
ln = Function("ln", torch.log, r"\ln", brackets=False, exact=_exactly("log"))
sin = Function("sin", torch.sin, r"\sin", exact=_exactly("sin"))
cos = Function("cos", torch.cos, r"\cos", exact=_exactly("cos"))
erf = Function("erf", torch.erf, r"\operatorname{erf}", exact=_exactly("erf"))
sqrt = Function("sqrt", _root, r"\operatorname{sqrt}", exact=_exactly("sqrt"))
softplus = Function("softplus", _softplus, r"\operatorname{softplus}", exact=_exact_softplus)  # ln(1 + e^z)
maximum = Function("max", _larger, r"\max", exact=max)
absolute = Function("abs", torch.abs, r"\operatorname{abs}", exact=abs)
sign = Function("sgn", torch.sgn, r"\operatorname{sgn}", exact=_exact_sign)
minimum = Function("min", _smaller, r"\min", exact=min)

A, K, N, W, X, Z, b, p, w, y = map(Symbol, ("A", "K", "N", "W", "X", "Z", "b", "p", "w", "y"))
dZ = Symbol("dZ")
