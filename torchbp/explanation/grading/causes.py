"""What is wrong with a learner's value: the mistake that gives it, in words."""

import functools
import itertools
from decimal import Decimal

import torch

from torchbp.explanation.grading.mistakes import ROUNDING, agrees, fitted, value_of, wrong_values
from torchbp.explanation.grading.mixed_up import mixed_up
from torchbp.explanation.notation.equations import K, N
from torchbp.explanation.notation.numbers import formatted
from torchbp.explanation.notation.numeric_examples import largest_place, named
from torchbp.explanation.notation.records import sentence
from torchbp.ops.expressions import MatrixProduct, SumOver, Transpose
from torchbp.testing.diagnosis import jacobian_patterns
from torchbp.testing.diagnosis.evidence import Evidence
from torchbp.testing.diagnosis.likely_cause import digits, ratio_of
from torchbp.testing.diagnosis.missing_factor import missing_factor

MOST = 3  # causes that are named, where one number has several
ALONE = 2  # numbers, of which too many pairs of mistakes give the same
MOST_NUMBERS = 1000  # of a value about which the auditor guesses: it compares each two of them
MOST_ROWS = 10
ALSO_SAID = ("the factor 1/N is missing", "the division by N is missing")  # of a constant, in other words
LEFT_OUT = "row {} is left out of the sum over the rows"
ALONE_THERE = "row {} stands there alone, and not the sum over the rows"


class Causes:
    """The causes of one wrong value.

    Args:
        record: of the quantity. value: the learner's, a tensor. values: {name: tensor} of what it is computed from.
        shapes: {quantity: shape} of all quantities. criterion: of the step.
        tolerance: a share of each number.
    """

    def __init__(self, record, value, values, shapes, criterion, tolerance):
        self.record, self.value, self.values, self.shapes = record, value, values, shapes
        self.criterion, count = criterion, criterion.count_symbol()
        divided = count is not None and record.stage in ("loss", "backward")
        self.divisors = count.symbols() if divided else ()  # the names, N or K, of what the loss is divided by
        self.tolerance = tolerance
        self.right = value_of(record.sides[-1], values)

    def found(self, otherwise=""):
        """Up to three sentences without a stop, the simplest first; () where no usual mistake gives the value, or
        `otherwise`, before anything is guessed from the numbers alone."""
        right, value = self.right, self.value
        if right is None:
            return ()
        if not value.isfinite().all():
            return ("it holds nan or inf: a division by 0, or the logarithm of 0",)
        if value.shape == right.shape and not value.any():
            return ("it is 0 everywhere",)
        few = value.numel() <= ALONE
        found = dict.fromkeys(self._constants(right))
        if not found or few:
            same = ALSO_SAID if any("is missing" in words for words in found) else ()
            others = (words for words in self._wrong_trees() if words not in same)
            found |= dict.fromkeys(itertools.islice(others, MOST if few else 1))
        if not found:
            found = dict.fromkeys([otherwise] if otherwise else self._parts())
        return tuple(found)[:MOST]

    def _agrees(self, tensor):
        return agrees(self.value, tensor, self.tolerance)

    def _constants(self, tensor):
        """The words for each constant that the tensor is to be multiplied by."""
        if self.value.shape != tensor.shape:
            return
        place = largest_place(self.value)  # one number alone rules out almost all constants
        value, at = self.value[place].item(), tensor[place].item()
        slack = 1.01 * (self.tolerance * abs(at) + ROUNDING * tensor.abs().max().item())
        for constant, words in self.constants:
            if abs(value - constant * at) <= abs(constant) * slack and self._agrees(constant * tensor):
                yield words

    @functools.cached_property
    def constants(self):
        """[(constant, what is wrong where the value is so many times the right one)]."""
        found = [(-1, "the sign is wrong")]
        n, k = self.values[N.name], self.values[K.name]
        signs = ((1, ""), (-1, ", and the sign is wrong"))
        for count, name in ((n, "N"), (k, "K"), (n * k, "N K")):
            if count == 1 or (name == "N K" and 1 in (n, k)):
                continue
            missing = f": the division by {name} is missing" if set(name.split()) <= set(self.divisors) else ""
            twice = ": it is divided by it once too often, or a mean stands where a sum belongs"
            for sign, also in signs:
                found.append((sign * count, f"it is {name} = {count} times too large{missing}{also}"))
                found.append((sign / count, f"it is {name} = {count} times too small{twice}{also}"))
        for factor, words in ((2, "twice too large: a factor ½"), (0.5, "half of the right value: a factor 2")):
            found += [(sign * factor, f"it is {words} is missing{also}") for sign, also in signs]
        return found

    def _wrong_trees(self):
        """The mistakes that give the value, alone; then, where there are numbers enough, with a wrong constant."""
        pairs = []
        for side in reversed(self.record.sides):
            for mistake, tensor in wrong_values(side, self.shapes, self.values, self.value.shape):
                if agrees(tensor, self.right, self.tolerance):
                    continue
                if self._agrees(tensor):
                    yield sentence(mistake.parts)
                pairs.append((mistake.parts, tensor))
        yield from self._left_out_rows()
        for parts, tensor in mixed_up(self.record, self.shapes, self.values, self.criterion):
            if self._agrees(tensor) and not agrees(tensor, self.right, self.tolerance):
                yield sentence(parts)
        if self.value.numel() > ALONE:
            for parts, tensor in pairs:
                for constant in self._constants(tensor):
                    yield f"{sentence(parts)}, and {constant}"

    def _left_out_rows(self):
        """A sum over rows without one of them, or of one alone."""
        tree, right = self.record.sides[-1], self.right
        if isinstance(tree, SumOver) and tree.rows:
            factors = (value_of(tree.operand, self.values), None)
        elif isinstance(tree, MatrixProduct) and isinstance(tree.left, Transpose):
            factors = value_of(tree.left.operand, self.values), value_of(tree.right, self.values)
        else:
            return
        if len(factors[0]) == 1 or self.value.shape != right.shape:
            return
        for wanted, words in ((right - self.value, LEFT_OUT), (self.value, ALONE_THERE)):
            for row in _rows_like(wanted, *factors):
                part = _part(row, *factors)
                if self._agrees(right - part if words is LEFT_OUT else part):
                    yield words.format(row + 1)

    def _parts(self):
        """What is plain from the numbers: wrong rows or columns, a constant, and the auditor's guesses."""
        value, right = self.value, self.right
        if value.shape != right.shape:
            shape = "×".join(map(str, value.shape)) or "a number"
            turned = value.dim() == right.dim() == 2 and value.shape == right.mT.shape
            as_it_is = f"its shape is {shape}, and not {'×'.join(map(str, right.shape)) or 'a number'}"
            why = "a transpose is missing or too much" if turned else self._other_sum()
            yield f"{as_it_is}: {why}" if why else as_it_is
            return
        close = (value - right).abs() <= self.tolerance * right.abs() + ROUNDING * right.abs().max()
        for dim, what in enumerate(("row", "column") if value.dim() == 2 else ("element",) if value.dim() else ()):
            wrong = (~close).any(1 - dim) if value.dim() == 2 else ~close
            if wrong.sum() == 1 and len(wrong) > 1:
                at = int(wrong.nonzero())
                zero = not value.select(dim, at).any()
                yield f"{what} {at + 1} {'is 0' if zero else 'is wrong'}, and the others are right"
                return
        slack = torch.full_like(right, min(self.tolerance, precision(value))).mul(right.abs()).add(1e-12).view(1, -1)
        if value.numel() > 1 and (ratio := ratio_of(value.view(1, -1), right.view(1, -1), slack)):
            yield f"it is {digits(*ratio).replace('-', '−')} times the right value: a constant factor is wrong"
            return
        if value.numel() > MOST_NUMBERS:
            return
        evidence = self._evidence(close, slack)
        guesses = jacobian_patterns.permuted, missing_factor, jacobian_patterns.signs
        for guess in guesses:
            if evidence.is_more_than_chance(1e4) and (words := guess(evidence)):
                yield words
                return

    def _other_sum(self):
        """Of a sum over the rows, that it is one over the units of each row, or over all."""
        tree = self.record.sides[-1]
        if isinstance(tree, SumOver) and tree.rows and (each := value_of(tree.operand, self.values)) is not None:
            for other, where in ((each.sum(-1), "over the units of each row"), (each.sum(), "over all numbers")):
                if self._agrees(fitted(other, self.value)):
                    return f"the sum is {where}, and not over the rows"
        return ""

    def _evidence(self, close, slack):
        """As the auditor wants it: the value is a Jacobian of one row."""
        names = dict.fromkeys(name for side in self.record.sides for name in side.symbols())
        names |= dict.fromkeys(quantity.name for quantity in self.shapes if quantity != self.record.quantity)
        values = {name: self.values[name] for name in names if isinstance(self.values[name], torch.Tensor)}
        same = {n: t.double().reshape(-1) for n, t in values.items() if t.numel() == self.value.numel()}
        rows = [tensor.reshape(1, -1) for tensor in (self.value, self.right, close)]
        shapes = {name: tuple(values[name].shape) for name in same}
        shape = tuple(self.value.shape)
        return Evidence(*rows, slack, self.record.name, shape, (), same, shapes, False, {})


def precision(value):
    """A share by which numbers may differ from what they are a guess for: so far as they are written down, or computed
    in float32 or float64. What is farther off is no case of it, such as numbers that are only almost proportional."""
    if all(number == float(f"{number:.5g}") for number in value.flatten()[:MOST_NUMBERS].tolist()):
        return 1.0
    return 1e-6 if (value == value.float()).all() else 1e-9


def is_rounded(value, tensor, most=0.5):
    """Whether each number is that of the tensor as one writes it down: off by at most so many units of the last digit
    that it has."""
    if value.numel() > MOST_NUMBERS or value.shape != tensor.shape or not value.isfinite().all():
        return False
    pairs = zip(value.flatten().tolist(), tensor.flatten().tolist(), strict=True)
    return all(abs(number - exact) <= 1.0001 * most * _unit(number) for number, exact in pairs)


def _unit(number):
    """What 1 counts in the last digit that a number is written with; of 0, which may have any, 0."""
    return 10.0 ** Decimal(repr(number)).normalize().as_tuple().exponent if number else 0.0


def _part(row, left, right):
    """What one row adds to Σₙ left, or to leftᵀ right."""
    return left[row] if right is None else left[row].unsqueeze(1) * right[row]


def _rows_like(wanted, left, right):
    """The rows that add about what is wanted at the place where that is largest."""
    *i, j = largest_place(wanted)
    parts = left[:, j] if right is None else left[:, i[0]] * right[:, j]
    close = (parts - wanted[(*i, j)]).abs() <= 0.01 * wanted.abs().max()
    return close.nonzero().flatten().tolist()[:MOST_ROWS]


def largest_difference(value, right):
    """Where a value differs most, in words."""
    if value.shape != right.shape:
        return ""
    place = largest_place((value - right).nan_to_num(torch.inf))
    numbers = f"{formatted(value[place])} and not {formatted(right[place])}"
    return f"the largest difference is at {named('', place)}: {numbers}" if place else f"it is {numbers}"
