"""Signals, and the processes of a run: which one this is, and how it ends when it ends alone."""

import contextlib
import os
import signal
import sys

import torch.distributed as dist
from pytorch_lightning.callbacks import Callback

from torchbp.training.errors import UserError


def rank():
    """Of this process among those that torchrun, SLURM or Lightning started."""
    return int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or os.environ.get("LOCAL_RANK") or 0)


def end_together():
    """The end of a run that every process has reached."""
    if dist.is_initialized():
        dist.barrier()  # without it, and then the end of the group, gloo's threads may abort the exit
        dist.destroy_process_group()


def leave(status):
    """The exit status. Where other processes are gone it exits: gloo's threads would abort an ordinary exit."""
    if dist.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


def raised_by(error):
    """The package whose code raised the error."""
    trace = error.__traceback__
    while trace.tb_next:
        trace = trace.tb_next
    return trace.tb_frame.f_globals.get("__name__", "").split(".")[0]


class Interruption(Callback):
    """SIGTERM ends a command as Ctrl-C does."""

    signal, begun = signal.SIGINT, False

    def on_train_start(self, trainer, pl_module):
        self.begun = True
        with contextlib.suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGTERM, self.stop)  # Lightning has put back what was there, when fit ends

    on_validation_start = on_test_start = on_predict_start = on_train_start

    def stop(self, number, frame):
        self.signal = number
        raise KeyboardInterrupt


class LostProcess(UserError):
    """Another process of the run is gone; each that is left says so."""

    of_this_process = True
