"""The two checkpoints of a run, best.ckpt and last.ckpt, and how a run goes on in its own folder."""

import copy
import csv
import math
import time
from pathlib import Path

import torch
from lightning_fabric.plugins.io import TorchCheckpointIO
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter

from torchbp.training.atomic_write import atomic_write
from torchbp.training.checkpoints.tensors import not_finite
from torchbp.training.errors import SettingError

METRICS = {"val/loss": "min", "val/accuracy": "max", "train/loss": "min"}  # and which end of each is the best


class BestAndLast(ModelCheckpoint):
    """Keeps two checkpoints of a run: best.ckpt and, of the end of an epoch, last.ckpt.

    A run that was interrupted, at any moment, goes on from last.ckpt as if nothing had happened. The first one is
    written before the first step.

    Args:
        monitor: the metric that says which epoch is the best: val/loss, val/accuracy or train/loss.
        every_seconds: at the end of an epoch, how old the files may be: writing them takes longer than an epoch of a
            small network. 0 writes them at the end of each epoch.
    """

    def __init__(self, monitor: str = "val/loss", every_seconds: float = 1.0):
        if monitor not in METRICS:
            raise SettingError(f"checkpoint.monitor={monitor!r} is not a metric of training; use {', '.join(METRICS)}")
        if not every_seconds >= 0:
            raise SettingError(f"checkpoint.every_seconds={every_seconds} must not be negative")
        self.every_seconds, self.written, self.is_behind = every_seconds, 0.0, False
        super().__init__(
            monitor=monitor,
            mode=METRICS[monitor],
            filename="best",
            save_last=True,
            auto_insert_metric_name=False,
            enable_version_counter=False,
        )

    def on_train_start(self, trainer, pl_module):
        super().on_train_start(trainer, pl_module)
        self.written = time.monotonic()
        if trainer.ckpt_path is None and not trainer.fast_dev_run:
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def on_validation_end(self, trainer, pl_module):
        """Nothing yet: the epoch has not ended, and what stops training has not decided."""

    def on_train_epoch_end(self, trainer, pl_module):
        # ModelCheckpoint's own leaves out last.ckpt where the epoch is not the best
        if trainer.fast_dev_run:
            return
        files = trainer.strategy.checkpoint_io
        due = is_last_epoch(trainer) or time.monotonic() - self.written >= self.every_seconds
        due = trainer.strategy.broadcast(due) or not isinstance(files, WholeFiles)
        candidates = self._monitor_candidates(trainer)
        if self.monitor in candidates:  # of val/…, there may have been no validation yet
            files.hold = not due
            self._save_topk_checkpoint(trainer, candidates)
            files.hold = False
        self.is_behind = not due
        if due:
            self.write(trainer)

    def check_monitor_top_k(self, trainer, current=None):
        """Whether this epoch is the best so far; what has diverged never is."""
        if not super().check_monitor_top_k(trainer, current):
            return False
        finite = math.isfinite(current) and not_finite(trainer.lightning_module.state_dict()) is None
        return trainer.strategy.reduce_boolean_decision(finite, all=True)

    def on_train_end(self, trainer, pl_module):
        if self.is_behind:  # training was ended by something that came after the epoch
            self.write(trainer)

    def write(self, trainer):
        for logger in trainer.loggers:
            logger.save()  # metrics.csv is never behind the checkpoint
        self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))
        self.written, self.is_behind = time.monotonic(), False

    def load_state_dict(self, state_dict):
        # scores, and no paths: those are the folder's of now, and a file must not name what Lightning will delete
        best, last = (str(Path(self.dirpath) / name) for name in ("best.ckpt", "last.ckpt"))
        self.last_model_path = last
        score = state_dict["best_model_score"]
        if isinstance(score, torch.Tensor) and Path(best).is_file():
            self.current_score = state_dict["current_score"]
            self.best_model_path = self.kth_best_model_path = best
            self.best_model_score = self.kth_value = score
            self.best_k_models = {best: score}


def is_last_epoch(trainer):
    """Whether training ends with this epoch, as far as is known at its end."""
    limits = (trainer.current_epoch + 1, trainer.max_epochs), (trainer.global_step, trainer.max_steps)
    return trainer.should_stop or any(done == limit for done, limit in limits)


class WholeFiles(TorchCheckpointIO):
    """A checkpoint is written beside its place, and then put there: what is there is whole at every moment.

    `hold` is true for who will ask again: a copy of the checkpoint is kept then, and written before the next one.
    """

    def __init__(self):
        self.hold, self.held = False, {}

    def save_checkpoint(self, checkpoint, path, storage_options=None):
        if self.hold:
            self.held[path] = copy.deepcopy(checkpoint)  # its tensors are the network's
            return
        self.held.pop(path, None)
        for held in list(self.held):
            write_checkpoint(self.held.pop(held), held)
        write_checkpoint(checkpoint, path)


def write_checkpoint(checkpoint, path):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        torch.save(checkpoint, temporary)


class ContinuedMetrics(ExperimentWriter):
    """The writer of a metrics.csv that is there, up to an epoch; Lightning's deletes it."""

    def __init__(self, log_dir, epoch):
        super().__init__(log_dir)
        path = Path(self.metrics_file_path)
        if not path.is_file():
            return
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            rows = [row for row in reader if row.get("epoch", "").isdigit() and int(row["epoch"]) < epoch]
            self.metrics_keys = list(reader.fieldnames or [])
        with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.metrics_keys, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)

    def _check_log_dir_exists(self):
        pass


def run_folder(path):
    """The run that a last.ckpt is of, or None for a checkpoint that is no run's latest."""
    path = Path(path).absolute()
    run = path.parent.parent
    return run if path.name == "last.ckpt" and (run / "config.yaml").is_file() else None


def continue_metrics(loggers, run, epoch):
    """The run's loggers go on from an epoch; what a kill left half-written in its folder is removed."""
    for part in run.rglob(".*.part"):
        part.unlink()
    for logger in loggers:
        if isinstance(logger, CSVLogger):
            logger._experiment = ContinuedMetrics(logger.log_dir, epoch)


def latest_best(folder):
    """The youngest best.ckpt of the runs in a folder, or None."""
    found = sorted(Path(folder).glob("*/checkpoints/best.ckpt"), key=lambda path: path.stat().st_mtime)
    return found[-1] if found else None
