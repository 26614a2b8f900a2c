"""The table of a trained network, from its checkpoint: the rows that it was trained on, or other ones."""

import dataclasses
from pathlib import Path

import numpy as np
import torch

from torchbp.training.data.fingerprint import CHANGED, difference, order_of, row_hashes, saved_rows, shared_rows
from torchbp.training.data.frames import plain_setting
from torchbp.training.data.reading.bundled import BUNDLED
from torchbp.training.data.reading.text_files import Reading
from torchbp.training.data.table import Trained, load_table
from torchbp.training.errors import SettingError, UserError


def table_of_checkpoint(settings, checkpoint, path, changed):
    """The `Table` of these settings, read and split as the checkpoint says; see `TabularData.of_checkpoint`."""
    h = checkpoint["hyper_parameters"]
    if h.get("columns") is None:
        raise UserError(f"{path} was trained without names of columns; train it on a table of torchbp")
    trained = Trained(h["task"], h["classes"], h["columns"])
    saved = saved_rows(checkpoint.get("TabularData", {}))
    if settings.is_bundled:
        table = load_table(settings)
        if (table.columns, table.classes) != (trained.columns, trained.classes):
            raise SettingError(f"{path} was not trained on {settings.name}, whose columns and classes are others")
        same = np.array_equal(saved[0], _hashes(table))
        return dataclasses.replace(table, splits=saved[1]) if same else table
    for split in ("test", "val"):
        if changed.get(f"{split}_source") is not None:
            return _scored_as_a_whole(load_table(_unsplit(settings), trained, split), saved, settings)
    if _may_be_another_file(settings, checkpoint):
        # the validation and test files of the training belong to the training file alone
        table = load_table(_unsplit(dataclasses.replace(settings, val_source=None, test_source=None)), trained)
        if shared_rows(saved[0], _hashes(table)) <= CHANGED * len(table.features):
            return _scored_as_a_whole(table, saved, settings)
    table = load_table(_unsplit(settings), trained)
    hashes, splits = saved
    current = _hashes(table)
    if (places := order_of(hashes, current)) is not None:
        places = torch.from_numpy(places)
        return dataclasses.replace(table, splits={name: places[rows] for name, rows in splits.items()})
    if shared_rows(hashes, current) > CHANGED * len(current):
        raise UserError(
            f"{settings.name} does not have the rows that this network was trained on: "
            f"{difference(hashes, current)}. Give the data as it was; or, to score all of its rows, trained on or not, "
            "name it as data.test_source"
        )
    return _scored_as_a_whole(table, saved, settings)


def _may_be_another_file(settings, checkpoint):
    """Whether the source has another name than that of the training, which had a validation or a test file."""
    has_others = settings.val_source is not None or settings.test_source is not None
    return has_others and plain_setting(settings.source) != checkpoint["datamodule_hyper_parameters"].get("source")


def beside_runs(source, path):
    """A source of the checkpoint at `path`. A relative path that is not here is looked for where the run is: beside the
    folder of all runs."""
    if isinstance(source, list | tuple):
        return [beside_runs(one, path) for one in source]
    if not isinstance(source, str) or source in BUNDLED or Path(source).is_absolute() or Path(source).exists():
        return source
    # FOLDER/runs/NAME/version_0/checkpoints/best.ckpt, and the runs of data.folds are version_0/fold_1
    found = [folder / source for folder in Path(path).absolute().parents[4:6] if (folder / source).exists()]
    return str(found[0]) if found else source


def _unsplit(settings):
    """The settings without those that draw splits: columns that only they need may be absent."""
    return dataclasses.replace(
        settings, group=None, time=None, folds=None, fold=None, val_fraction=0.0, test_fraction=0.0
    )


def _hashes(table):
    return row_hashes(table.features.numpy(), table.labels.numpy())


def _scored_as_a_whole(table, saved, settings):
    """The table, all of whose labelled rows are validation rows, and test rows; a note says how many were seen."""
    rows = torch.cat(list(table.splits.values()))
    if not len(rows):
        raise SettingError(f"{settings.name} has no labelled row to score")
    hashes, splits = saved
    same = shared_rows(hashes[torch.cat([splits["train"], splits["val"]]).numpy()], _hashes(table))
    seen = f"; {same} of them equal rows of its training" if same else ", which are new to the network"
    note = f"all {len(rows)} rows are scored{seen}"
    splits = {"train": rows[:0], "val": rows, "test": rows}
    return dataclasses.replace(table, splits=splits, lines=(*table.lines, ("note", note)))


def saved_reading(checkpoint, settings):
    """How text files are written: as the settings of `data` say where they are no defaults, or the checkpoint's."""
    saved = checkpoint.get("datamodule_hyper_parameters", {})
    values = {}
    for field in dataclasses.fields(Reading):
        given = settings.get(field.name, field.default)
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        value = saved.get(field.name, default) if given == default else given
        values[field.name] = tuple(value) if isinstance(value, list) else value
    reading = Reading(**values)
    reading.check()
    return reading
