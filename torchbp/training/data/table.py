"""A source's rows as tensors: features, labels, and the names of both."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from torchbp.training.data.columns import (
    Columns,
    check_spread,
    column_texts,
    encode,
    find_columns,
    holds_text,
    is_meant_as_numbers,
    is_number,
    missing_spellings,
    place,
    read_numbers,
)
from torchbp.training.data.sources import BUNDLED, read_file
from torchbp.training.errors import SettingError, UserError

MOST_CLASSES = 1000
MOST_FRACTIONS = 20  # classes whose names are fractions: more of them are a quantity
# A first column without a name, which pandas calls "Unnamed: 0" and readr "...1"; and names of a column of identifiers.
NAMELESS = r"|Unnamed: 0(\.\d+)?|\.\.\.1|(?i:row[._ ]?names?)"
IDENTIFIERS = r"(?i:(.*[ ._-])?id|index)|.*[a-z]I[dD]"


@dataclass(frozen=True)
class Table:
    """Rows with their labels.

    features: float32, shape (N, features), as they are in the source, unscaled; nan where a value is missing.
    labels: int64, shape (N,), indices into `classes` (of two, 1 is the positive one); or, with several targets, shape
        (N, len(classes)), zeros and ones. Of numbers to predict: float32, shape (N, targets).
    notes: what was decided about columns, sentences for the user.
    """

    features: torch.Tensor
    labels: torch.Tensor
    columns: Columns
    classes: list[str]
    notes: tuple[str, ...] = ()


def load_table(source, target=None, *, id=None, ignore=(), categorical=(), missing="refuse", max_categories=100):
    """The table of a bundled set or, for any other source, of the CSV or Parquet file at that path.

    Args:
        target: the label column, or a list of 0/1 columns.
        id, ignore, categorical, missing, max_categories: as in `TabularData`.

    Raises:
        SettingError: a file without `target`, or a bundled set with it; a name that is no column.
        UserError: a file that cannot be read or used; the message names the row and the column if there is one.
    """
    if source in BUNDLED:
        return _load_bundled(source, {"target": target, "id": id, "ignore": ignore, "categorical": categorical})
    if not source:
        raise SettingError(f"data.source is empty; give a CSV or Parquet file, or one of {', '.join(BUNDLED)}")
    path, targets = Path(source), [target] if isinstance(target, str) else target
    frame = read_file(path, categorical)
    if not targets:
        raise SettingError(f"data.target is missing: name the column of {path} that holds the labels")
    names = {"target": targets, "id": [id] if id else [], "ignore": ignore, "categorical": categorical}
    _check_names(frame, path, names)
    if len(targets) == 1:
        labels, classes = _read_label(path, frame[targets[0]])
        notes = _category_note(frame[targets[0]], "class", "classes")
    else:
        (labels, classes), notes = _read_labels(path, frame[targets]), []
    frame = frame.drop(columns=[*targets, *ignore, *names["id"]])
    row_names = [name for name in frame if name not in categorical and _names_the_rows(frame, name)]
    notes += [f"column {name!r} names the rows, and is left out; give it another name to keep it" for name in row_names]
    frame = frame.drop(columns=row_names)
    if frame.columns.empty:
        others = f"; {row_names[0]!r} names the rows, give it another name to keep it" if row_names else ""
        raise UserError(f"{path} has no feature: its only column is the target {targets[0]!r}{others}")
    columns = find_columns(frame, categorical, max_categories, path)
    features = encode(frame, columns, missing, path)
    notes += _feature_notes(frame, columns, path)
    return Table(torch.from_numpy(features), torch.from_numpy(labels), columns, classes, tuple(notes))


def _load_bundled(source, settings):
    for name, value in settings.items():
        if value:
            raise SettingError(f"data.{name}={value}: {source} has fixed columns and labels; leave it out")
    frame, labels, classes = BUNDLED[source]()
    columns = dict.fromkeys(frame.columns)
    features = torch.from_numpy(encode(frame, columns, "refuse", source))
    if classes is None:  # numbers to predict
        return Table(features, torch.tensor(labels, dtype=torch.float32)[:, None], columns, [str(labels.name)])
    codes = pd.Categorical(labels, categories=classes).codes.astype(np.int64)
    return Table(features, torch.from_numpy(codes), columns, classes)


def _check_names(frame, path, names):
    """Refuse settings that name no column, or one column in two ways. names: {setting: names of columns}."""
    targets = names["target"]
    if len(set(targets)) < len(targets):
        raise SettingError(f"data.target={targets} names a column twice")
    for setting, columns in names.items():
        for name in columns:
            if name not in frame:
                raise SettingError(
                    f"{path} has no column {name!r} (data.{setting}); it has {', '.join(map(str, frame.columns))}"
                    + _header_hint(frame)
                )
    if clash := set(targets) & {*names["id"], *names["ignore"], *names["categorical"]}:
        raise SettingError(f"data.target={clash.pop()!r} is also in data.ignore, data.id or data.categorical")


def _feature_notes(frame, columns, path):
    """What a user should know of the features. UserError for numbers that float32 cannot tell apart."""
    notes = []
    for name, categories in columns.items():
        if categories is not None:
            notes += _category_note(frame[name], "category", "categories")
            continue
        check_spread(frame[name], path)
        if _counts_the_rows(frame[name]):
            notes.append(f"column {name!r} counts the rows; add it to data.ignore, unless it is a feature")
    return notes


def _header_hint(frame):
    """The end of a message, if the names of the columns look like a row of numbers."""
    names = pd.Series(frame.columns, dtype="string")
    if pd.to_numeric(names, errors="coerce").notna().mean() < 0.5:
        return ""
    return "; if that is a row, write a line with the names of the columns above it"


def _names_the_rows(frame, name):
    """Whether a column only numbers or names the rows, as programs write such columns."""
    column = frame[name]
    whole = pd.api.types.is_integer_dtype(column)
    if re.fullmatch(NAMELESS, str(name)):  # not 0, 1, 2, … if rows were moved, removed or joined
        return whole or (holds_text(column) and column.is_unique)
    if re.fullmatch(IDENTIFIERS, str(name)):
        return (whole or holds_text(column)) and column.is_unique
    return str(name) in ("X", "#", "row", "Row") and _counts_the_rows(column)


def _counts_the_rows(column):
    """Whether a column is 0, 1, 2, … or 1, 2, 3, …, and has at least three rows."""
    if (
        not pd.api.types.is_integer_dtype(column)
        or len(column) < 3
        or column.isna().any()
        or column.iloc[0] not in (0, 1)
    ):
        return False
    return bool((column.to_numpy() == np.arange(len(column)) + column.iloc[0]).all())


def _category_note(column, one, many):
    """A list with a sentence, if texts of a column may mean a missing value: they are treated as any other text."""
    counts = missing_spellings(column)
    if (column == "+").any():
        counts.pop("-", None)
    few = ", ".join(f"{text!r} ({rows} row{'s' * (rows > 1)})" for text, rows in counts.items())
    what = f"is taken as a {one}" if len(counts) == 1 else f"are taken as {many}"
    return [f"column {column.name!r}: {few} {what}; leave the cells empty if they are missing"] if counts else []


def _read_label(path, column):
    """Labels, int64 `(N,)`, and the names of the classes, of one column of any type."""
    _check_all_labelled(path, column)
    if not is_number(column) and missing_spellings(column) and is_meant_as_numbers(column):
        _, missing = read_numbers(column)
        raise UserError(
            f"{path}: {place(column.name, missing)} is {column[missing].iloc[0]!r}, a missing value, and no label; "
            "remove the row, or add its label"
        )
    codes, classes = pd.factorize(column_texts(column) if column.dtype == object else column, sort=True)
    names = column_texts(pd.Series(classes)).tolist()
    if len(names) < 2:
        raise UserError(f"{path}: the target {column.name!r} must have at least two classes; it has 1: {names[0]!r}")
    fractions = pd.api.types.is_float_dtype(column) and "." in names[0]
    rare = is_number(column) and len(names) > MOST_FRACTIONS and np.bincount(codes).min() < 3
    if len(names) > MOST_CLASSES or (fractions and len(names) > MOST_FRACTIONS) or rare:
        kind, most = ("numbers", MOST_FRACTIONS) if fractions or rare else ("values", MOST_CLASSES)
        raise UserError(
            f"{path}: the target {column.name!r} has {len(names)} different {kind}, for example {names[0]}; this "
            f"network predicts classes, at most {most} of these, and no quantity"
        )
    return codes.astype(np.int64), names


def _read_labels(path, frame):
    """Labels, int64 `(N, L)`, and the names of the classes, of L columns of zeros and ones."""
    for name in frame:
        _check_all_labelled(path, frame[name])
        other = ~frame[name].isin([0, 1]).to_numpy()
        if other.any():
            raise UserError(
                f"{path}: {place(name, other)} is {str(frame[name][other].iloc[0])!r}; each of several targets must be "
                "0 or 1"
            )
    return frame.astype(np.int64).to_numpy(), [str(name) for name in frame]


def _check_all_labelled(path, column):
    if column.isna().any():
        raise UserError(f"{path} has no label in {place(column.name, column.isna())}; remove the row, or add its label")
