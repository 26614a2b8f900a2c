"""The end of `fit`: why it stopped, what it reached, what to type next, and the run's page."""

import math
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import torch
from pytorch_lightning.strategies import FSDPStrategy

from torchbp import __version__
from torchbp.engine.stopping import NOT_FINITE
from torchbp.printing import quoted, say
from torchbp.training.callbacks.gradient_monitor import GradientMonitor
from torchbp.training.callbacks.gradients import hardest_rows
from torchbp.training.callbacks.progress import described
from torchbp.training.callbacks.stopping import UntilMinimum
from torchbp.training.checkpoints.tensors import not_finite
from torchbp.training.cli import sweep
from torchbp.training.data.batches import ROWS_AT_ONCE

HARDEST = 10  # rows on the page
PACKAGES = ("torch", "pytorch-lightning", "numpy", "pandas", "scikit-learn")


def close(command):
    """Print why training stopped, what it reached, where it lies, and what to type next; write the run's page.

    Every process of a run must call it, since validation is of them all.
    """
    trainer, checkpoint = command.trainer, command.trainer.checkpoint_callback
    lines = [stopped(trainer, stopping(trainer).reason(trainer))]
    if trainer.fast_dev_run:  # it has no run folder
        tell(trainer, lines)
        return
    if what := diverged(trainer, command.model):
        command.status = 1
        if not (stopping(trainer).minimum.why == NOT_FINITE).all():  # the line above does not say it
            lines.append(("diverged", f"{what} by epoch {trainer.current_epoch}. A smaller model.lr helps"))
        if best := checkpoint.best_model_path:
            lines.append(("kept", f"{shown(best)}, the best epoch's weights before that"))
    troubles = [("watch", trouble) for trouble in monitor(trainer).troubles(trainer, command.model)]
    table = []
    if command.model.members:
        troubles += [("watch", trouble) for trouble in sweep.diverged(stopping(trainer))]
    if isinstance(command.model.hparams.lr, list) and command.model.best_epoch.any():
        table = sweep.rows(command.model, stopping(trainer))
        lines.append(("best lr", sweep.best(command.model)))  # before the weights are those of the best epoch
    loggers, run = trainer.loggers, Path(checkpoint.dirpath).parent
    best = checkpoint.best_model_path or checkpoint.last_model_path
    if command.status == 0 and best:
        trainer.loggers = []  # metrics.csv is of the training
        scores = trainer.validate(command.model, command.datamodule, best, verbose=False, weights_only=True)
        scores = scores[0] if scores else {}
        if "val/spread" in scores:
            lines.append(("members", sweep.of_members(scores)))
        figures = "".join(f"{name} {scores[name]:.4f}  " for name in ("val/loss", "val/accuracy") if name in scores)
        lines.append((Path(best).stem, f"{figures}in {shown(best)}"))
    lines += troubles
    if trainer.is_global_zero and loggers:
        write_page(command, run, lines, table)
        lines.append(("page", shown(run / "report.html")))
    else:
        lines.append(("run", shown(run)))
    if command.status == 0 and best:
        config = quoted(shown(run / "config.yaml"))
        lines.append(("next", f"{program()} test -c {config} --ckpt_path {quoted(shown(best))}"))
    tell(trainer, lines[:1])
    if table and trainer.is_global_zero:
        print("\n".join(sweep.lines(table)))
    tell(trainer, lines[1:])


def close_early(command):
    """Print where an interrupted run lies, and what to type to go on with it."""
    trainer = command.trainer
    lines = [stopped(trainer, "it was interrupted")]
    if not trainer.fast_dev_run:
        lines += [("run", shown(Path(trainer.checkpoint_callback.dirpath).parent)), *resume_lines(command)]
    tell(trainer, lines)


def stopped(trainer, reason):
    epochs = trainer.current_epoch
    return "stopped", f"after {epochs} epoch{'s' * (epochs != 1)}: {reason}"


def diverged(trainer, classifier):
    """What is no longer a finite number, in words, or None."""
    if name := not_finite(classifier.state_dict()):
        return f"the weights are no longer finite numbers ({name})"
    for name in ("train/loss", "val/loss"):
        if not math.isfinite(trainer.callback_metrics.get(name, 0)):
            return f"{name} is no longer a finite number"
    return None


def tell(trainer, lines):
    if trainer.is_global_zero:
        for label, text in lines:
            say(label, text)


def resume_lines(command):
    """What to type to go on with a run that was cut off, one line; none where no epoch was finished."""
    checkpoints = Path(command.trainer.checkpoint_callback.dirpath)
    config, last = checkpoints.parent / "config.yaml", checkpoints / "last.ckpt"
    if not last.is_file():
        return []
    return [("resume", f"{program()} fit -c {quoted(shown(config))} --ckpt_path {quoted(shown(last))}")]


def stopping(trainer):
    return next(c for c in trainer.callbacks if isinstance(c, UntilMinimum))


def monitor(trainer):
    return next(c for c in trainer.callbacks if isinstance(c, GradientMonitor))


def write_page(command, run, lines, table):
    """report.html and the pictures, from metrics.csv and the network as it is now."""
    from torchbp.training.report import write_report  # matplotlib: only at the end

    model, data = command.model, command.datamodule
    metrics = run / "metrics.csv"
    history = pd.read_csv(metrics).groupby("epoch", as_index=False).last() if metrics.is_file() else pd.DataFrame()
    whole = not isinstance(command.trainer.strategy, FSDPStrategy)
    truth = probabilities = None
    hardest = []
    if whole and command.status == 0:
        x, y = data.rows("val")
        truth, probabilities = y.numpy(), predict_proba(model, x).numpy()
        for split in ("train", "val"):
            command.interruption.stop()
            hardest += hard(model, data, split)
        hardest = sorted(hardest, key=lambda row: -row["norm"])[:HARDEST]
    command.interruption.stop()
    write_report(
        run,
        title=f"{run.parent.name}, {run.name}",
        summary=[*described(command.trainer, model), *lines],
        history=history,
        activation=model.net.activation,
        classes=data.classes,
        multilabel=data.multilabel,
        truth=truth,
        probabilities=probabilities,
        hardest=hardest,
        sweep=(sweep.HEAD, table) if table else None,
        config=(run / "config.yaml").read_text(),
        versions={
            "python": sys.version.split()[0],
            "torchbp": __version__,
            **{name: version(name) for name in PACKAGES},
        },
    )


def predict_proba(model, x):
    return torch.cat([model.predict_proba(piece).float().cpu() for piece in x.split(ROWS_AT_ONCE)])


def hard(model, data, split):
    """The rows of a split with the largest gradient of their own, as the page shows them."""
    x, y = data.rows(split)
    rows, norms = hardest_rows(model, x, y, HARDEST)
    probabilities = predict_proba(model, x[rows])
    named = data.classes[1:] if model.binary else data.classes
    for row, norm, truth, p in zip(rows, norms, y[rows], probabilities, strict=True):
        if model.binary:
            label, predicted = (data.classes[int(value)] for value in (truth[0], p[0] >= 0.5))
            probability = p[0] if truth[0] else 1 - p[0]
        elif data.multilabel:
            label, predicted = (
                ", ".join(c for c, yes in zip(named, which >= 0.5, strict=True) if yes) or "none"
                for which in (truth, p)
            )
            probability = torch.where(truth > 0, p, 1 - p).prod()
        else:
            label, predicted = named[int(truth.argmax())], named[int(p.argmax())]
            probability = p[truth.argmax()]
        yield {
            "row": int(data.splits[split][row]) + 1,
            "split": split,
            "label": label,
            "predicted": predicted,
            "probability": float(probability),  # of the label
            "norm": float(norm),
        }


def shown(path):
    """A path relative to the current folder where it lies in it."""
    path = Path(path)
    return str(path.relative_to(Path.cwd()) if path.is_absolute() and path.is_relative_to(Path.cwd()) else path)


def program():
    """How this program was called, so that the line it prints can be pasted."""
    name = sys.argv[0]
    if name.endswith("__main__.py"):
        return f"{quoted(sys.executable)} -m torchbp"
    return "torchbp" if shutil.which("torchbp") == name else quoted(shown(name))
