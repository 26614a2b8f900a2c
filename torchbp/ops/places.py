"""Nodes of equations that take elements by their places: parts of a row, rows side by side, sums of groups, windows.

    left = Gather(X, range(0, 2), name="left")       X[left], the first two numbers of each row
    Folded(X, 3, name="vectors")                     X[vectors], each row of 6 numbers as two rows of 3
    Beside(X, cos(U))                                [X, cos(U)]
    Collect(X, (0, 0, 1, 1), (2,))                   Σₖ X, for each row the sums of two groups of numbers
    Contraction("⋆", X, W, places, (4,))             X ⋆ W, a convolution: each number a sum of products
    FirstLargest(X, (0, 0, 1, 1))                    [X is largest], 1 for the largest of each group, 0 for the others

All but the last one are linear in each of their children. The numbers of a row stand in one dimension, (N, units),
whatever shape the layer gives a row; `places` count them from 0.
"""

import math
from dataclasses import dataclass

import torch

from torchbp.ops.expressions import Expression, SumOver


class Multilinear(Expression):
    """A node that adds up products of elements of its children, one of each child or of one child alone.

    `compute(*values)` is its value. `terms(place, shapes)` are the products of the element at this place, for children
    of these shapes: each a tuple of (which child, the place of its element).
    """

    __slots__ = ()

    def evaluate(self, values):
        return self.compute(*(child.evaluate(values) for child in self.children()))

    def replace(self, nodes):
        new = (getattr(self, name) for name in self.__dataclass_fields__)
        return type(self)(*(value.replace(nodes) if isinstance(value, Expression) else value for value in new))

    def compute(self, *values):
        raise NotImplementedError

    def terms(self, place, shapes):
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Gather(Multilinear):
    """The elements at these places: of each row, or with `shape` of all of a parameter, which becomes a tensor of it.

    name: what they are, as it is printed behind the operand, X[left]; "" of those that stand for the operand itself,
        such as a parameter of each channel in the place of each number of the channel.
    """

    operand: Expression
    index: tuple[int, ...]
    shape: tuple[int, ...] | None = None
    name: str = ""

    def compute(self, operand):
        if self.shape is None:
            return operand[..., list(self.index)]
        return operand.reshape(-1)[list(self.index)].reshape(self.shape)

    def terms(self, place, shapes):
        (shape,) = shapes
        if self.shape is None:
            return [((0, (*place[:-1], self.index[place[-1]])),)]
        place = place[len(place) - len(self.shape) :]  # the rows of a row equation have no part in it
        return [((0, unravelled(self.index[raveled(place, self.shape)], shape)),)]


@dataclass(frozen=True, slots=True)
class Folded(Multilinear):
    """The same numbers in rows of `columns`: several rows for each row, or one for several. name: as of `Gather`."""

    operand: Expression
    columns: int
    name: str = ""

    def compute(self, operand):
        return operand.reshape(-1, self.columns)

    def terms(self, place, shapes):
        row, column = place[-2:]
        return [((0, divmod(row * self.columns + column, shapes[0][-1])),)]


@dataclass(frozen=True, slots=True)
class Collect(Multilinear):
    """The sums of those elements of a row, (N, units), that have the same index.

    index: for each number of a row, which sum it is added to. shape: of the sums; of each row, (N, sums), or with
    `rows` over the rows too.
    """

    operand: Expression
    index: tuple[int, ...]
    shape: tuple[int, ...]
    rows: bool = False

    def compute(self, operand):
        operand = operand.sum(0) if self.rows else operand
        index = torch.tensor(self.index, device=operand.device)
        sums = operand.new_zeros(*operand.shape[:-1], math.prod(self.shape)).index_add(-1, index, operand)
        return sums.reshape(self.shape) if self.rows else sums

    def terms(self, place, shapes):
        ((count, _),) = shapes
        target = raveled(place, self.shape) if self.rows else place[-1]
        units = [unit for unit, sum_ in enumerate(self.index) if sum_ == target]
        rows = range(count) if self.rows else place[:1]
        return [((0, (row, unit)),) for row in rows for unit in units]


@dataclass(frozen=True, slots=True)
class Beside(Multilinear):
    """[left, right]: the numbers of each row side by side."""

    left: Expression
    right: Expression

    def compute(self, left, right):
        return torch.cat([left, right], -1)

    def terms(self, place, shapes):
        (*row, unit), width = place, shapes[0][-1]
        return [((0, place),)] if unit < width else [((1, (*row, unit - width)),)]


@dataclass(frozen=True, slots=True)
class Contraction(Multilinear):
    """Sums of products of the numbers of a row with those of a parameter, or with `rows` of two rows, added up over the
    rows too.

    sign: as it is printed between them, such as ⋆. places: for each product (the place of its sum, that of the left
    number, that of the right one). shape: of the sums.
    """

    sign: str
    left: Expression
    right: Expression
    places: tuple[tuple[int, int, int], ...]
    shape: tuple[int, ...]
    rows: bool = False

    def compute(self, left, right):
        sums, lefts, rights = torch.tensor(self.places, device=left.device).T
        products = left[:, lefts] * (right[:, rights] if self.rows else right.reshape(-1)[rights])
        products = products.sum(0) if self.rows else products
        found = products.new_zeros(*products.shape[:-1], math.prod(self.shape)).index_add(-1, sums, products)
        return found.reshape(self.shape) if self.rows else found

    def terms(self, place, shapes):
        target = raveled(place, self.shape) if self.rows else place[-1]
        pairs = [(left, right) for sum_, left, right in self.places if sum_ == target]
        if not self.rows:
            return [((0, (place[0], left)), (1, unravelled(right, shapes[1]))) for left, right in pairs]
        return [((0, (row, left)), (1, (row, right))) for row in range(shapes[0][0]) for left, right in pairs]


@dataclass(frozen=True, slots=True)
class FirstLargest(Expression):
    """1 for the largest number of each group of a row, the first one of several; 0 for the others.

    groups: for each number of a row, which group it belongs to.
    """

    operand: Expression
    groups: tuple[int, ...]

    def evaluate(self, values):
        tensor = self.operand.evaluate(values)
        members = [[] for _ in range(max(self.groups, default=-1) + 1)]
        for place, group in enumerate(self.groups):
            members[group].append(place)
        longest = max(map(len, members), default=0)
        found = torch.zeros_like(tensor)
        if not longest:
            return found
        # a shorter group ends with its first number, again and again
        table = torch.tensor(
            [places + places[:1] * (longest - len(places)) for places in members], device=tensor.device
        )
        first = tensor[..., table].argmax(-1, keepdim=True)
        places = table.expand((*first.shape[:-1], longest)).gather(-1, first).squeeze(-1)
        return found.scatter(-1, places, 1.0)

    def replace(self, nodes):
        return type(self)(self.operand.replace(nodes), self.groups)


class NoEquationError(ValueError):
    """Why an operation has no equations for rows and options that it computes: the end of a sentence."""


def raveled(place, shape):
    """The place of an element among all, from its indices."""
    at = 0
    for index, size in zip(place, shape, strict=True):
        at = at * size + index
    return at


def unravelled(at, shape):
    """The indices of an element from its place among all."""
    found = []
    for size in reversed(shape):
        at, index = divmod(at, size)
        found.append(index)
    return tuple(reversed(found))


def channels(shape):
    """For each number of a row of this shape, (C, …), the number of its channel."""
    places = math.prod(shape[1:])
    return tuple(unit // places for unit in range(math.prod(shape)))


def of_channels(parameter, shape):
    """A parameter with a number for each channel, in the place of each number of a row of this shape."""
    return parameter if math.prod(shape[1:]) == 1 else Gather(parameter, channels(shape), (math.prod(shape),))


def sum_of_channels(tree, shape):
    """Σ over the rows, and over the places of each channel."""
    return SumOver(tree, rows=True) if math.prod(shape[1:]) == 1 else Collect(tree, channels(shape), shape[:1], True)
