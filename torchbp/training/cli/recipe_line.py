"""The line of `fit` that says which recipe trains, and what another one is for."""

from torchbp.cli.recipes import WHY
from torchbp.training.callbacks.progress import EpochProgress
from torchbp.training.pack.rows import FEWEST_ROWS


def recipe_line(command):
    """The line as a list of one pair; empty where the survey is not shown; and, if no recipe was named, for a bundled
    set, for a table that is too small for a pack or not held in memory, and for what is several networks already."""
    settings, data = command.settings, command.datamodule
    if not shows_survey(command.trainer):
        return []
    several = settings.model.members is not None or isinstance(settings.model.lr, list)
    no_pack = settings.data.on_disk or len(data.splits["train"]) < FEWEST_ROWS
    if settings.recipe == "mlp" and (data.settings.is_bundled or several or no_pack):
        return []
    return [("recipe", f"{settings.recipe}: {WHY[settings.recipe]}")]


def shows_survey(trainer):
    """Whether what was found in the table is to be said: of several folds, only once."""
    return all(callback.survey for callback in trainer.callbacks if isinstance(callback, EpochProgress))
