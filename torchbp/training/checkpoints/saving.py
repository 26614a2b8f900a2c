"""The two checkpoints of a run, best.ckpt and last.ckpt, and how they are written."""

import copy
import math
import time
from pathlib import Path

import torch
from lightning_fabric.plugins.io import TorchCheckpointIO
from pytorch_lightning.callbacks import ModelCheckpoint

from torchbp.training import tasks
from torchbp.training.atomic_write import atomic_save
from torchbp.training.checkpoints.tensors import first_not_finite
from torchbp.training.errors import SettingError

# of all tasks, and whether a small or a large one is best
METRICS = {"train/loss": "min", **{f"val/{name}": best for name, best in tasks.METRICS.items()}}


class BestAndLast(ModelCheckpoint):
    """Keeps two checkpoints of a run: best.ckpt, of the best epoch, and last.ckpt, of the end of an epoch.

    A run that was interrupted at any moment continues from last.ckpt and ends as if it had not been interrupted. The
    first last.ckpt is written before the first step.

    Args:
        monitor: the metric that says which epoch is the best: val/loss or another score of the validation rows, such as
            val/accuracy, val/f1, val/auroc, val/rmse or val/r2; or train/loss.
        every_seconds: how old the files may be at the end of an epoch. Writing them takes longer than an epoch of a
            small network; 0 writes them at the end of each epoch.
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
        """Nothing, unlike ModelCheckpoint: the epoch has not ended, and the stopping rule has not decided yet."""

    def on_train_epoch_end(self, trainer, pl_module):
        # ModelCheckpoint writes last.ckpt only with a new best.ckpt; here it is written for each epoch.
        if trainer.fast_dev_run:
            return
        files = trainer.strategy.checkpoint_io
        due = _is_last_epoch(trainer) or time.monotonic() - self.written >= self.every_seconds
        due = trainer.strategy.broadcast(due) or not isinstance(files, AtomicCheckpointIO)
        candidates = self._monitor_candidates(trainer)
        if self.monitor in candidates:  # val/… is missing before the first validation
            files.defer = not due
            self._save_topk_checkpoint(trainer, candidates)
            files.defer = False
        self.is_behind = not due
        if due:
            self._write(trainer)

    def check_monitor_top_k(self, trainer, current=None):
        """Whether this epoch is the best so far. An epoch with numbers that are not finite never is: its accuracy, for
        example, may be that of answers that are all nan."""
        if not super().check_monitor_top_k(trainer, current):
            return False
        finite = all(math.isfinite(trainer.callback_metrics.get(name, 0)) for name in {*METRICS, self.monitor})
        finite = finite and first_not_finite(trainer.lightning_module.state_dict()) is None
        return trainer.strategy.reduce_boolean_decision(finite, all=True)

    def on_train_end(self, trainer, pl_module):
        if self.is_behind:  # a later callback ended the training after this epoch
            self._write(trainer)

    def _write(self, trainer):
        for logger in trainer.loggers:
            logger.save()  # metrics.csv is never behind the checkpoint
        self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))
        self.written, self.is_behind = time.monotonic(), False

    def load_state_dict(self, state_dict):
        # The paths are those of this run's folder, not the checkpoint's: a file must not name what Lightning deletes.
        best, last = (str(Path(self.dirpath) / name) for name in ("best.ckpt", "last.ckpt"))
        self.last_model_path = last if Path(last).is_file() else ""  # a run that begins with a best.ckpt has none
        score = state_dict["best_model_score"]
        if isinstance(score, torch.Tensor) and Path(best).is_file():
            self.current_score = state_dict["current_score"]
            self.best_model_path = self.kth_best_model_path = best
            self.best_model_score = self.kth_value = score
            self.best_k_models = {best: score}


def _is_last_epoch(trainer):
    """Whether training ends with this epoch, as far as is known at its end."""
    limits = (trainer.current_epoch + 1, trainer.max_epochs), (trainer.global_step, trainer.max_steps)
    return trainer.should_stop or any(done == limit for done, limit in limits)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint to a temporary file and then renames it: the file at its path is complete at every moment.

    While `defer` is set, a copy of the checkpoint is kept in memory instead, and written before the next one.
    """

    def __init__(self):
        self.defer, self._deferred = False, {}

    def save_checkpoint(self, checkpoint, path, storage_options=None):
        if self.defer:
            self._deferred[path] = copy.deepcopy(checkpoint)  # its tensors are the network's
            return
        self._deferred.pop(path, None)
        for earlier in list(self._deferred):
            atomic_save(self._deferred.pop(earlier), earlier)
        atomic_save(checkpoint, path)
