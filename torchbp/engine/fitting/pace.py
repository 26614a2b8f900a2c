"""When it pays to compile the steps of a training that is under way: `compile="auto"`."""

import time

import torch

from torchbp.engine.native.calls.compiled import CompiledSteps

# a program is made in one second or two; it makes a short step ten times as fast, and a long one twice at most
LONG_STEP = 2e-4  # seconds
MANY_STEPS = 20_000  # single ones, after which many more are likely
WORTH_IT, WORTH_IT_FOR_LONG_STEPS = 1.5, 10.0  # seconds that the epochs to come take at the pace of the last one


class Pace:
    """How long an epoch of a training takes, of so many steps."""

    def __init__(self, max_epochs, steps):
        self.left, self.steps, self.start = max_epochs, steps, time.perf_counter()

    def epoch(self, optimizer):
        """An epoch is done. Of an optimizer with `compile="auto"`, the next ones are compiled if it pays."""
        of_epoch, self.left, self.start = time.perf_counter() - self.start, self.left - 1, time.perf_counter()
        worth_it = WORTH_IT if of_epoch < LONG_STEP * self.steps else WORTH_IT_FOR_LONG_STEPS
        if of_epoch * self.left > worth_it:
            compile_if_auto(optimizer)


def compile_if_auto(optimizer):
    """From now on, let programs make the steps of an optimizer with `compile="auto"`, where there can be some."""
    if optimizer.compiled is not None or optimizer.compile != "auto":
        return
    if torch.are_deterministic_algorithms_enabled():  # a measurement is not deterministic
        return
    if optimizer.network.first_parameter.device.type == "cpu":
        optimizer.compiled = CompiledSteps(optimizer, required=False)
