"""Whether a command's settings are those of its checkpoint."""

import inspect
import itertools
from pathlib import Path

from torchbp.training.errors import SettingError, UserError


def check_same_settings(saved, current, path):
    """Refuse the checkpoint at `path` if one of the `current` settings is different in `saved`, the checkpoint's."""
    for name, value in current.items():
        if name == "columns":  # None if the network was trained in Python without their names
            difference = saved.get(name) and value and _column_difference(saved[name], value)
        else:
            difference = None if saved.get(name) == value else f"{name}={saved.get(name)}, but this command has {value}"
        if difference:
            config = Path(path).parent.parent / "config.yaml"
            where = f": {config}" if config.is_file() else ""
            raise SettingError(
                f"the checkpoint has {difference}; use the data and config that it was trained with{where}"
            )


def _column_difference(saved, current):
    """The first difference of two networks' columns, whose order counts; None if they are the same."""
    for theirs, ours in itertools.zip_longest(saved, current):
        if theirs != ours:
            names = [f"the column {name!r}" if name is not None else "no further column" for name in (theirs, ours)]
            return f"{names[0]} where this command has {names[1]}"
    for name, kind in saved.items():
        for key in (*kind, *current[name]):
            if kind.get(key) != current[name].get(key):
                return (
                    f"{key}={kind.get(key)!r} in the column {name!r}, but this command has {current[name].get(key)!r}"
                )
    return None


def check_resume(checkpoint, trainer, datamodule, engine):
    """Refuse to resume with steps of another size, or beyond max_epochs."""
    saved, rows = checkpoint["TabularData"].get("rows_of_a_step"), datamodule.rows_of_a_step(trainer)
    if saved != rows:
        raise SettingError(
            f"the checkpoint has {saved} rows a step, but this command has {rows} (data.batch_size × "
            f"{trainer.world_size} process{'es' * (trainer.world_size > 1)}); use the same"
        )
    saved, at_once = checkpoint["TabularData"].get("batches_at_once", 1), datamodule.batches_in_a_step(engine)
    if saved != at_once:
        raise SettingError(
            f"the checkpoint has data.batches_at_once={saved}, but this command has {at_once}; use the same"
        )
    done = epochs_done(checkpoint)
    if 0 <= trainer.max_epochs < done:
        raise SettingError(f"the checkpoint has done {done} epochs, more than trainer.max_epochs={trainer.max_epochs}")


def epochs_done(checkpoint):
    """How many epochs the run has completed. UserError if the checkpoint does not say so."""
    try:
        return checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    except (KeyError, TypeError):
        raise UserError("the checkpoint cannot be resumed: it does not say how many epochs it has done") from None


def changed_settings(settings, cls):
    """Those of the settings that are not the defaults of the class that takes them."""
    defaults = {name: parameter.default for name, parameter in inspect.signature(cls).parameters.items()}
    return {name: value for name, value in settings.items() if value != defaults[name]}
