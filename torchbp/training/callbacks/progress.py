"""What is printed while the network trains: data and network, then a bar on a terminal or a few lines in a log."""

import math
import sys

from pytorch_lightning.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from torchbp.printing import say
from torchbp.training.scores.evaluation import monitors

MOST_LINES = 20  # of epochs in a log, about


class EpochProgress(Callback):
    """Prints the completed epochs with loss and accuracy on stderr: as a bar on a terminal, otherwise as some lines.

    survey: whether it prints what was found in the table, too.
    """

    def __init__(self, survey=True):
        self.survey = survey

    def on_fit_start(self, trainer, pl_module):
        if not trainer.is_global_zero:
            return
        for label, text in run_description(trainer, pl_module, self.survey):
            say(label, text, sys.stderr)
        self.bar = None
        self.printed = self.last = None
        console = Console(stderr=True)
        if console.is_terminal:
            columns = TextColumn("epoch"), MofNCompleteColumn(), BarColumn(bar_width=12)
            self.bar = Progress(*columns, TextColumn("{task.fields[metrics]}"), console=console)
            total = trainer.max_epochs if trainer.max_epochs > 0 else None
            self.task = self.bar.add_task("", total=total, metrics="")
            self.bar.start()

    def on_train_start(self, trainer, pl_module):
        self.shown = trainer.fit_loop.epoch_progress.current.completed  # more than 0 in a resumed run

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.is_global_zero and self.bar is not None:  # an epoch of many rows takes a while
            self.bar.update(self.task, completed=trainer.current_epoch + (batch_idx + 1) / trainer.num_training_batches)

    def on_train_epoch_start(self, trainer, pl_module):
        self._show(trainer)  # the previous epoch, whose metrics are complete only now

    def on_train_end(self, trainer, pl_module):
        self._show(trainer)

    def _show(self, trainer):
        epoch = trainer.fit_loop.epoch_progress.current.completed
        if not trainer.is_global_zero or epoch == self.shown:
            return
        self.shown, self.last = epoch, (epoch, _metrics_line(trainer))
        if self.bar is not None:
            self.bar.update(self.task, completed=epoch, metrics=self.last[1])
        elif is_due(epoch, trainer.max_epochs):
            self._print_line()

    def _print_line(self):
        print("epoch {:>4}  {}".format(*self.last), file=sys.stderr)
        self.printed = self.last

    def on_fit_end(self, trainer, pl_module):
        if not trainer.is_global_zero:
            return
        if self.bar is not None:
            self.bar.stop()
        elif self.last != self.printed:
            self._print_line()

    def on_exception(self, trainer, pl_module, exception):
        if getattr(self, "bar", None) is not None:
            self.bar.stop()


def is_due(epoch, max_epochs):
    """Whether a log has a line for this epoch: about 20 of all epochs; without max_epochs 1, 2, 5, 10, 20, …"""
    if max_epochs < 0:
        return str(epoch).rstrip("0") in ("1", "2", "5")
    return epoch == 1 or epoch % math.ceil(max_epochs / MOST_LINES) == 0


def run_description(trainer, model, survey=True):
    """The data and the network of a run, as pairs of a label and a text; with `survey`, what was found in the table."""
    sizes = [model.hparams.in_features, *model.hparams.hidden, model.task.outputs]
    parameters = f"{sum(p.numel() for p in model.parameters()) // (model.members or 1)} parameters"
    if isinstance(model.hparams.lr, list):
        parameters += f" each, {model.groups} values of lr × {model.members // model.groups} members"
    elif model.members:
        parameters += f" each, {model.members} members"
    processes = f" × {trainer.world_size} processes" if trainer.world_size > 1 else ""
    device = trainer.strategy.root_device
    network = f"{'-'.join(map(str, sizes))}, {parameters}, on {device}{processes}"
    return [*data_description(trainer.datamodule, model.task, survey), ("network", network)]


def data_description(data, task, survey=True):
    """The rows of a run; with `survey`, what was found in them."""
    rows = ", ".join(f"{len(rows)} {name}" for name, rows in data.splits.items())
    size = f"{len(data.table.labels)} rows × {data.in_features} feature{'s' * (data.in_features != 1)}"
    what = ("data", f"{data.source}: {size}, {task.counted()}; rows: {rows}")
    return [*data.table.task_line, what, *data.table.lines] if survey else [what]


def _metrics_line(trainer):
    """The losses, the score of the task, and what callbacks watch."""
    metrics = trainer.callback_metrics
    shown = {"train/loss", "val/loss", f"val/{trainer.lightning_module.task.score}", *monitors(trainer)}
    return "  ".join(f"{name} {metrics[name]:.4f}" for name in sorted(metrics) if name in shown)
