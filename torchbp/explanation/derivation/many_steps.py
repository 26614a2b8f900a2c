"""The same step again and again, until the minimum: every step of a descent, each explained when it is asked for."""

import functools
from collections import ChainMap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from torchbp.explanation.derivation.gradient_pass import gradients
from torchbp.explanation.derivation.step import TrainingStep
from torchbp.explanation.notation.equations import K, N
from torchbp.explanation.notation.quantities import INPUT, LOSS, d

MOST_NUMBERS = 2**27  # parameters, times steps: 1 GB in float64


@dataclass(frozen=True)
class StepSummary:
    """number: of the step, from 1. loss: L before it. gradient_norm: ‖∇L‖, over the parameters that learn. answers:
    what the loss compares with y, a tensor. compute: computes `values`, which many steps would fill the memory with."""

    number: int
    loss: float
    gradient_norm: float
    answers: torch.Tensor
    compute: Callable[[], dict]

    @property
    def values(self) -> dict:
        """Every tensor of the passes forward and backward, by its name, computed again."""
        return self.compute()


class Descents(Sequence):
    """The steps of a descent, each of them a `TrainingStep`, from 0.

    Args:
        step: the first one. count: how many there are.

    Raises:
        ValueError: no number of steps, or more than memory can hold.
    """

    def __init__(self, step, count):
        numbers = sum(tensor.numel() for tensor in step.chain.start.values())
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(f"steps={count!r} must be a whole number from 1 on")
        if count > 1 and count * numbers > MOST_NUMBERS:
            raise ValueError(
                f"steps={count} of {numbers} parameters do not fit memory; give at most "
                f"{max(MOST_NUMBERS // numbers, 1)}"
            )
        self.first, self.count = step, count
        self._states = [(step.chain, step.descent)]  # before each step, as far as it was asked for
        self._summaries = []

    def __len__(self):
        return self.count

    def __getitem__(self, place):
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(self.count))]
        place = range(self.count)[place]
        if place == 0:
            return self.first
        self.summaries(place)
        chain, descent = self._states[place]
        return TrainingStep(chain, self.first.criterion, self.first.values[INPUT.name], descent)

    @torch.no_grad()
    def summaries(self, count=None):
        """The first `count` summaries, or all."""
        count = self.count if count is None else count
        while len(self._summaries) < count:
            self._take_step()
        return self._summaries[:count]

    @torch.no_grad()
    def _values(self, place):
        """Every tensor of the passes of a step, and what the optimizer remembers before it."""
        chain, descent = self._states[place]
        return gradients(chain, self.first.criterion, self.first.values[INPUT.name]) | descent.state

    def _take_step(self):
        """Add the next summary, and the state after it."""
        chain, descent = self._states[-1]
        criterion, place = self.first.criterion, len(self._summaries)
        values = self._values(place)
        symbols = ChainMap(values, {N.name: criterion.rows, K.name: chain.outputs, **descent.symbols})
        for quantity in self.first.learnt:
            descent.update(quantity, values, symbols)
        squares = (values[d(q).name].double().square().sum().item() for q in self.first.learnt)
        answers = values[criterion.answer.name]
        loss, norm = values[LOSS.name].item(), sum(squares) ** 0.5
        self._summaries.append(StepSummary(place + 1, loss, norm, answers, functools.partial(self._values, place)))
        new = {name: values.get(f"{name}′", tensor) for name, tensor in chain.start.items()}
        self._states.append((chain.at(new, values[INPUT.name]), descent.following(values)))
