"""A source's rows as tensors: features, labels, weights, their split, and what a network must know of them."""

import dataclasses
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from torchbp.printing import nearest_name
from torchbp.training.data.columns import Columns, encode
from torchbp.training.data.columns.choosing import chosen_columns, left_out_columns
from torchbp.training.data.columns.encoding import check_spread
from torchbp.training.data.columns.leaks import leak_notes
from torchbp.training.data.columns.survey import column_notes, strange_lines, survey_lines, task_text
from torchbp.training.data.fingerprint import CHANGED, row_hashes, shared_rows
from torchbp.training.data.frames import Frames
from torchbp.training.data.reading.bundled import BUNDLED
from torchbp.training.data.row_columns import row_splits, row_weights
from torchbp.training.data.rows_on_disk import RowsOnDisk
from torchbp.training.data.settings import ONE_COLUMN
from torchbp.training.data.splitting import SPLITS, Splitting
from torchbp.training.data.target import read_target
from torchbp.training.errors import SettingError

NEAR = 0.75  # the likeness of two names of which one may be meant for the other
MOST_NAMES = 20  # in a message


@dataclass(frozen=True)
class Trained:
    """What a trained network knows of its table."""

    task: str
    classes: list[str]
    columns: Columns


@dataclass(frozen=True)
class Table:
    """Rows with their labels.

    features: float32, shape (N, features), as they are in the source, unscaled; nan where a value is missing.
    labels: of the rows, as in `Target`; −1 or nan for a row without a label, which no split has.
    weights: float32 (N,), or None.
    splits: {"train", "val", "test": indices}.
    label_kind: what the classes are in the source, as in `Target`.
    lines: what a person should know, pairs of a label and a text.
    targets: the columns of a file that are predicted.
    order: where each row is in the source, from 0, of a table on disk; None if they are in the source's order.
    """

    features: torch.Tensor
    labels: torch.Tensor
    columns: Columns
    classes: list[str]
    task: str
    splits: dict[str, torch.Tensor]
    weights: torch.Tensor | None = None
    label_kind: str = "text"
    lines: tuple[tuple[str, str], ...] = ()
    targets: tuple[str, ...] = ()
    order: torch.Tensor | None = None

    @property
    def task_line(self):
        """The first line of a new table, as a list: its task, and what was found to be predicted."""
        return [("task", task_text(self.task, self.targets, self.classes))] if self.targets else []


def load_table(settings, trained=None, only=None):
    """The table of a bundled set or, for any other source, of files or frames.

    Args:
        settings: a `TableSettings`.
        trained: the `Trained` of a network whose table this is, or a table like it: its columns and classes are used.
        only: with `trained`, read the files of this split alone, "val" or "test".

    Raises:
        SettingError: a file without `target`, or a name that is no column.
        UserError: a file that cannot be read or used; the message names the row and the column if there is one.
    """
    if settings.is_bundled:
        return _load_bundled(settings)
    texts, wanted = list(settings.categorical), []
    if trained:
        texts, wanted = text_columns(trained.columns), list(trained.columns)
    kind = RowsOnDisk if settings.on_disk else Frames
    rows = kind(settings, texts, wanted, (None, "val", "test") if only is None else (only,))
    if not settings.targets:
        raise SettingError(
            f"data.target is missing: name the column of {rows.name} that holds the labels; it has "
            f"{', '.join(rows.names)}"
        )
    if trained:
        settings = _without_absent_columns(settings, rows.names)
    _check_names(rows, settings)
    target = read_target(
        rows.frame,
        settings.targets,
        trained.task if trained else settings.task,
        rows.name,
        settings.na_values,
        settings.decimal,
        trained.classes if trained and trained.task in ("binary", "multiclass") else None,
    )
    splits, notes = row_splits(rows, target, settings)
    train = splits["train"].numpy()
    left_out, strange = {}, Counter()
    if trained:
        columns = trained.columns
    else:
        left_out = left_out_columns(rows, train, settings)
        columns = chosen_columns(rows, train, settings, left_out)
    features, order = rows.encoded(columns, splits, strange)
    if trained:
        notes += strange_lines(strange, columns)
    else:
        look = rows.look(train, list(columns))
        check_spread(look, columns, rows.name)
        notes += column_notes(look, columns)
    lines = survey_lines(features, columns, left_out, target)
    labels, weights = torch.from_numpy(target.labels), row_weights(rows.frame, settings, rows.name)
    if order is not None:
        labels, weights = labels[order], None if weights is None else weights[order]
        splits = _consecutive(splits)
    if not trained:
        notes += _seen_rows(settings, features, labels, splits)
        notes += leak_notes(features, labels, columns, settings.targets, splits["train"], settings.ignore)
    lines += [("note", note) for note in [*rows.notes, *target.notes, *notes]]
    return Table(
        features, labels, columns, target.classes, target.task, splits, weights, target.kind, tuple(lines),
        tuple(settings.targets), order,
    )  # fmt: skip


def _seen_rows(settings, features, labels, splits):
    """Notes on files of validation or test rows that are mostly rows of the training."""
    given = [name for name in ("val", "test") if getattr(settings, f"{name}_source") is not None]
    if not given:
        return []
    hashes, notes = row_hashes(features.numpy(), labels.numpy()), []
    for name in given:
        count, same = len(splits[name]), shared_rows(hashes[splits["train"]], hashes[splits[name]])
        if same > CHANGED * count:
            notes.append(
                f"{same} of the {count} rows of data.{name}_source equal training rows: their scores say little of new "
                "rows"
            )
    return notes


def _consecutive(splits):
    """The splits of rows that lie split after split."""
    ends = np.cumsum([len(rows) for rows in splits.values()]).tolist()
    return {name: torch.arange(end - len(rows), end) for (name, rows), end in zip(splits.items(), ends, strict=True)}


def text_columns(columns):
    """The names of the columns that are read as text, so that 007 stays 007."""
    return [name for name, kind in columns.items() if kind["kind"] in ("category", "words")]


def _load_bundled(settings):
    frame, labels, classes = BUNDLED[settings.source]()
    columns = {name: {"kind": "number", "missing": "impute"} for name in frame}
    strata = None
    if classes is None:  # numbers to predict
        task, classes = "regression", [str(labels.name)]
        labels = torch.tensor(labels, dtype=torch.float32)[:, None]
    else:
        task = "binary" if len(classes) == 2 else "multiclass"
        labels = strata = torch.from_numpy(pd.Categorical(labels, categories=classes).codes.astype(np.int64))
    rows = torch.arange(len(labels))
    if settings.source == "xor":  # four rows: each split has them all
        splits = dict.fromkeys(SPLITS, rows)
    else:
        shares = settings.val_fraction, settings.test_fraction, settings.folds, settings.fold
        splits = Splitting(settings.source, settings.seed, strata).splits(rows, *shares, classes)
    return Table(torch.from_numpy(encode(frame, columns, settings.source)), labels, columns, classes, task, splits)


def _without_absent_columns(settings, names):
    """The settings of a trained network for another table, which need not have the columns that are no features."""
    absent = {name: None for name in ONE_COLUMN if getattr(settings, name) not in names}
    return dataclasses.replace(settings, **absent, ignore=(), features=(), categorical=())


def _check_names(rows, settings):
    """Refuse settings that name no column, or one column in two ways."""
    named, targets = settings.columns_named(), settings.targets
    if len(set(targets)) < len(targets):
        raise SettingError(f"data.target={targets} names a column twice")
    for setting, columns in named.items():
        for name in columns:
            if name not in rows.names:
                near = nearest_name(name.lower(), alike := {other.lower(): other for other in rows.names}, NEAR)
                has = ", ".join(rows.names[:MOST_NAMES]) + (" and others" if len(rows.names) > MOST_NAMES else "")
                remedy = f"did you mean {alike[near]}?" if near else f"it has {has}"
                raise SettingError(f"{rows.name} has no column {name!r} (data.{setting}); {remedy}")
    for setting, columns in named.items():
        if setting != "target" and (clash := set(targets) & set(columns)):
            raise SettingError(f"data.target={clash.pop()!r} is also in data.{setting}; leave it out there")
