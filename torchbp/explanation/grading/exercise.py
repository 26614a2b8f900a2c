"""`torchbp.exercise`: a step of gradient descent to be computed by the learner, and graded."""

import copy
import textwrap
from collections import ChainMap
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from torchbp.explanation.explanation import Explanation, explain
from torchbp.explanation.grading.answers import read
from torchbp.explanation.grading.causes import Causes, largest_difference
from torchbp.explanation.grading.grade import Grade, Mark
from torchbp.explanation.grading.mistakes import agrees
from torchbp.explanation.render.text import WIDTH, loss_line, size

TOLERANCE = 1e-4  # four digits, as one writes them down by hand


def exercise(
    model: torch.nn.Module, x: Any, y: Any, loss: torch.nn.Module | None = None, lr: float = 0.1, factor: float = 1.0
) -> "Exercise":
    r"""One step of backpropagation as an exercise: it grades a backward pass that you have written yourself.

    Each answer is compared with the right one. Of a wrong one the mistake is named that gives its numbers: a sign, a
    missing factor, a transpose, a mean where a sum belongs, a quantity of another layer. An answer that is wrong only
    since an earlier one is, is not counted as a mistake.

    Args:
        model, x, y, loss, lr, factor: as `torchbp.explain` takes them. The numbers are those of the model in float64.

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
    model = copy.deepcopy(model).cpu().double()
    return Exercise(explain(model, x, y, lr, loss, factor=factor))


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
                Or a function of what is given, by its parameters' names, such as `backward(X, y, W1, b1)`, that returns
                such a dictionary. Some of the quantities are enough.
            tolerance: how far a number may be from the right one, as a share of it.

        Returns:
            A `Grade`, with a mark for each quantity that is answered.

        Raises:
            TypeError: answers that are no dictionary of numbers, or a function that takes what is not given.
            ValueError: a name that is not among the quantities; no answers; a tolerance that is no share.
        """
        if not 0 <= tolerance < 1:
            raise ValueError(f"tolerance={tolerance!r} must be a share of each number, such as {TOLERANCE}")
        found = read(answers, self.asked, self.given)
        marks, wrong = [], {}
        for record in self.records:
            if record.name in found:
                mark = self._mark(record, found[record.name], wrong, tolerance)
                if mark.verdict != "right":
                    wrong[record.name] = _fitted(found[record.name], record.tensor)
                marks.append(mark)
        return Grade(marks, [name for name in self.asked if name not in found])

    def _mark(self, record, value, wrong, tolerance):
        right = record.tensor.double()
        value = _fitted(value, right)
        if agrees(value, right, tolerance):
            return Mark(record.name, "right")
        symbols = self.explanation.step.symbols
        names = {name for side in record.sides for name in side.symbols()}
        usable = {n: t for n, t in wrong.items() if n in names and t.shape == self.explanation.values[n].shape}
        carried = ChainMap(usable, symbols)
        for side in record.sides if usable else ():
            tensor = torch.as_tensor(side.evaluate(carried), dtype=torch.float64)
            if agrees(value, tensor, tolerance):
                used = tuple(name for name in side.symbols() if name in usable)
                if used:
                    return Mark(record.name, "follows", follows_from=used)
        shapes = {r.quantity: tuple(r.tensor.shape) for r in self.explanation.records}
        shapes |= {q: tuple(self.explanation.values[q.name].shape) for q in self._given_quantities()}
        count, causes = self.explanation.step.criterion.count_symbol(), ()
        divisors = count.symbols() if count is not None else ()
        for values in (symbols, carried) if usable else (symbols,):
            causes = causes or Causes(record, value, values, shapes, divisors, tolerance).found()
        return Mark(record.name, "wrong", causes, (), record.equation, largest_difference(value, right))

    def _given_quantities(self):
        chain = self.explanation.chain
        return [chain.steps[0].takes, *(q for step in chain.steps for _, q in step.parameters)]

    def __str__(self) -> str:
        explanation, values = self.explanation, self.explanation.values
        given = ", ".join(f"{name} ({size(values[name])})" for name in self.given)
        asked = ", ".join(f"{name} ({size(values[name])})" for name in self.asked)
        facts = {
            "network": explanation.chain.described(),
            "loss": f"{loss_line(explanation)}; learning rate α = {explanation.lr:g}",
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


def _fitted(value, right):
    """A value in the shape of the right one, where it is that but for dimensions of 1, as (1, n) is of (n)."""
    squeezed = [n for n in value.shape if n != 1] == [n for n in right.shape if n != 1]
    return value.reshape(right.shape) if squeezed and value.dim() != right.dim() else value
