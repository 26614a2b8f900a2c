"""The nodes of an equation."""

from dataclasses import dataclass


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
