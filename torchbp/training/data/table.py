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
    encode,
    holds_text,
    is_number,
    means_numbers,
    place,
    read_numbers,
    spellings,
    survey,
    texts,
)
from torchbp.training.data.sources import BUNDLED, read_file
from torchbp.training.errors import SettingError, UserError

MOST_CLASSES = 1000
# names of a first column without a name, which pandas calls Unnamed: 0 and readr ...1; and of what names each row
NAMELESS = r"|Unnamed: 0(\.\d+)?|\.\.\.1|(?i:row[._ ]?names?)"
IDS = r"(?i:(.*[ ._-])?id|index)|.*[a-z]I[dD]"
MOST_FRACTIONS = 20  # classes whose names are fractions: more of them are a quantity


@dataclass(frozen=True)
class Table:
    """Rows with their labels.

    features: float32, shape (N, features), as they are in the source, unscaled; nan where a value is missing.
    labels: int64, shape (N,), indices into `classes` (of two, 1 is the positive one); or shape (N, len(classes)), zeros
        and ones, where several targets are the classes.
    notes: what was decided about columns, sentences for the user.
    """

    features: torch.Tensor
    labels: torch.Tensor
    columns: Columns
    classes: list[str]
    notes: tuple[str, ...] = ()


def load(source, target=None, *, id=None, ignore=(), categorical=(), missing="refuse", max_categories=100):
    """The table of a bundled set or, for anything else, of the CSV or Parquet file of that path.

    Args:
        target: the label column, or a list of 0/1 columns.
        id, ignore, categorical, missing, max_categories: as in `TabularData`.

    Raises:
        SettingError: a file without `target`, or a bundled set with it; a name that is no column.
        UserError: a file that cannot be read or used, with the row and the column where one is to blame.
    """
    if source in BUNDLED:
        for name, value in (("target", target), ("id", id), ("ignore", ignore), ("categorical", categorical)):
            if value:
                raise SettingError(f"data.{name}={value}: {source} has its own columns and labels; leave it out")
        frame, labels, classes = BUNDLED[source]()
        columns = dict.fromkeys(frame.columns)
        codes = pd.Categorical(labels, categories=classes).codes.astype(np.int64)
        return Table(
            torch.from_numpy(encode(frame, columns, "refuse", source)), torch.from_numpy(codes), columns, classes
        )
    if not source:
        raise SettingError(f"data.source is empty; give a CSV or Parquet file, or one of {', '.join(BUNDLED)}")
    path, targets = Path(source), [target] if isinstance(target, str) else target
    frame = read_file(path, categorical)
    if not targets:
        raise SettingError(f"data.target is missing: name the column of {path} that holds the labels")
    left_out = [*ignore, *([id] if id else [])]
    if len(set(targets)) < len(targets):
        raise SettingError(f"data.target={targets} names a column twice")
    for key, names in (
        ("target", targets),
        ("id", [id] if id else []),
        ("ignore", ignore),
        ("categorical", categorical),
    ):
        for name in names:
            if name not in frame:
                raise SettingError(
                    f"{path} has no column {name!r} (data.{key}); it has {', '.join(map(str, frame.columns))}"
                    + headless(frame)
                )
    if clash := set(targets) & {*left_out, *categorical}:
        raise SettingError(f"data.target={clash.pop()!r} is also in data.ignore, data.id or data.categorical")
    labels, classes = read_label(path, frame[targets[0]]) if len(targets) == 1 else read_labels(path, frame[targets])
    notes = category_note(frame[targets[0]], "class", "classes") if len(targets) == 1 else []
    frame = frame.drop(columns=[*targets, *left_out])
    row_names = [name for name in frame if name not in categorical and names_rows(frame, name)]
    notes += [f"column {name!r} names the rows, and is left out; give it another name to keep it" for name in row_names]
    frame = frame.drop(columns=row_names)
    if frame.columns.empty:
        others = f"; {row_names[0]!r} names the rows, give it another name to keep it" if row_names else ""
        raise UserError(f"{path} has no feature: its only column is the target {targets[0]!r}{others}")
    columns = survey(frame, categorical, max_categories, path)
    features = encode(frame, columns, missing, path)
    for name, kind in columns.items():
        if kind is None:
            check_spread(frame[name], path)
            if counts_rows(frame[name]):
                notes.append(f"column {name!r} counts the rows; add it to data.ignore, unless it is a feature")
        else:
            notes += category_note(frame[name], "category", "categories")
    return Table(torch.from_numpy(features), torch.from_numpy(labels), columns, classes, tuple(notes))


def headless(frame):
    """What to add to the names of columns where they look like a row."""
    names = pd.Series(frame.columns, dtype="string")
    if pd.to_numeric(names, errors="coerce").notna().mean() < 0.5:
        return ""
    return "; if that is a row, write a line with the names of the columns above it"


def names_rows(frame, name):
    """Whether a column numbers or names the rows, as programs write it, and says nothing about them."""
    column = frame[name]
    whole = pd.api.types.is_integer_dtype(column)
    if re.fullmatch(NAMELESS, str(name)):  # its numbers are others where rows were moved, removed or joined
        return whole or (holds_text(column) and column.is_unique)
    if re.fullmatch(IDS, str(name)):
        return (whole or holds_text(column)) and column.is_unique
    return str(name) in ("X", "#", "row", "Row") and counts_rows(column)


def counts_rows(column):
    """Whether a column is 0, 1, 2, … or 1, 2, 3, …, of three rows or more."""
    if (
        not pd.api.types.is_integer_dtype(column)
        or len(column) < 3
        or column.isna().any()
        or column.iloc[0] not in (0, 1)
    ):
        return False
    return bool((column.to_numpy() == np.arange(len(column)) + column.iloc[0]).all())


def category_note(column, one, many):
    """A sentence, where a column of text has texts that may mean a missing value; they are taken as others."""
    found = spellings(column)
    if (column == "+").any():
        found.pop("-", None)
    few = ", ".join(f"{text!r} ({rows} row{'s' * (rows > 1)})" for text, rows in found.items())
    what = f"is taken as a {one}" if len(found) == 1 else f"are taken as {many}"
    return [f"column {column.name!r}: {few} {what}; leave the cells empty if they are missing"] if found else []


def read_label(path, column):
    """int64 `(N,)` and the classes, of one column of any type."""
    check_labelled(path, column)
    if not is_number(column) and spellings(column) and means_numbers(column):
        _, missing = read_numbers(column)
        raise UserError(
            f"{path}: {place(column.name, missing)} is {column[missing].iloc[0]!r}, a missing value, and no label; "
            "remove the row, or add its label"
        )
    codes, classes = pd.factorize(texts(column) if column.dtype == object else column, sort=True)
    names = texts(pd.Series(classes)).tolist()
    if len(names) < 2:
        raise UserError(f"{path}: the target {column.name!r} must have at least two classes; it has 1: {names[0]!r}")
    fractions = pd.api.types.is_float_dtype(column) and "." in names[0]
    rare = is_number(column) and len(names) > MOST_FRACTIONS and np.bincount(codes).min() < 3
    if len(names) > MOST_CLASSES or (fractions and len(names) > MOST_FRACTIONS) or rare:
        kind, most = ("numbers", MOST_FRACTIONS) if fractions or rare else ("values", MOST_CLASSES)
        raise UserError(
            f"{path}: the target {column.name!r} has {len(names)} different {kind}, such as {names[0]}; a network here "
            f"tells classes apart, up to {most} of these, and predicts no quantity"
        )
    return codes.astype(np.int64), names


def read_labels(path, frame):
    """int64 `(N, L)` and the classes, of L columns of zeros and ones."""
    for name in frame:
        check_labelled(path, frame[name])
        other = ~frame[name].isin([0, 1]).to_numpy()
        if other.any():
            raise UserError(
                f"{path}: {place(name, other)} is {str(frame[name][other].iloc[0])!r}; each of several targets must be "
                "0 or 1"
            )
    return frame.astype(np.int64).to_numpy(), [str(name) for name in frame]


def check_labelled(path, column):
    if column.isna().any():
        raise UserError(f"{path} has no label in {place(column.name, column.isna())}; remove the row, or add its label")
