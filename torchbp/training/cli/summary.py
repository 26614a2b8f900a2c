"""What `fit` prints at its end: why it stopped, what it reached, where the run is, and what to type next."""

import math
import shutil
import sys
from pathlib import Path

from torchbp.engine.fitting.stopping import NOT_FINITE
from torchbp.printing import quoted, say
from torchbp.training.callbacks.gradient_monitor import GradientMonitor
from torchbp.training.callbacks.stopping import UntilMinimum
from torchbp.training.checkpoints.saving import BestAndLast
from torchbp.training.checkpoints.tensors import first_not_finite
from torchbp.training.cli import judgement, run_page, sweep_table
from torchbp.training.data.reading.files import STDIN
from torchbp.training.scores.evaluation import monitors


def summarize(command):
    """Validate the best checkpoint, write the run's page, and print the summary.

    Every process of a run must call it, since all take part in the validation.
    """
    trainer, model = command.trainer, command.model
    stopping = _callback(trainer, UntilMinimum)
    first = _stopped_line(trainer, stopping.reason(trainer))
    if trainer.fast_dev_run:  # it has no run folder
        _print_lines(trainer, [first])
        return
    lines = _divergence_lines(command, stopping)
    rows = []
    if isinstance(model.hparams.lr, list) and model.best_epoch.any():
        rows = sweep_table.sweep_rows(model, stopping)
        lines.append(("best lr", sweep_table.best_rate_line(model)))  # before best.ckpt is loaded
    troubles = list(_callback(trainer, GradientMonitor).troubles(trainer, model))
    if model.members and (line := sweep_table.diverged_members_line(stopping)):
        troubles.append(line)
    loggers, run = trainer.loggers, run_folder_of(trainer)
    best = best_checkpoint(trainer)
    baseline = {}
    if command.status == 0 and best:
        lines += _validation_lines(command, best)
        if baseline := judgement.baseline_scores(model, command.datamodule):
            lines.append(("baseline", judgement.baseline_line(baseline)))
    history = run_page.read_history(run)
    reached = trainer.current_epoch == trainer.max_epochs
    if command.status == 0 and not model.members:
        troubles += judgement.loss_troubles(history, reached)
    if baseline and not (reached and troubles) and "val/loss" in trainer.callback_metrics:
        troubles += judgement.baseline_troubles(float(trainer.callback_metrics["val/loss"]), baseline)
    lines += [("watch", trouble) for trouble in troubles]
    if trainer.is_global_zero and loggers:
        try:
            run_page.write_page(command, run, [first, *lines], rows, history)
            lines.append(("page", shown(run / "report.html")))
        except OSError as error:  # a full disk: the network is there, and the lines say where
            lines += [("run", shown(run)), ("watch", f"the page cannot be written: {error.strerror}")]
    else:
        lines.append(("run", shown(run)))
    if command.status == 0 and best:
        labelled = "" if len(trainer.datamodule.splits["test"]) else " --data.test_source FILE"
        labelled += from_stdin(trainer.datamodule)
        lines.append(("next", f"{program()} test --ckpt_path {quoted(shown(run))}{labelled}"))
    _print_lines(trainer, [first])
    if rows and trainer.is_global_zero:
        print("\n".join(sweep_table.table_lines(sweep_table.head(model.task), rows)))
    _print_lines(trainer, lines)


def summarize_stopped(command, reason):
    """Print why a run has stopped before its end, where it is, and what to type to resume it."""
    trainer = command.trainer
    lines = [_stopped_line(trainer, reason)]
    if not trainer.fast_dev_run:
        lines += [("run", shown(run_folder_of(trainer))), *resume_lines(command)]
    _print_lines(trainer, lines)


def resume_lines(command):
    """The command that resumes this run, as a list of one line; empty if no checkpoint was written yet, or if it is one
    of several folds, which are resumed together."""
    run = run_folder_of(command.trainer)
    last = run / "checkpoints" / "last.ckpt"
    if command.is_part or not last.is_file():
        return []
    return [("resume", f"{program()} fit --ckpt_path {quoted(shown(run))}{from_stdin(command.datamodule)}")]


def from_stdin(data):
    """What a command needs for the rows of a run that has read them from stdin."""
    return " < FILE" if is_stdin(data.hparams.source) else ""


def is_stdin(source):
    """Whether the setting `data.source` is, or has, stdin."""
    return STDIN in ([source] if isinstance(source, str) else source or [])


def _divergence_lines(command, stopping):
    """If the run has diverged: the lines that say so; the command's exit status is 1 then."""
    trainer = command.trainer
    problem = _what_diverged(trainer, command.model)
    if problem is None:
        return []
    command.status, lines = 1, []
    if not (stopping.minimum.why == NOT_FINITE).all():  # otherwise the first line of the summary says it
        lines.append(("diverged", f"{problem} by epoch {trainer.current_epoch}. A smaller model.lr helps"))
    if best := _callback(trainer, BestAndLast).best_model_path:
        lines.append(("kept", f"{shown(best)}, the best epoch's weights before that"))
    return lines


def _what_diverged(trainer, model):
    if name := first_not_finite(model.state_dict()):
        return f"the weights are no longer finite numbers ({name})"
    for name in ("train/loss", "val/loss"):
        if not math.isfinite(trainer.callback_metrics.get(name, 0)):
            return f"{name} is no longer a finite number"
    return None


def _validation_lines(command, best):
    """The scores of a checkpoint on the validation rows."""
    trainer = command.trainer
    trainer.loggers = []  # metrics.csv is of the training
    scores = trainer.validate(command.model, command.datamodule, best, verbose=False, weights_only=True)
    scores = scores[0] if scores else {}
    lines = [("members", sweep_table.members_line(scores, command.model.task))] if "val/spread" in scores else []
    figures = "".join(f"{name} {scores[name]:.4f}  " for name in _shown(trainer) if name in scores)
    return [*lines, (Path(best).stem, f"{figures}in {shown(best)}")]


def _shown(trainer):
    """The loss, the score of the task, and what callbacks watch."""
    first = "val/loss", f"val/{trainer.lightning_module.task.score}"
    return [*first, *sorted(monitors(trainer) - {*first})]


def _stopped_line(trainer, reason):
    epochs = trainer.current_epoch
    return "stopped", f"after {epochs} epoch{'s' * (epochs != 1)}: {reason}"


def _print_lines(trainer, lines):
    if trainer.is_global_zero:
        for label, text in lines:
            say(label, text)


def best_checkpoint(trainer):
    """The path of the best checkpoint of a run, or of the last one where there was no validation."""
    checkpoints = _callback(trainer, BestAndLast)
    return checkpoints.best_model_path or checkpoints.last_model_path


def run_folder_of(trainer):
    return Path(_callback(trainer, BestAndLast).dirpath).parent


def _callback(trainer, cls):
    return next(callback for callback in trainer.callbacks if isinstance(callback, cls))


def shown(path):
    """The path, relative to the current folder if it lies in it."""
    path = Path(path)
    return str(path.relative_to(Path.cwd()) if path.is_absolute() and path.is_relative_to(Path.cwd()) else path)


def program():
    """How this program was called, so that the printed command can be pasted."""
    name = sys.argv[0]
    if name.endswith("__main__.py"):
        return f"{quoted(sys.executable)} -m torchbp"
    return "torchbp" if shutil.which("torchbp") == name else quoted(shown(name))
