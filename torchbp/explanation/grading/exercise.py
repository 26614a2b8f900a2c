"""`torchbp.exercise`: a step of gradient descent to be computed by the learner, and graded."""

import copy
import textwrap
from collections import ChainMap
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from torchbp.explanation.explanation import Explanation, explain
from torchbp.explanation.grading.answers import aliases, read
from torchbp.explanation.grading.causes import Causes, is_rounded, largest_difference, precision
from torchbp.explanation.grading.formulas import read_formula
from torchbp.explanation.grading.gaps import NEAR, gaps, known_shapes, takes_places
from torchbp.explanation.grading.grade import Grade, Mark
from torchbp.explanation.grading.mistakes import agrees, fitted, value_of
from torchbp.explanation.grading.question import Question
from torchbp.explanation.notation.equations import ALPHA, K, N
from torchbp.explanation.notation.quantities import TARGET
from torchbp.explanation.render.numbers_given import WIDTH, size
from torchbp.explanation.render.text import loss_line

TOLERANCE = 1e-4  # four digits, as one writes them down by hand


def exercise(
    model: torch.nn.Module,
    x: Any,
    y: Any,
    loss: torch.nn.Module | None = None,
    lr: float | None = None,
    factor: float = 1.0,
    optimizer: torch.optim.Optimizer | None = None,
) -> "Exercise":
    r"""One step of backpropagation as an exercise: it grades a backward pass that you have written yourself.

    Each answer is compared with the right one. Of a wrong one the mistake is named that gives its numbers: a sign, a
    missing factor, a transpose, a mean where a sum belongs, a quantity of another layer. An answer that is wrong only
    since an earlier one is, is not counted as a mistake.

    Args:
        model, x, y, loss, lr, factor, optimizer: as `torchbp.explain` takes them. The numbers are those of the model in
            float64.

    Returns:
        An `Exercise`. Print it: it says what is given and what is asked.

    Raises:
        TypeError, ValueError: what `torchbp.explain` raises.

    Example:
        >>> import numpy as np
        >>> exercise = torchbp.exercise(torch.nn.Linear(2, 1), [[1.0, 2.0]], [[1.0]])
        >>> def backward(X, y, W1, b1):
        ...     A1 = 1 / (1 + np.exp(-(X @ W1.T + b1)))
        ...     dZ1 = y - A1
        ...     return {"A1": A1, "dZ1": dZ1, "dW1": dZ1.T @ X}
        >>> grade = exercise.grade(backward)
        >>> print(grade.first_wrong.name, grade.first_wrong)
        dL/dZ1 wrong: the sign is wrong
        >>> print(grade["dL/dW1"])
        right from your dL/dZ1, which is wrong
    """
    model, optimizer = copy.deepcopy((model, optimizer))  # together: the copy of one is of the parameters of the other
    return Exercise(explain(model.cpu().double(), x, y, lr, loss, factor=factor, optimizer=optimizer))


class Exercise:
    """A step to be computed.

    explanation: the solution, an `Explanation`. asked: the names of the quantities, in the order of the step.
    given: X, y, the parameters and the loss's weights by their names, arrays of NumPy in float64.
    """

    def __init__(self, explanation: Explanation) -> None:
        self.explanation = explanation
        self.records = [record for record in explanation.records if record.stage != "again"]
        self.asked = [record.name for record in self.records]
        given = explanation.step.given
        self.given: dict[str, np.ndarray] = {name: tensor.numpy().copy() for name, tensor in given.items()}

    def grade(self, answers: Mapping[str, Any] | Callable[..., Any], tolerance: float = TOLERANCE) -> Grade:
        """Grade a learner's numbers, quantity by quantity.

        Args:
            answers: arrays, tensors or numbers by the names of the quantities: Z1, L, dL/dW1 or short dW1, W1′ or W1'.
                Or formulas of what comes before, as text: `{"dZ1": "dA1 * A1 * (1 - A1)"}`. Or a function of what is
                given, by its parameters' names, such as `backward(X, y, W1, b1)`, that returns such a dictionary. Some
                of the quantities are enough.
            tolerance: how far a number may be from the right one, as a share of it.

        Returns:
            A `Grade`, with a mark for each quantity that is answered.

        Raises:
            TypeError: answers that are no dictionary of numbers, or a function that takes what is not given.
            ValueError: a name that is not among the quantities; no answers; a text that is no formula of what comes
                before, or of a quantity whose formula takes numbers by their places in a row; a tolerance that is no
                share.
        """
        if not 0 <= tolerance < 1:
            raise ValueError(f"tolerance={tolerance!r} must be a share of each number, such as {TOLERANCE}")
        found = read(answers, self.asked, self.given)
        marks, wrong = [], {}
        for record in self.records:
            if record.name not in found:
                continue
            answer = found[record.name]
            if isinstance(answer, str):
                if takes_places(record.sides[-1]):
                    raise ValueError(
                        f"{record.name}={answer!r}: a typed formula cannot say which numbers of a row it takes; "
                        "give the numbers"
                    )
                marks.append(self._mark_of_formula(record, read_formula(answer, self._names(record)), tolerance))
                continue
            mark = self._mark(record, answer, wrong, tolerance)
            if mark.verdict != "right":
                wrong[record.name] = fitted(answer, record.tensor)
            marks.append(mark)
        return Grade(marks, [name for name in self.asked if name not in found])

    def questions(self, name: str) -> list[Question]:
        """Questions about a quantity's formula, each with another part of it hidden.

        Args:
            name: of the quantity, such as dL/dZ1 or short dZ1.

        Returns:
            `Question`s: print one, and answer it with `question.answer("A1")`. None where the formula takes numbers by
            their places in a row, as that of a convolution does.

        Raises:
            ValueError: a name that is not among the quantities.

        Example:
            >>> exercise = torchbp.exercise(torchbp.nn.MLP(2, 3, 1), [[1.0, 2.0]], [[1.0]])
            >>> question = exercise.questions("dZ1")[1]
            >>> print(question.text)
            dL/dZ1 = dL/dA1 ∘ ▢ ∘ (1 − A1)
            >>> print(question.answer("1"))
            wrong: the factor A1 is missing
        """
        record = next((r for r in self.records if name in aliases(r.name)), None)
        if record is None:
            raise ValueError(f"{name!r} is no quantity of this exercise; give one of {', '.join(self.asked)}")
        found = gaps(record.sides[-1], self._before(record), self.explanation.step.symbols)
        names = self._names(record)
        return [Question(self, record, gap, names) for gap in found]

    def _mark(self, record, value, wrong, tolerance):
        right = record.tensor.double()
        value = fitted(value, right)
        unchanged = self._unchanged(record, value)
        if unchanged is None and agrees(value, right, tolerance):
            return Mark(record.name, "right")
        symbols = self.explanation.step.symbols
        names = {name for side in record.sides for name in side.symbols()}
        carried = ChainMap({n: t for n, t in wrong.items() if n in names}, symbols)
        for side in record.sides:
            used = tuple(name for name in side.symbols() if name in wrong)
            if used and (tensor := value_of(side, carried)) is not None and agrees(value, tensor, tolerance):
                return Mark(record.name, "follows", follows_from=used)
        if unchanged is not None:
            return unchanged
        usable = {n: t for n, t in wrong.items() if n in names and t.shape == self.explanation.values[n].shape}
        carried = ChainMap(usable, symbols)
        causes, mappings = (), (symbols, carried) if usable else (symbols,)
        for values in mappings:
            causes = causes or self._causes(record, value, values, tolerance)
        return Mark(record.name, "wrong", causes, (), record.equation, largest_difference(value, right))

    def _mark_of_formula(self, record, tree, tolerance=TOLERANCE, otherwise=""):
        """The mark of a right side of the quantity's equation, computed from the right values. otherwise: the cause
        where no usual mistake gives the numbers."""
        symbols, right = self.explanation.step.symbols, record.tensor.double()
        value = value_of(tree, symbols)
        if value is None:
            return Mark(record.name, "wrong", ("the shapes do not fit",), (), record.equation)
        if record.tensor.dtype == torch.float64:  # more digits than one writes by hand: an update may be a small change
            tolerance = min(tolerance, NEAR)
        value = fitted(value, right)
        if unchanged := self._unchanged(record, value):
            return unchanged
        by_equation = fitted(value_of(record.sides[-1], symbols), right)  # which may round more than what is recorded
        if agrees(value, right, tolerance) or agrees(value, by_equation, tolerance):
            return Mark(record.name, "right")
        causes = self._causes(record, value, symbols, tolerance, otherwise)
        return Mark(record.name, "wrong", causes, (), record.equation, largest_difference(value, right))

    def _unchanged(self, record, value):
        """The mark of a parameter as it was before the step, however small the step is; None of another value."""
        before = self.explanation.values.get(record.name.removesuffix("′"))
        if record.kind != "update" or before is None or value.shape != before.shape:
            return None
        change = (record.tensor - before).double()
        nearer = (value - before).abs() <= 0.1 * change.abs()
        computed = torch.equal(value, before.double()) or (nearer.all() and precision(value) < 1)
        by_hand = is_rounded(value, before) and not is_rounded(value, record.tensor, 1)  # nor are digits cut off
        if not change.any() or not (computed or by_hand):
            return None
        causes = (f"this is {record.name.removesuffix('′')}: the step is missing",)
        return Mark(record.name, "wrong", causes, (), record.equation, largest_difference(value, record.tensor))

    def _causes(self, record, value, values, tolerance, otherwise=""):
        shapes = known_shapes(self.explanation, self.explanation.records)
        return Causes(record, value, values, shapes, self.explanation.step.criterion, tolerance).found(otherwise)

    def _before(self, record):
        """{quantity: shape} of what is known before a record."""
        return known_shapes(self.explanation, self.records[: self.asked.index(record.name)])

    def _names(self, record):
        """{text: quantity} of what a formula of a record may use: what is known before it."""
        known = [*self._before(record), TARGET, N, K, ALPHA, *(leaf for side in record.sides for leaf in _leaves(side))]
        names = {alias: quantity for quantity in known for alias in aliases(quantity.name)}
        return names | {"lr": ALPHA}

    def __str__(self) -> str:
        explanation, values = self.explanation, self.explanation.values
        given = ", ".join(f"{name} ({size(values[name])})" for name in self.given)
        asked = ", ".join(f"{name} ({size(values[name])})" for name in self.asked)
        rates = ", ".join(f"{name} = {value:g}" for name, value in explanation.step.descent.symbols.items())
        facts = {
            "network": explanation.chain.described(),
            "loss": f"{loss_line(explanation)}; learning rate {rates}",
            "given": given,
            "asked": asked,
            "answers": "exercise.grade({name: array, …}), as many as you want graded",
        }
        indent = " " * 9
        return "\n".join(
            line
            for name, what in facts.items()
            for line in textwrap.wrap(f"{name:<9}{what}", WIDTH, subsequent_indent=indent)
        )

    def __repr__(self) -> str:
        return f"Exercise({self.explanation.chain.described()})"


def _leaves(tree):
    """The quantities and constants in a tree."""
    children = tree.children()
    return [leaf for child in children for leaf in _leaves(child)] if children else [tree] if tree.symbols() else []
