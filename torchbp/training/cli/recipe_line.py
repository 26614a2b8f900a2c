"""The line of `fit` that says which recipe trains, and what another one is for."""

from torchbp.cli.recipes import WHY
from torchbp.training.pack.rows import FEWEST_ROWS


def recipe_line(settings, data):
    """The line as a list of one pair; empty for a bundled set and a table that is too small for a pack, if no recipe
    was named, and for what is several networks already.

    settings: of the command. data: the `TabularData`.
    """
    several = settings.model.members is not None or isinstance(settings.model.lr, list)
    if settings.recipe == "mlp" and (data.settings.is_bundled or several or len(data.splits["train"]) < FEWEST_ROWS):
        return []
    return [("recipe", f"{settings.recipe}: {WHY[settings.recipe]}")]
