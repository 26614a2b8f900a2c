"""Ctrl-C, SIGTERM and a closed terminal: a run ends between two steps, so that it can be resumed."""

import contextlib
import os
import signal
import time

import torch
import torch.distributed as dist
from pytorch_lightning.callbacks import Callback

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
SAME_SIGNAL = 0.5  # seconds: a second signal within them repeats the first; `timeout` and torchrun send two
GRACE = 2.0  # seconds after a signal in which the epoch may end, if its checkpoint is written only then


class Interrupted(BaseException):
    """Raised between two steps. No `except Exception` catches it."""


class Interruption(Callback):
    """Handles `SIGNALS`: the command ends between two steps. A second signal ends the process at once.

    An exception at the moment of the signal could leave a lock, a queue or a file in any state, and the run would hang
    in the thread of a logger. So the handler only stores the signal in `number`, which is checked before each batch.
    All processes of a run stop before the same batch: one that stopped alone would leave the others waiting.

    It is a context, at whose end the previous handlers are back. `listen` installs its own: for Ctrl-C when a run
    begins; for SIGTERM and SIGHUP when its processes are connected, as Python runs no handler while they wait in C++.
    """

    number, since = 0, 0.0  # the signal, and the time when it came
    begun = False

    def __enter__(self):
        self.before = {number: signal.getsignal(number) for number in SIGNALS}
        self.terminals = [fd for fd in (1, 2) if os.isatty(fd)]
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ValueError):
            for number, handler in self.before.items():
                signal.signal(number, handler)

    def listen(self, numbers=SIGNALS):
        with contextlib.suppress(ValueError):  # not in the main thread
            for number in numbers:
                if self.before[number] != signal.SIG_IGN:  # of nohup, or in the background of a shell
                    signal.signal(number, self.handle)

    def handle(self, number, frame):
        if number == getattr(signal, "SIGHUP", None):
            self._leave_terminal()
        terminal = 2 in self.terminals
        if not self.number:
            self.number, self.since = number, time.monotonic()
            if terminal:
                os.write(2, b"\rit ends after this step; a second Ctrl-C ends it at once\n")
        elif time.monotonic() - self.since > SAME_SIGNAL:
            if terminal:
                os.write(2, b"\x1b[?25h")  # the cursor, which a progress bar hides
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def _leave_terminal(self):
        """It is gone: to write to it would be an error."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for fd in self.terminals:
            os.dup2(nowhere, fd)
        self.terminals = []

    def stop(self):
        """Raise Interrupted in this process, if it has a signal."""
        if self.number:
            raise Interrupted

    def agree(self, trainer):
        """Wait for all processes. If one of them has a signal, all get it."""
        self._agree(trainer, self.number)

    def stop_together(self, trainer):
        """Raise Interrupted in all processes, if one of them has a signal."""
        if self._agree(trainer, self.number):
            raise Interrupted

    def _agree(self, trainer, value):
        """The largest value of all processes. If one of them has a signal, all get it."""
        if trainer.world_size == 1 or not dist.is_initialized():
            return value
        values = torch.tensor([self.number, value], device=trainer.strategy.root_device)
        dist.all_reduce(values, dist.ReduceOp.MAX)
        number, value = values.tolist()
        if number and not self.number:
            self.number, self.since = number, time.monotonic()
        return value

    def _before_batch(self, trainer, *_):
        late = self.number and not _can_wait(trainer, time.monotonic() - self.since)
        if self._agree(trainer, int(late)):
            raise Interrupted

    on_train_batch_start = on_validation_batch_start = on_test_batch_start = on_predict_batch_start = _before_batch

    def on_train_epoch_end(self, trainer, pl_module):
        if self._agree(trainer, self.number):
            trainer.should_stop = True  # last.ckpt is of this epoch then

    def setup(self, trainer, pl_module, stage):
        self.listen()

    def on_train_start(self, trainer, pl_module):
        self.begun = True
        self.listen()  # Lightning has replaced the handler of SIGTERM

    on_validation_start = on_test_start = on_predict_start = on_train_start


def _can_wait(trainer, seconds):
    """Whether to let the epoch end so many seconds after a signal: because last.ckpt is behind, and is written then."""
    behind = trainer.state.fn == "fit" and any(getattr(c, "is_behind", False) for c in trainer.checkpoint_callbacks)
    return behind and seconds < GRACE
