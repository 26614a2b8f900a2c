"""All steps of a descent as a sequence of explanations, and the decorator of methods that compute outside autocast."""

import functools
from collections.abc import Sequence
from typing import Any

import torch

from torchbp.explanation.derivation.many_steps import Descents, StepSummary


def without_autocast(method):
    """The method, which computes in the network's dtype, also within the caller's autocast."""

    @functools.wraps(method)
    def computed(self, *args, **kwargs):
        with torch.autocast(self.values["X"].device.type, enabled=False):
            return method(self, *args, **kwargs)

    return computed


class Steps(Sequence):
    """The explanations of all steps of a descent: `explanation.steps[9]` is the tenth. Each is made when it is asked
    for; `summaries()` are the losses, gradient norms and answers of all, without their records."""

    def __init__(self, explanation: Any, descents: Descents) -> None:
        self._explanation, self._descents = explanation, descents

    def __len__(self) -> int:
        return len(self._descents)

    @torch.inference_mode(False)
    @torch.no_grad()
    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        known, place = self._explanation, range(len(self))[place]
        if place == known.number - 1:
            return known
        with torch.autocast(known.values["X"].device.type, enabled=False):
            return type(known)(self._descents, place, known.title, known.features, known.outputs, known.unscaled)

    def summaries(self) -> list[StepSummary]:
        return self._descents.summaries()
