"""What Lightning would let pass: settings that contradict a checkpoint, unrelated copies, folders elsewhere."""

import inspect
import itertools
import os
from pathlib import Path

from pytorch_lightning.plugins.environments import SLURMEnvironment

from torchbp.training.checkpoints.saving import METRICS
from torchbp.training.errors import SettingError, UserError


def compare(theirs, ours, path):
    """Refuse the checkpoint at `path` where its hyperparameters are others than ours: other settings, or other data."""
    for name, value in ours.items():
        had = theirs.get(name)
        if name == "columns" and None not in (had, value):  # it is None of a network that was trained from Python
            name, had, value = difference(had, value)
        if had == value or name == "columns":
            continue
        raise SettingError(
            f"the checkpoint has {name}={had}, and this command {value}; use the data and config it was trained with"
            f"{f': {config}' if (config := Path(path).parent.parent / 'config.yaml').is_file() else ''}"
        )


def check_resume(checkpoint, trainer, datamodule, engine):
    """Refuse to go on from a checkpoint with steps of another size, or beyond the end."""
    had, has = checkpoint["TabularData"].get("rows_of_a_step"), datamodule.rows_of_a_step(trainer)
    if had != has:
        raise SettingError(
            f"the checkpoint has {had} rows a step, and this command {has} (data.batch_size × {trainer.world_size} "
            f"process{'es' * (trainer.world_size > 1)}); use the same"
        )
    had, has = checkpoint["TabularData"].get("batches_at_once", 1), datamodule.batches_in_a_step(engine)
    if had != has:
        raise SettingError(f"the checkpoint has data.batches_at_once={had}, and this command {has}; use the same")
    done = epochs_done(checkpoint)
    if 0 <= trainer.max_epochs < done:
        raise SettingError(f"the checkpoint has done {done} epochs, more than trainer.max_epochs={trainer.max_epochs}")


def epochs_done(checkpoint):
    try:
        return checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    except (KeyError, TypeError):
        raise UserError("the checkpoint cannot be gone on from: it does not say how many epochs it has done") from None


def check_trainer(trainer):
    """Refuse what would fail after an epoch, or not be what it says."""
    for callback in trainer.callbacks:
        monitor = getattr(callback, "monitor", None)
        if monitor not in (None, *METRICS):
            raise SettingError(
                f"{type(callback).__name__}: monitor={monitor!r} is not a metric of training; use {', '.join(METRICS)}"
            )
    if trainer.overfit_batches:
        raise SettingError("trainer.overfit_batches takes the batches apart; use --trainer.limit_train_batches")


def has_folder(logger):
    """Whether the setting of a logger names a folder of runs."""
    return hasattr(logger, "init_args") and {"save_dir", "name", "version"} <= set(logger.init_args.keys())


def check_folder(logger, continued, process):
    """Refuse a run's folder outside of save_dir, or, unless it is the run that goes on, one that holds something."""
    root = Path(logger.save_dir).resolve()
    version = logger.version if isinstance(logger.version, str) else f"version_{logger.version or 0}"
    folder = root / logger.name / version
    if root not in folder.resolve().parents:
        raise SettingError(
            f"trainer.logger: name={logger.name} and version={logger.version} lead out of save_dir={logger.save_dir}"
        )
    if logger.version is not None and not continued and process == 0 and folder.is_dir() and any(folder.iterdir()):
        raise SettingError(f"the run {folder} exists; leave the logger's version out, or resume it with --ckpt_path")


def check_processes(trainer, command):
    """The trainer, unless each process would work for itself."""
    started = int(os.environ.get("WORLD_SIZE", 1)) if "TORCHELASTIC_RUN_ID" in os.environ else 1
    if SLURMEnvironment.detect():
        started = int(os.environ["SLURM_NTASKS"])
    if 1 < started != trainer.world_size and command != "predict":
        per_node = int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("SLURM_NTASKS_PER_NODE") or started)
        raise SettingError(
            f"{started} processes were started, and each would {command} for itself; add --trainer.strategy ddp "
            f"--trainer.devices {per_node} --trainer.num_nodes {started // per_node}"
        )
    return trainer


def set_by_user(settings, of):
    """The values of a group that are not the defaults of its class."""
    defaults = {name: parameter.default for name, parameter in inspect.signature(of).parameters.items()}
    return {name: value for name, value in settings.items() if value != defaults[name]}


def difference(theirs, ours):
    """The first difference of two networks' columns, whose order counts: what differs, theirs, ours."""
    for had, has in itertools.zip_longest(theirs, ours):
        if had != has:
            return "column", had, has
    for name, had in theirs.items():
        if had != ours[name]:
            return f"column {name!r}", had or "numbers", ours[name] or "numbers"
    return "columns", theirs, ours
