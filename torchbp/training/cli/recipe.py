"""The recipe of a `fit` that names none, and the line that says which one trains, and why."""

from torchbp.cli.recipes import AUTO, WHY
from torchbp.training.callbacks.progress import EpochProgress
from torchbp.training.errors import SettingError
from torchbp.training.pack.checks import setting_of_one_network
from torchbp.training.pack.rows import FEWEST, FEWEST_ROWS

CHOSEN = "networks that differ, and the best answer together; --recipe mlp trains one, and takes all settings"


def chosen_recipe(settings, data):
    """The recipe of a command, and why it was chosen: None where it was named, or for a bundled set.

    Raises:
        SettingError: there is a budget, which a single network does not have.
    """
    if settings.recipe != AUTO:
        return settings.recipe, None
    why = None if data.settings.is_bundled else _against_a_pack(settings, data)
    if why == "":
        return "pack", CHOSEN
    if settings.budget is not None:
        reason = why or "mlp is the recipe of a bundled set; add --recipe pack, or set trainer.max_time"
        raise SettingError(f"budget={settings.budget} is of a pack, which is not trained here: {reason}")
    return "mlp", why


def _against_a_pack(settings, data):
    """What of the settings or the table speaks against a pack; "" if nothing does."""
    if settings.data.on_disk:
        return "the table is on disk (data.on_disk), and a pack holds its rows in memory"
    if key := setting_of_one_network(settings):
        return f"{key} is a setting of one network; --recipe pack trains several, and the best answer together"
    train, val = len(data.splits["train"]), len(data.splits["val"])
    fewest = FEWEST_ROWS if settings.data.fold is None else 2 * FEWEST_ROWS  # the parts of data.folds differ by rows
    if train < fewest or val < FEWEST:
        return f"{train} training and {val} validation rows; a pack needs {fewest} and {FEWEST}"
    return ""


def recipe_line(command):
    """The line as a list of one pair; empty where the survey is not shown; and, if no choice was made, for a bundled
    set, for a table that is too small for a pack or not held in memory, and for what is several networks already."""
    settings, data = command.settings, command.datamodule
    if not shows_survey(command.trainer):
        return []
    if command.why:
        return [("recipe", f"{settings.recipe}: {command.why}")]
    several = settings.model.members is not None or isinstance(settings.model.lr, list)
    no_pack = settings.data.on_disk or len(data.splits["train"]) < FEWEST_ROWS
    if settings.recipe == "mlp" and (data.settings.is_bundled or several or no_pack):
        return []
    return [("recipe", f"{settings.recipe}: {WHY[settings.recipe]}")]


def shows_survey(trainer):
    """Whether what was found in the table is to be said: of several folds, only once."""
    return all(callback.survey for callback in trainer.callbacks if isinstance(callback, EpochProgress))
