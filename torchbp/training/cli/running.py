"""What the training commands do once their network, data and Trainer are made."""

import math
import sys

from torchbp.printing import say
from torchbp.training.checkpoints.compatibility import epochs_done
from torchbp.training.checkpoints.resuming import continue_metrics
from torchbp.training.cli.predictions import write_predictions
from torchbp.training.cli.processes import LostProcess, package_that_raised, rank
from torchbp.training.cli.summary import resume_lines, summarize, summarize_interrupted
from torchbp.training.data.trained import saved_reading
from torchbp.training.errors import UserError


def run_fit(command, arguments):
    """Train, and print the summary. arguments: of `Trainer.fit`."""
    with command.interruptible():
        _train(command, arguments)
        command.interruption.listen()  # Lightning has restored the previous handlers
        command.interruption.stop_together(command.trainer)
        summarize(command)
    if command.status > 1:
        summarize_interrupted(command)


def _train(command, arguments):
    trainer = command.trainer
    if command.resumed_run and rank() == 0:
        continue_metrics(trainer.loggers, command.resumed_run, epochs_done(command.checkpoint))
    try:
        trainer.fit(**arguments | {"weights_only": True})
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        # Before the first step, such an error comes from a damaged part of the checkpoint.
        if command.checkpoint is None or command.interruption.begun or isinstance(error, UserError):
            raise
        raise UserError(f"{command.settings.ckpt_path} cannot be resumed: {error!r}") from None
    except RuntimeError as error:
        if trainer.world_size == 1 or package_that_raised(error) != "torch":
            raise
        for label, text in resume_lines(command):
            say(label, text, sys.stderr)
        raise LostProcess(
            f"process {trainer.global_rank} of {trainer.world_size} has lost the others: one was killed or has failed "
            f"({' '.join(str(error).split())[:100]})"
        ) from None


def run_evaluation(command, run, arguments):
    """Print the scores of `run`, which is `Trainer.validate` or `Trainer.test`."""
    with command.interruptible():
        scores = run(**arguments | {"verbose": False, "weights_only": True})[0]
        if command.trainer.is_global_zero:
            width = max(14, *map(len, scores))
            for name, value in scores.items():
                print(f"{name:<{width}} {value:.4f}")
        if not all(map(math.isfinite, scores.values())):
            raise UserError(
                f"a score is nan or inf: a value in {command.datamodule.source} is too large for this network"
            )


def run_prediction(command):
    """Write the predictions."""
    data, output = command.settings.data, command.settings.output
    with command.interruptible():
        checkpoint = command.checkpoint
        reading = saved_reading(checkpoint, data.as_dict())
        kind = checkpoint.get("TabularData", {}).get("label_kind", "text")
        rows = write_predictions(command.trainer, command.model, data.source, data.id, output, reading, kind)
        say("wrote", f"{output}: {rows} rows")
