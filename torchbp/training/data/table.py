"""A source's rows as tensors: features, labels, weights, their split, and what a network must know of them."""

import dataclasses
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from torchbp.training.data.columns import Columns, encode, find_columns, numbers
from torchbp.training.data.columns.encoding import check_spread, feature_names, place
from torchbp.training.data.frames import read_frames
from torchbp.training.data.reading.bundled import BUNDLED
from torchbp.training.data.settings import ONE_COLUMN
from torchbp.training.data.splitting import SPLITS, Splitting
from torchbp.training.data.survey import column_notes, columns_left_out, survey_lines, task_text
from torchbp.training.data.target import read_target
from torchbp.training.errors import SettingError, UserError


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
    lines: what a person should know, pairs of a label and a text. targets: the columns of a file that are predicted.
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
    frames = read_frames(settings, texts, wanted, (None, "val", "test") if only is None else (only,))
    frame, path = frames.frame, frames.name
    if not settings.targets:
        raise SettingError(
            f"data.target is missing: name the column of {path} that holds the labels; it has "
            f"{', '.join(map(str, frame.columns))}"
        )
    if trained:
        settings = _without_absent_columns(settings, frame)
    _check_names(frame, path, settings)
    target = read_target(
        frame,
        settings.targets,
        trained.task if trained else settings.task,
        path,
        settings.na_values,
        settings.decimal,
        trained.classes if trained and trained.task in ("binary", "multiclass") else None,
    )
    splits, notes = _splits(frames, target, settings)
    left_out = {}
    if trained:
        columns = trained.columns
    else:
        left_out = _left_out(frames, splits, settings)
        columns = _found_columns(frames, splits, settings, left_out)
    features = np.empty((len(frame), len(feature_names(columns))), np.float32)
    strange = Counter()
    for name, first, last, _ in frames.paths:
        features[first:last] = encode(frame.iloc[first:last], columns, name, strange=strange)
    train = splits["train"].numpy()
    for name, kind in columns.items():
        if kind["kind"] == "number" and not trained:
            check_spread(name, numbers.read_numbers(frame[name].iloc[train], kind.get("decimal", "."))[0], path)
    lines = survey_lines(frame, columns, left_out, target)
    if not trained:
        notes += column_notes(_Rows(frame, train), columns)
    lines += [("note", note) for note in [*frames.notes, *target.notes, *notes]]
    return Table(
        torch.from_numpy(features), torch.from_numpy(target.labels), columns, target.classes, target.task, splits,
        _weights(frame, settings.weight, path), target.kind, tuple(lines), tuple(settings.targets),
    )  # fmt: skip


def text_columns(columns):
    """The names of the columns that are read as text, so that 007 stays 007."""
    return [name for name, kind in columns.items() if kind["kind"] in ("category", "words")]


class _Rows:
    """Some rows of a frame, a column at a time: a copy of all of them would be large."""

    def __init__(self, frame, rows, names=None):
        self.frame, self.rows, self.names = frame, rows, list(frame) if names is None else names

    def __iter__(self):
        return iter(self.names)

    def __getitem__(self, name):
        return self.frame[name].iloc[self.rows]


def _load_bundled(settings):
    frame, labels, classes = BUNDLED[settings.source]()
    columns = {name: {"kind": "number", "missing": "impute"} for name in frame}
    codes = pd.Categorical(labels, categories=classes).codes.astype(np.int64)
    task = "binary" if len(classes) == 2 else "multiclass"
    labels, rows = torch.from_numpy(codes), torch.arange(len(codes))
    if settings.source == "xor":  # four rows: each split has them all
        splits = dict.fromkeys(SPLITS, rows)
    else:
        splitting = Splitting(settings.source, settings.seed, labels)
        splits = splitting.splits(
            rows, settings.val_fraction, settings.test_fraction, settings.folds, settings.fold, classes
        )
    return Table(torch.from_numpy(encode(frame, columns, settings.source)), labels, columns, classes, task, splits)


def _splits(frames, target, settings):
    """The splits, indices of labelled rows of all frames; and notes."""
    labelled, frame = target.labelled, frames.frame

    def of(split):
        rows = frames.rows_of(split)
        return torch.from_numpy(rows[labelled[rows]])

    strata = torch.from_numpy(target.labels) if target.task in ("binary", "multiclass") else None
    groups = None if settings.group is None else pd.factorize(frame[settings.group].astype("string"))[0]
    if groups is not None and (groups < 0).any():
        raise UserError(f"{frames.name}: {place(settings.group, groups < 0)} is blank; each row needs a group")
    splitting = Splitting(frames.name, settings.seed, strata, groups, _times(frame, settings.time, frames.name))
    val = 0 if settings.val_source is not None else settings.val_fraction
    test = 0 if settings.test_source is not None else settings.test_fraction
    splits = {"train": of(None)[:0], "val": of("val"), "test": of("test")}
    if len(of(None)):
        drawn = splitting.splits(of(None), val, test, settings.folds, settings.fold, target.classes)
        splits = {name: torch.cat([rows, splits[name]]) if len(splits[name]) else rows for name, rows in drawn.items()}
    return splits, splitting.notes


def _times(frame, name, path):
    """The column of time as numbers that can be compared, float64 `(N,)`."""
    if name is None:
        return None
    kind = find_columns(frame[[name]], path=path)[name]
    if kind["kind"] not in ("date", "number"):
        raise UserError(f"{path}: column {name!r} (data.time) holds neither dates nor numbers; name another column")
    times = encode(frame[[name]], {name: kind | {"missing": "refuse"}}, path)[:, 0]
    if kind["kind"] == "number":  # float32 could join neighbours
        times = numbers.read_numbers(frame[name], kind.get("decimal", "."))[0]
    return times.astype(np.float64)


def _weights(frame, name, path):
    if name is None:
        return None
    values, missing = numbers.read_numbers(frame[name])
    bad = missing | ~(values >= 0) | ~np.isfinite(values.astype(np.float32))
    if bad.any():
        raise UserError(
            f"{path}: {place(name, bad)} is {frame[name][bad].iloc[0]}; a weight (data.weight) must be a number ≥ 0"
        )
    if not values.sum():
        raise UserError(f"{path}: all weights in {name!r} are 0")
    return torch.from_numpy(values.astype(np.float32))


def _feature_columns(frame, settings):
    named = settings.columns_named()
    if settings.features:
        return list(settings.features)
    others = {name for setting in ("target", "id", "ignore", "weight", "group", "time") for name in named[setting]}
    return [name for name in frame if name not in others]


def _left_out(frames, splits, settings):
    """{name: why} of columns that are no features."""
    if settings.features:
        return {}
    names = [name for name in _feature_columns(frames.frame, settings) if name not in settings.categorical]
    left_out = columns_left_out(_Rows(frames.frame, frames.rows_of(None), names))
    blank = {
        name: "is blank in the training rows"
        for name in names
        if frames.frame[name].iloc[splits["train"].numpy()].isna().all()
    }
    return blank | left_out


def _found_columns(frames, splits, settings, left_out):
    names = [name for name in _feature_columns(frames.frame, settings) if name not in left_out]
    if not names:
        reasons = "".join(f"; {name!r} {why}" for name, why in list(left_out.items())[:3])
        raise UserError(f"{frames.name} has no feature beside the target {settings.targets[0]!r}{reasons}")
    rows = _Rows(frames.frame, splits["train"].numpy(), names)
    return find_columns(
        rows,
        settings.categorical,
        settings.max_categories,
        frames.name,
        settings.missing,
        settings.na_values,
        settings.decimal,
    )


def _without_absent_columns(settings, frame):
    """The settings of a trained network for another table, which need not have the columns that are no features."""
    absent = {name: None for name in ONE_COLUMN if getattr(settings, name) not in frame}
    return dataclasses.replace(settings, **absent, ignore=(), features=(), categorical=())


def _check_names(frame, path, settings):
    """Refuse settings that name no column, or one column in two ways."""
    named, targets = settings.columns_named(), settings.targets
    if len(set(targets)) < len(targets):
        raise SettingError(f"data.target={targets} names a column twice")
    for setting, columns in named.items():
        for name in columns:
            if name not in frame:
                raise SettingError(
                    f"{path} has no column {name!r} (data.{setting}); it has {', '.join(map(str, frame.columns))}"
                )
    for setting, columns in named.items():
        if setting != "target" and (clash := set(targets) & set(columns)):
            raise SettingError(f"data.target={clash.pop()!r} is also in data.{setting}; leave it out there")
