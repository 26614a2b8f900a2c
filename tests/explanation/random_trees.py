"""Random expression trees with every kind of node, over odd numbers, for the page and for Python."""

import math
import random

import torch

from torchbp.ops import expressions as e
from torchbp.ops.places import Beside, Collect, Contraction, FirstLargest, Folded, Gather

ODD = [0.0, -0.0, math.inf, -math.inf, math.nan, 1e308, -1e308, 5e-324, 1.0, -1.0, 0.5, -2.0, 3.25, 1e-8, 700.0, 1e16]
ADDED = [0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -1.0, 0.5, -2.0, 3.25]  # in whatever order they are added
GIVEN = [*ADDED, 1e-8, 700.0]  # to functions, which of other numbers are computed less exactly on some CPUs
PLAIN = [0.0, 1.0, -1.0, 0.5, -2.0, 3.25, 0.125, -0.75, 2.0, 0.3, -1.7]
ONE = [e.sigma, e.tanh, e.exp, e.ln, e.sin, e.cos, e.erf, e.sqrt, e.softplus, e.absolute, e.sign]
EXPONENTS = [2, 3, 0.5, -1]
OPERAND = (3, 4)


class Trees:
    """values: {name: tensor} of the symbols in the trees that were made."""

    def __init__(self, seed):
        self.draw, self.values = random.Random(seed), {}

    def tree(self, shape, depth, odd):
        """A tree whose value has this shape."""
        if not depth:
            return self._leaf(shape, PLAIN)
        of_dims = {0: [self._sum_of_all], 1: [self._sum_of_rows], 2: [self._matrix, self._by_places]}
        makes = [self._elementwise, *of_dims[len(shape)], *([self._row_sums] if shape[1:] == (1,) else [])]
        return self.draw.choice(makes)(shape, depth - 1, odd)

    def _leaf(self, shape, numbers):
        name = f"q{len(self.values)}"
        found = [self.draw.choice(numbers) for _ in range(math.prod(shape))]
        self.values[name] = torch.tensor(found, dtype=torch.float64).reshape(shape)
        return e.Symbol(name)

    def _part(self, shape, depth, odd, numbers=ODD):
        return self._leaf(shape, numbers) if odd and not depth else self.tree(shape, depth, odd)

    def _elementwise(self, shape, depth, odd):
        part = lambda: self._part(shape, depth, odd)  # noqa: E731
        repeated = [(), *([(shape[0], 1), shape[1:]] if len(shape) == 2 else [])]
        small = self._part(self.draw.choice([shape, *repeated]), depth, odd)
        pair = [part(), small]
        self.draw.shuffle(pair)
        return self.draw.choice(
            [
                lambda: e.Sum((*pair, part())),
                lambda: e.Product(tuple(pair)),
                lambda: e.Quotient(*pair),
                lambda: e.Power(part(), e.Number(self.draw.choice(EXPONENTS))),
                lambda: e.Negative(part()),
                lambda: e.Indicator(part(), self.draw.choice("<>≤≥"), small),
                lambda: self.draw.choice([e.maximum, e.minimum])(*pair),
                *[lambda f=f: f(self._part(shape, depth, odd, GIVEN)) for f in self.draw.sample(ONE, 4)],
            ]
        )()

    def _matrix(self, shape, depth, odd):
        width = self.draw.choice([1, 2, 5])
        if self.draw.random() < 0.3:
            return e.Transpose(self._part(shape[::-1], depth, odd))
        sides = (self._part(side, depth, odd, ADDED) for side in ((shape[0], width), (width, shape[1])))
        return e.MatrixProduct(*sides)

    def _sum_of_all(self, shape, depth, odd):
        return e.SumOver(self._part((2, 3), depth, odd, ADDED))

    def _sum_of_rows(self, shape, depth, odd):
        return e.SumOver(self._part((3, *shape), depth, odd, ADDED), rows=True)

    def _row_sums(self, shape, depth, odd):
        return e.SumOfRow(self._part((shape[0], 3), depth, odd, ADDED))

    def _by_places(self, shape, depth, odd):
        (rows, wide), any_of = shape, lambda most, count: tuple(self.draw.randrange(most) for _ in range(count))
        part = lambda shape: self._part(shape, depth, odd, ADDED)  # noqa: E731
        made = [
            lambda: Gather(part((rows, 4)), any_of(4, wide)),
            lambda: Gather(part(OPERAND), any_of(12, rows * wide), shape),
            lambda: Folded(part((1, rows * wide)), wide),
            lambda: FirstLargest(part(shape), tuple(unit % 2 for unit in range(wide))),
            lambda: Collect(part((rows, 5)), any_of(wide, 5), (wide,)),
            lambda: Contraction("⋆", part((rows, 4)), part((2, 3)), self._table(wide, 6), (wide,)),
            lambda: Contraction("⋆", part(OPERAND), part((3, 6)), self._table(rows * wide, 6), shape, True),
        ]
        made += [lambda: Beside(part((rows, 1)), part((rows, wide - 1)))] if wide > 1 else []
        return self.draw.choice(made)()

    def _table(self, sums, rights):
        return tuple((self.draw.randrange(sums), self.draw.randrange(4), self.draw.randrange(rights)) for _ in range(7))
