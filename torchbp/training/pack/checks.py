"""Settings of a command that a pack does not have, and a checkpoint that is not of this pack."""

from pytorch_lightning import Trainer
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy

from torchbp.cli.keys import TRAINER_DEFAULTS
from torchbp.cli.recipes import AUTO
from torchbp.training.checkpoints.compatibility import changed_settings, check_same_settings
from torchbp.training.cli.argument_errors import GROUPS
from torchbp.training.errors import SettingError
from torchbp.training.model.loading import is_pack
from torchbp.training.pack.budget import seconds_of

OF_MODEL = ("members", "activation", "loss", "label_smoothing", "class_weight")  # that a pack has, too
OF_TRAINER = ("accelerator", "strategy", "devices", "num_nodes", "logger", "callbacks", "max_epochs", "plugins",
              "deterministic")  # fmt: skip
# Where no recipe is named, these and other values than those below mean one network, too: a pack takes them in another
# sense, or leaves them unused.
OF_ONE_NETWORK = ("model.members", "model.activation", "trainer.callbacks", "trainer.plugins")
CHOSEN_WITH = {
    "accelerator": ("auto", "cpu"),
    "strategy": ("auto", "ddp"),
    "max_epochs": (TRAINER_DEFAULTS["max_epochs"],),
}
SAME = ("in_features", "classes", "columns", "task", "activation", "loss", "label_smoothing", "class_weight")


def check_recipe(settings, checkpoint, path):
    """Refuse settings of another recipe than the command's, and a checkpoint that is resumed and is of another. Where
    no recipe is named, a checkpoint's is that of the command."""
    if checkpoint is not None and settings.recipe == AUTO:
        settings.recipe = "pack" if is_pack(checkpoint) else "mlp"
    if checkpoint is not None and is_pack(checkpoint) != (settings.recipe == "pack"):
        remedy = "leave --recipe pack out" if settings.recipe == "pack" else "add --recipe pack"
        what = "a single training" if settings.recipe == "pack" else "a pack"
        raise SettingError(f"{path} is of {what}; {remedy}")
    if settings.recipe != "pack":
        if settings.recipe == AUTO and settings.budget is not None:
            seconds_of(settings.budget)
        elif settings.budget is not None:
            raise SettingError(f"budget={settings.budget} is of --recipe pack; add that, or set trainer.max_time")
        return
    for group in ("model", "stopping", "gradients", "checkpoint"):
        if refused := [f"{key}={value}" for key, value in refused_settings(settings, group).items()]:
            it = "it" if len(refused) == 1 else "them"
            what = f"a pack draws or sets {it}" if group == "model" else "a pack has no such rule"
            remedy = f"leave {it} out of the command and its files, or leave --recipe pack out"
            raise SettingError(f"{', '.join(refused)}: {what}; {remedy}")
    if settings.budget is not None:
        seconds_of(settings.budget)  # before a large table is read
    if settings.budget is not None and settings.model.members is not None:
        raise SettingError(
            f"budget={settings.budget} trains until the time is used, and model.members={settings.model.members} says "
            "how many networks; set one of them to null"
        )
    if settings.model.members is not None and settings.model.members < 1:
        raise SettingError(f"model.members={settings.model.members} must be at least 1")
    if (epochs := settings.trainer.max_epochs) is None or epochs < 1:
        raise SettingError(f"trainer.max_epochs={epochs} must be at least 1 for a pack")
    if settings.data.on_disk:
        raise SettingError("data.on_disk=true: a pack holds its rows in memory; leave it out, or --recipe pack")
    for key, value in refused_settings(settings, "trainer").items():
        remedy = "use --budget" if key == "trainer.max_time" else "leave it out"
        raise SettingError(f"{key}={value} is of Lightning's loop, and a pack has none; {remedy}")


def refused_settings(settings, group):
    """{key: value} of the settings of a group that a pack does not have."""
    changed = _changed(settings, group)
    allowed = {"model": OF_MODEL, "trainer": OF_TRAINER}.get(group, ())
    return {f"{group}.{name}": value for name, value in changed.items() if name not in allowed}


def setting_of_one_network(settings):
    """The key of the first setting for which a command that names no recipe trains one network; "" without one."""
    for group in ("model", "stopping", "gradients", "checkpoint", "trainer"):
        refused = refused_settings(settings, group)
        for name in _changed(settings, group):
            if (key := f"{group}.{name}") in refused or key in OF_ONE_NETWORK:
                return key
    for name, values in CHOSEN_WITH.items():
        if settings.trainer[name] not in values:
            return f"trainer.{name}"
    return ""


def _changed(settings, group):
    """{name: value} of the settings of a group that are no defaults."""
    if group != "trainer":
        return changed_settings(settings[group], GROUPS[group])
    changed = changed_settings(settings.trainer.as_dict(), Trainer)
    return {name: value for name, value in changed.items() if value != TRAINER_DEFAULTS.get(name)}


def check_strategy(trainer):
    if not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy):
        raise SettingError(f"a pack trains in one process or under ddp, not {type(trainer.strategy).__name__}")


def same_in_each_draw(command):
    """{name: value} of options that all draws are trained with, and that are no settings of the model or its rows."""
    return {"max_epochs": command.trainer.max_epochs, "batch_size": command.settings.data.batch_size}


def check_resumed(command, seed):
    """Refuse to go on with the pack of a checkpoint that has other settings or rows."""
    path, saved = command.settings.ckpt_path, command.trained.hparams
    check_same_settings(saved, {name: command.model.hparams[name] for name in SAME} | {"seed": seed}, path)
    check_same_settings(command.checkpoint, same_in_each_draw(command), path)
    if command.resumed_run is None:
        raise SettingError(f"{path} is no last.ckpt of a run, whose draws a pack goes on with; name the run's folder")
    data = dict(command.datamodule.hparams)
    del data["source"]  # the same rows may lie elsewhere
    check_same_settings(command.checkpoint["datamodule_hyper_parameters"], data, path)
    command.datamodule.check_rows(command.checkpoint["TabularData"])
