"""What the training commands do once their network, data and Trainer are made."""

import contextlib
import math
import sys
from pathlib import Path

from torchbp.printing import say
from torchbp.training.checkpoints.compatibility import epochs_done
from torchbp.training.checkpoints.resuming import continue_metrics
from torchbp.training.checkpoints.run_lock import has_log_dir, lock_run
from torchbp.training.cli.predictions import write_predictions
from torchbp.training.cli.processes import LostProcess, package_that_raised, rank
from torchbp.training.cli.recipe import recipe_line
from torchbp.training.cli.summary import resume_lines, run_folder_of, shown, summarize, summarize_stopped
from torchbp.training.data.trained import saved_reading
from torchbp.training.errors import UserError


def run_fit(command, arguments):
    """Train, and print the summary. arguments: of `Trainer.fit`."""
    with command.interruptible(), _locked_folder(command):
        for label, text in recipe_line(command) if rank() == 0 else ():
            say(label, text, sys.stderr)
        try:
            _train(command, arguments)
            command.interruption.listen()  # Lightning has restored the previous handlers
            command.interruption.stop_together(command.trainer)
            summarize(command)
        except OSError as error:
            if isinstance(error, BrokenPipeError) or not command.interruption.begun:
                raise
            what = f"{shown(error.filename or run_folder_of(command.trainer))} cannot be written: {error.strerror}"
            summarize_stopped(command, what)
            raise UserError(what) from None
    if command.status > 1:
        summarize_stopped(command, "it was interrupted")


def run_pack(command):
    """Train a pack, and print the closing lines."""
    from torchbp.training.pack.run import train_pack  # imports the estimators

    launcher = command.trainer.strategy.launcher  # of several processes
    with command.interruptible(), _locked_folder(command):
        try:
            train_pack(command) if launcher is None else launcher.launch(train_pack, command)
        except OSError as error:
            if isinstance(error, BrokenPipeError) or not command.interruption.begun:
                raise
            where = shown(error.filename or run_folder_of(command.trainer))
            raise UserError(f"{where} cannot be written: {error.strerror}") from None
        except RuntimeError as error:
            _raise_lost_process(command, error)


@contextlib.contextmanager
def _locked_folder(command):
    """Within it, no other process may train in the run's folder."""
    trainer, lock = command.trainer, None
    if rank() == 0 and not trainer.fast_dev_run and has_log_dir(trainer.loggers):
        lock = lock_run(trainer.loggers, numbered=command.settings.trainer.logger.init_args.version is None)
    try:
        yield
    finally:
        if lock:
            lock.release()


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
        _raise_lost_process(command, error)


def _raise_lost_process(command, error):
    """Raise a LostProcess, if that is what the error says, with the line that resumes the run; or the error itself."""
    trainer = command.trainer
    if trainer.world_size == 1 or package_that_raised(error) != "torch":
        raise error
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
        if command.command == "test" and command.trainer.is_global_zero and set(command.of_rows) <= {"source"}:
            _show_on_page(command, scores)


def _show_on_page(command, scores):
    """Put the scores of a run's own test rows on its page."""
    from torchbp.training.report import add_test_scores  # imports matplotlib

    saved = command.checkpoint.get("datamodule_hyper_parameters", {}).get("source")
    if command.settings.data.source in (None, saved):
        with contextlib.suppress(OSError):  # a folder of somebody else
            add_test_scores(Path(command.settings.ckpt_path).parent.parent, scores)


def run_prediction(command):
    """Write the predictions."""
    checkpoint, settings, rows = command.checkpoint, command.settings, command.of_rows
    id = settings.data.id or checkpoint.get("datamodule_hyper_parameters", {}).get("id")
    kind = checkpoint.get("TabularData", {}).get("label_kind", "text")
    with command.interruptible():
        count = write_predictions(
            command.trainer,
            command.model,
            rows["source"],
            id,
            settings.output,
            saved_reading(checkpoint, settings.data.as_dict()),
            kind,
            must_have_id=settings.data.id is not None,
        )
        say("wrote", f"{settings.output}: {count} rows")
