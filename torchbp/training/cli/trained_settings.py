"""The settings of a command that uses a trained network. The checkpoint has them; the command may name other rows."""

from torchbp.cli.keys import LINKED, recipe_keys
from torchbp.training.checkpoints.compatibility import changed_settings, check_same_settings
from torchbp.training.cli.argument_errors import GROUPS
from torchbp.training.data.reading.bundled import BUNDLED
from torchbp.training.data.trained import beside_runs
from torchbp.training.errors import SettingError

# settings of `data` that say where the rows are and how they are written, and not which network it is
OF_ROWS = (
    "source", "target", "val_source", "test_source", "id", "weight", "sep", "decimal", "encoding", "header",
    "na_values", "on_disk", "batch_size", "batches_at_once",
)  # fmt: skip


def add_settings(parser):
    """The keys of a network and its table, so that a command takes the config of any run. None of them is required."""
    parser.add_function_arguments(recipe_keys, as_group=False)
    parser.add_class_arguments(GROUPS["model"], "model", skip=set(LINKED), instantiate=False)
    parser.add_class_arguments(GROUPS["data"], "data", skip={"source"}, instantiate=False)
    parser.add_argument("--data.source", type=list[str] | str | None, default=None, help="see torchbp fit --help")
    for name in ("stopping", "gradients", "checkpoint"):
        parser.add_class_arguments(GROUPS[name], name, instantiate=False)


def settings_of_rows(settings, trained, checkpoint, path):
    """The settings of `data` that a command gives and that are not those of the checkpoint at `path`; and the source in
    any case.

    settings: of the command. trained: the network of the checkpoint.

    Raises:
        SettingError: a setting of the network, or of which rows it was trained on, is not that of the checkpoint.
    """
    of_model = changed_settings(settings.model, GROUPS["model"])
    if "configurations" in checkpoint["hyper_parameters"]:  # of a pack, whose networks are those that are chosen
        of_model.pop("members", None)
    check_same_settings(trained.hparams, of_model, path)
    saved = checkpoint.get("datamodule_hyper_parameters", {})
    given = {
        name: value for name, value in changed_settings(settings.data, GROUPS["data"]).items() if value is not None
    }
    if saved:
        check_same_settings(saved, {name: value for name, value in given.items() if name not in OF_ROWS}, path)
    rows = {name: value for name, value in given.items() if name in OF_ROWS and value != saved.get(name)}
    return {"source": source_of(given.get("source"), saved.get("source"), path), **rows}


def source_of(given, saved, path):
    """The source that a command names, or that of the checkpoint, as `beside_runs` finds it."""
    if given is not None:
        if isinstance(given, str) and given in BUNDLED and given != saved:
            raise SettingError(f"{path} was not trained on {given}; name a file with the columns of {saved}")
        return given
    if saved is None:
        raise SettingError(f"{path} does not say what it was trained on; add --data.source FILE")
    return beside_runs(saved, path)
