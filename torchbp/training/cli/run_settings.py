"""Settings of a run that Lightning accepts, and that would fail later or do something else."""

import importlib.util
import os
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from pytorch_lightning.plugins.environments import SLURMEnvironment

from torchbp.training.checkpoints.saving import METRICS
from torchbp.training.errors import SettingError


def check_trainer(trainer):
    """Refuse monitored metrics that do not exist, overfit_batches, and max_epochs without a number."""
    for callback in trainer.callbacks:
        monitor = getattr(callback, "monitor", None)
        if monitor not in (None, *METRICS):
            raise SettingError(
                f"{type(callback).__name__}: monitor={monitor!r} is not a metric of training; use {', '.join(METRICS)}"
            )
    if trainer.max_epochs is None:
        raise SettingError("trainer.max_epochs=null must be a number of epochs, or -1 to train until the minimum")
    if trainer.overfit_batches:
        raise SettingError(
            "trainer.overfit_batches replaces the loader of the rows; use --trainer.limit_train_batches instead"
        )


def has_run_folder(logger):
    """Whether the setting of a logger names a folder of runs."""
    return hasattr(logger, "init_args") and {"save_dir", "name", "version"} <= set(logger.init_args.keys())


def check_run_folder(logger, resumed, process):
    """Refuse a run's folder outside of save_dir; and one that is not empty, unless its run is `resumed`."""
    root = Path(logger.save_dir).resolve()
    version = logger.version if isinstance(logger.version, str) else f"version_{logger.version or 0}"
    folder = root / logger.name / version
    if root not in folder.resolve().parents:
        raise SettingError(
            f"trainer.logger: name={logger.name} and version={logger.version} lead out of save_dir={logger.save_dir}"
        )
    if logger.version is not None and not resumed and process == 0 and folder.is_dir() and any(folder.iterdir()):
        raise SettingError(f"the run {folder} exists; leave the logger's version out, or resume it with --ckpt_path")


def check_processes(trainer, command):
    """Refuse processes that torchrun or SLURM has started and that would not train together."""
    started = int(os.environ.get("WORLD_SIZE", 1)) if "TORCHELASTIC_RUN_ID" in os.environ else 1
    if SLURMEnvironment.detect():
        started = int(os.environ["SLURM_NTASKS"])
    if 1 < started != trainer.world_size and command != "predict":
        per_node = int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("SLURM_NTASKS_PER_NODE") or started)
        raise SettingError(
            f"{started} processes were started, and each would {command} for itself; add --trainer.strategy ddp "
            f"--trainer.devices {per_node} --trainer.num_nodes {started // per_node}"
        )


def with_tensorboard(loggers):
    """The argument `logger` of a Trainer, with a TensorBoard logger beside the first one, if that is a CSVLogger and
    TensorBoard is installed; otherwise {}."""
    loggers = loggers if isinstance(loggers, list) else [loggers]
    first = loggers[0]
    if not isinstance(first, CSVLogger) or not importlib.util.find_spec("tensorboard"):
        return {}
    folder = first.save_dir, first.name, first.version
    # An epoch has more values than the default queue of 10, and would wait for the file.
    return {"logger": [*loggers, TensorBoardLogger(*folder, default_hp_metric=False, max_queue=1000)]}
