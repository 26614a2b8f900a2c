"""Ctrl-C and SIGTERM: a run ends between two steps, and can be resumed."""

import contextlib
import os
import signal
import sys
import time

import torch
import torch.distributed as dist
from pytorch_lightning.callbacks import Callback

SIGNALS = signal.SIGINT, signal.SIGTERM
SAME = 0.5  # seconds in which a second signal is the first one again: `timeout` and torchrun send theirs twice
GRACE = 2.0  # seconds that an epoch may take to its end, where its checkpoint would be written then


class Interrupted(BaseException):
    """Raised between two steps. No `except Exception` catches it."""


class Interruption(Callback):
    """Hears Ctrl-C and SIGTERM, and ends a command between two steps. A second one ends the process at once.

    An exception at the moment of the signal could leave a lock, a queue or a file in any state, and the run would hang
    in the thread of a logger. So the signal is kept in `number`, and each batch asks for it before it begins. All
    processes of a run stop before the same batch: one that stopped alone would leave the others waiting.

    It is a context, in which it hears Ctrl-C; outside `between_steps` that is a KeyboardInterrupt. SIGTERM ends the
    process as usual until the processes of a run have found each other: Python hears nothing while they wait in C++.
    """

    number, since = 0, 0.0  # the signal, and when it came
    stepping = begun = False

    def __enter__(self):
        self.before = {number: signal.getsignal(number) for number in SIGNALS}
        self.listen([signal.SIGINT])
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ValueError):
            for number, handler in self.before.items():
                signal.signal(number, handler)

    def listen(self, numbers=SIGNALS):
        with contextlib.suppress(ValueError):  # not in the main thread
            for number in numbers:
                if self.before[number] != signal.SIG_IGN:  # as of a program in the background of a shell
                    signal.signal(number, self.hear)

    def hear(self, number, frame):
        terminal = os.isatty(sys.__stderr__.fileno()) if sys.__stderr__ else False
        if not self.number:
            self.number, self.since = number, time.monotonic()
            if not self.stepping:
                raise KeyboardInterrupt
            if terminal:
                os.write(2, b"\rit ends after this step; a second Ctrl-C ends it at once\n")
        elif time.monotonic() - self.since > SAME:
            if terminal:
                os.write(2, b"\x1b[?25h")  # the cursor, which a progress bar hides
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    @contextlib.contextmanager
    def between_steps(self):
        self.stepping = True
        try:
            yield
        finally:
            self.stepping = False

    def stop(self):
        """Raises Interrupted in this process alone, if it has heard a signal."""
        if self.number:
            raise Interrupted

    def stop_together(self, trainer):
        """Raises Interrupted in all processes, if one of them has heard a signal."""
        if self.agree(trainer, self.number):
            raise Interrupted

    def agree(self, trainer, value):
        """The largest value of the processes; where one has heard a signal, all have."""
        if trainer.world_size == 1 or not dist.is_initialized():
            return value
        values = torch.tensor([self.number, value], device=trainer.strategy.root_device)
        dist.all_reduce(values, dist.ReduceOp.MAX)
        number, value = values.tolist()
        if number and not self.number:
            self.number, self.since = number, time.monotonic()
        return value

    def before_batch(self, trainer, *_):
        late = self.number and not can_wait(trainer, time.monotonic() - self.since)
        if self.agree(trainer, int(late)):
            raise Interrupted

    on_train_batch_start = on_validation_batch_start = on_test_batch_start = on_predict_batch_start = before_batch

    def on_train_epoch_end(self, trainer, pl_module):
        if self.agree(trainer, self.number):
            trainer.should_stop = True  # and last.ckpt is of this epoch

    def setup(self, trainer, pl_module, stage):
        self.listen()

    def on_train_start(self, trainer, pl_module):
        self.begun = True
        self.listen()  # Lightning has put its own handler of SIGTERM in the place of this one

    on_validation_start = on_test_start = on_predict_start = on_train_start


def can_wait(trainer, seconds):
    """Whether the epoch may go on to its end after a signal: last.ckpt, which is older than the epoch before, is
    written there."""
    behind = trainer.state.fn == "fit" and getattr(trainer.checkpoint_callback, "is_behind", False)
    return behind and seconds < GRACE
