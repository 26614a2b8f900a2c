"""`torchbp fit`, `validate`, `test` and `predict`: run one, and report an error in one line."""

import torch

from torchbp.printing import complain
from torchbp.training.callbacks.interruption import Interruption
from torchbp.training.cli.argument_errors import reason_of_class
from torchbp.training.cli.arguments import configs_first
from torchbp.training.cli.lightning_quiet import silence_lightning
from torchbp.training.cli.processes import leave_process_group, package_that_raised, rank
from torchbp.training.cli.training_cli import run_command
from torchbp.training.errors import UserError

TO_SAVE_MEMORY = (
    "smaller values of model.hidden, model.members or data.batch_size need less, and data.on_disk holds no rows in it"
)


def main(arguments):
    """Run a training command. Returns the exit status: 0; 1 for data that cannot be used; 2 for an argument that cannot
    be used; 128 + the number of a signal that has ended it."""
    silence_lightning()
    if arguments[0] == "predict" and rank() > 0:
        return 0  # predict runs in one process: reading and writing cost more than the network
    with Interruption() as interruption:
        try:
            status = run_command(configs_first(arguments), interruption)
        except BrokenPipeError:  # the command line's main ends quietly
            raise
        except Exception as error:
            return leave_process_group(_report(error))
        return leave_process_group(status, together=True)


def is_out_of_memory(error):
    """Whether an error says so: that of the processor is torch's general one."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def _report(error):
    """Print one line on stderr, and return the exit status. An error that is a defect of ours is raised again."""
    if isinstance(error, UserError):
        if rank() == 0 or error.of_this_process:
            complain(error)
        return error.status
    if is_out_of_memory(error):
        complain(f"there is not enough memory: {TO_SAVE_MEMORY}")
        return 1
    message, package = " ".join(str(error).split()), package_that_raised(error)
    if isinstance(error, OSError) and error.strerror and error.filename:
        message = f"{error.filename}: {error.strerror}"
    if package == "jsonargparse" and (reason := reason_of_class(str(error))):
        message = reason
    elif not isinstance(error, OSError) and package not in ("pytorch_lightning", "lightning_fabric"):
        raise error
    if rank() == 0:
        complain(message)
    return 1 if isinstance(error, OSError) else 2
