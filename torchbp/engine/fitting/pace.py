"""When it pays to compile the steps of a training that is under way: `compile="auto"`."""

import time

from torchbp.engine.native.compiled import CompiledSteps

WORTH_IT = (
    3.0  # seconds that the epochs to come take at the pace of the one before; a program is made in less than one or two
)


class Pace:
    """How long an epoch of a training takes."""

    def __init__(self, max_epochs):
        self.left, self.start = max_epochs, time.perf_counter()

    def epoch(self, optimizer):
        """An epoch is done. Of an optimizer with `compile="auto"`, the next ones are compiled if it pays."""
        of_epoch, self.left, self.start = time.perf_counter() - self.start, self.left - 1, time.perf_counter()
        if optimizer.compiled is not None or optimizer._settings["compile"] != "auto":
            return
        if of_epoch * self.left > WORTH_IT and optimizer.network.first_parameter.device.type == "cpu":
            optimizer.compiled = CompiledSteps(optimizer._settings["model"], optimizer.loss, required=False)
