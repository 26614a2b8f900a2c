"""The processes of a run: the number of this one, and how it exits."""

import os
import sys
from datetime import timedelta

import torch.distributed as dist

from torchbp.training.errors import UserError


def rank():
    """The number of this process among those that torchrun, SLURM or Lightning started."""
    return int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or os.environ.get("LOCAL_RANK") or 0)


LONGEST_WAIT = timedelta(days=365)


def group_to_wait_in():
    """A group of all processes for `wait_for_all`, made while they are together; None of a single one. Waiting in the
    group of the run gives up after 30 minutes, and a process may train longer than that by itself. If a process is
    killed, its connections close, and the others stop waiting with an error."""
    return dist.new_group(backend="gloo", timeout=LONGEST_WAIT) if dist.is_initialized() else None


def wait_for_all(group):
    """Wait until every process of the run gets here, however long that takes."""
    if group is not None:
        dist.barrier(group)


def leave_process_group(status, together=False):
    """Leave the process group, and return the exit status. together: every process of the run gets here, and waits for
    the others.

    A process that fails exits here at once. If other processes are gone, gloo's threads would abort an ordinary exit;
    and Lightning kills the first process when it finds that another one has failed.
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


def package_that_raised(error):
    """The name of the package whose code raised the error."""
    trace = error.__traceback__
    while trace.tb_next:
        trace = trace.tb_next
    return trace.tb_frame.f_globals.get("__name__", "").split(".")[0]


class LostProcess(UserError):
    """Another process of the run is gone; each of the others prints this."""

    of_this_process = True
