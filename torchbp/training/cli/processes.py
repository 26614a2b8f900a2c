"""The processes of a run: which one this is, and how it ends when it ends alone."""

import os
import sys

import torch.distributed as dist

from torchbp.training.errors import UserError


def rank():
    """Of this process among those that torchrun, SLURM or Lightning started."""
    return int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or os.environ.get("LOCAL_RANK") or 0)


def leave(status, together=False):
    """The exit status. `together` is true of an end that every process of the run reaches: none leaves before.

    A process that fails exits here. Where other processes are gone, gloo's threads would abort an ordinary exit; and
    Lightning kills the first process where it finds that another one has failed.
    """
    if dist.is_initialized():
        if together:
            dist.barrier()
        if status:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        dist.destroy_process_group()
    return status


def raised_by(error):
    """The package whose code raised the error."""
    trace = error.__traceback__
    while trace.tb_next:
        trace = trace.tb_next
    return trace.tb_frame.f_globals.get("__name__", "").split(".")[0]


class LostProcess(UserError):
    """Another process of the run is gone; each that is left says so."""

    of_this_process = True
