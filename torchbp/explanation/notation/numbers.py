"""Numbers as nodes of equations, and how they are printed."""

from dataclasses import dataclass

from torchbp.ops.expressions import Expression


def formatted(value, digits=4):
    """A number in so many digits, with the sign − of the equations."""
    return f"{float(value) + 0.0:.{digits}g}".replace("-", "−")  # + 0.0: there is no −0


@dataclass(frozen=True, slots=True)
class Value(Expression):
    """A number in the place of a quantity.

    digits: how many are printed.
    fixed: whether it is of y or the loss's weights, which no formula computes: a product with 0 is left out.
    source: what it is a number of: the same numbers get the same digits.
    """

    value: float
    digits: int = 4
    fixed: bool = False
    source: tuple | None = None

    def children(self):
        return ()

    def text(self):
        return formatted(self.value, self.digits)


@dataclass(frozen=True, slots=True)
class Rest(Expression):
    """The sum of the smaller terms of a long sum, `count` of them; `size` is that of their magnitudes."""

    count: int
    value: float
    digits: int = 4
    size: float = 0.0

    def children(self):
        return ()

    def text(self):
        return formatted(self.value, self.digits)
