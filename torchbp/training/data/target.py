"""What is to be learned: the task, found from the columns of the target, and the labels of the rows."""

import re
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from torchbp.training.data.columns import canonical_texts, numbers
from torchbp.training.data.columns.encoding import place
from torchbp.training.data.columns.survey import is_row_number, named_like_an_id
from torchbp.training.data.columns.texts import NA_VALUES, holds_text, is_missing, is_number
from torchbp.training.errors import SettingError, UserError

TASKS = ("binary", "multiclass", "multilabel", "regression")
MOST_CLASSES = 1000
MOST_CODES = 10  # classes that are numbers, 0, 1, 2, …, without data.task
MOST_TEXTS = 100  # classes that are texts, without data.task
QUANTITY = 100  # more different whole numbers are a quantity …
SPARSE = 10  # … and so are fewer, if they span so many times their number
COUNTED = r"(?i)(.*[ ._-])?(n|nb|num|no|count|counts|number|total)([ ._-].*|[A-Z]?[a-z]*s)?|.*([Cc]ount|[Nn]umber)s?"


@dataclass
class Target:
    """The labels of rows.

    labels: int64 `(N,)`, indices of `classes`; with several 0/1 targets int64 `(N, L)`; of a regression float32
        `(N, T)`. A row without a label has −1, or nan.
    classes: the names of the classes, or of the target columns.
    labelled: which rows have a label, a mask.
    kind: what a class is, "text", "integer", "number" or "boolean".
    """

    task: str
    labels: np.ndarray
    classes: list[str]
    labelled: np.ndarray
    kind: str = "text"
    notes: list[str] = field(default_factory=list)


def read_target(frame, names, task=None, path="the frame", na_values=NA_VALUES, decimal=None, classes=None):
    """The `Target` in the columns `names` of a frame.

    task: one of TASKS; None finds it. classes: those that a trained network knows, with its task.

    Raises:
        UserError: labels that cannot be used, or a target whose task is not clear.
    """
    if task not in (None, *TASKS):
        raise SettingError(f"data.task={task!r} must be one of {', '.join(TASKS)}")
    missing = np.zeros(len(frame), bool)
    for name in names:
        number = is_number(frame[name]) or numbers.are_mostly_numbers(_present(frame[name], na_values))
        missing |= is_missing(frame[name], na_values, number)
    if missing.all():
        raise UserError(f"{path}: no row has a label: the target {names[0]!r} is blank")
    rows = frame[~missing]
    if len(names) > 1:
        target = _several(rows, names, task, path, decimal, ~missing)
    else:
        target = _one(rows[names[0]], task, path, decimal, ~missing, classes)
    if missing.any():
        labels = target.labels
        target.labels = np.full(
            (len(frame), *labels.shape[1:]), np.nan if labels.dtype.kind == "f" else -1, labels.dtype
        )
        target.labels[~missing] = labels
        count = int(missing.sum())
        rows = f"{count} rows have" if count > 1 else "1 row has"
        target.notes.append(f"{rows} no label ({', '.join(names)}), and {'are' if count > 1 else 'is'} left out")
    return target


def _present(column, na_values):
    return column[~is_missing(column, na_values, number=True)]


def _one(column, task, path, decimal, labelled, classes):
    values = _as_numbers(column, decimal)
    if task == "multilabel":
        raise SettingError(f"data.task=multilabel needs several targets of zeros and ones, and {column.name!r} is one")
    if classes is None and task is None:
        task = _found_task(column, values, path)
    if task == "regression":
        return Target(task, _quantities(column, values, path)[:, None], [str(column.name)], labelled, "number")
    codes, names, kind = _codes(column, values, path, classes)
    expected = "binary" if len(names) == 2 else "multiclass"
    if task not in (None, expected):
        raise SettingError(f"data.task={task}: the target {column.name!r} has {len(names)} classes; leave it out")
    return Target(expected, codes, names, labelled, kind)


def _as_numbers(column, decimal):
    """The numbers of a target, float64 `(N,)`, if that is what it holds; else None."""
    if pd.api.types.is_bool_dtype(column) or isinstance(column.dtype, pd.CategoricalDtype):
        return None
    if pd.api.types.is_datetime64_any_dtype(column) or not (
        is_number(column) or holds_text(column) or column.dtype == object
    ):
        raise UserError(
            f"the target {column.name!r} holds {column.dtype}, neither classes nor numbers; name another column"
        )
    values, _ = numbers.read_numbers(column, decimal or numbers.decimal_sign(column)[0])
    return None if np.isnan(values).any() else values


def _found_task(column, values, path):
    """The task of one target; an error with the settings that answer it if more than one is likely."""
    name, different = column.name, canonical_texts(column).nunique() if values is None else len(np.unique(values))
    if values is None:
        if different > MOST_TEXTS or (different > 20 and different * 2 > len(column)):
            raise UserError(
                f"{path}: the target {name!r} has {different} different texts in {len(column)} rows, as an id or free "
                "text has; name another column, or add --data.task multiclass"
            )
        return "multiclass" if different > 2 else "binary"
    if different <= 2:
        return "binary"
    if (values % 1 != 0).any():
        return "regression"
    without_a_gap = different == len(values) == np.ptp(values) + 1
    if without_a_gap or is_row_number(pd.Series(values)) or (named_like_an_id(name) and different == len(values)):
        raise _question(path, name, f"{different} different whole numbers in {len(values)} rows, as an id has")
    codes, counts = np.unique(values, return_counts=True)
    are_codes = codes[0] in (0, 1) and (np.diff(codes) == 1).all() and different <= MOST_CODES
    if are_codes and counts.min() * 50 >= len(values) and not re.fullmatch(COUNTED, str(name)):
        return "multiclass"
    sparse = different > 20 and codes[-1] - codes[0] > SPARSE * different  # codes and counts leave few numbers out
    if different > QUANTITY or sparse:
        return "regression"
    raise _question(path, name, f"{different} different whole numbers, {codes[0]:g} to {codes[-1]:g}")


def _question(path, name, what):
    return UserError(
        f"{path}: the target {name!r} has {what}: add --data.task regression if it is a quantity or a count, or "
        "--data.task multiclass if each number is a class"
    )


def _quantities(column, values, path):
    if values is None:
        text = pd.to_numeric(column.astype("string"), errors="coerce").isna().to_numpy()
        raise UserError(
            f"{path}: {place(column.name, text)} is {str(column[text].iloc[0])!r}, which is no number, and regression "
            "needs numbers; leave data.task out, or correct it"
        )
    bad = ~(np.abs(values) <= np.finfo(np.float32).max)
    if bad.any():
        raise UserError(
            f"{path}: {place(column.name, bad)} is {column[bad].iloc[0]}, not a finite float32; remove the row"
        )
    if len(values) > 1 and np.ptp(values) == 0:
        raise UserError(f"{path}: the target {column.name!r} is {values[0]:g} in every row; there is nothing to learn")
    return values.astype(np.float32)


def _codes(column, values, path, classes):
    """Labels, int64 `(N,)`; the names of the classes; and what they are."""
    kind = "text"
    if pd.api.types.is_bool_dtype(column):
        kind = "boolean"
    elif values is not None:
        kind = "integer" if (values % 1 == 0).all() else "number"
        column = pd.Series(values, index=column.index, name=column.name)
    texts = canonical_texts(column)
    if classes is not None:
        codes = pd.Index(classes).get_indexer(texts)
        if (codes < 0).any():
            known = ", ".join(classes[:10]) + (", …" if len(classes) > 10 else "")
            raise UserError(
                f"{path}: {place(column.name, codes < 0)} is {texts[codes < 0].iloc[0]!r}; the network knows {known}"
            )
        return codes.astype(np.int64), list(classes), kind
    names = [str(name) for name in texts.unique()]
    names = sorted(names, key=float) if kind in ("integer", "number") else sorted(names)
    if len(names) < 2:
        raise UserError(f"{path}: the target {column.name!r} must have at least two classes; it has 1: {names[0]!r}")
    if len(names) > MOST_CLASSES:
        raise UserError(
            f"{path}: the target {column.name!r} has {len(names)} classes, and at most {MOST_CLASSES} are possible"
        )
    return pd.Index(names).get_indexer(texts).astype(np.int64), names, kind


def _several(rows, names, task, path, decimal, labelled):
    values = [
        _as_numbers(rows[name], decimal) if not pd.api.types.is_bool_dtype(rows[name]) else rows[name].to_numpy(float)
        for name in names
    ]
    titles = [str(name) for name in names]
    zeros_and_ones = all(value is not None and np.isin(value, (0, 1)).all() for value in values)
    if task in ("binary", "multiclass"):
        raise SettingError(f"data.task={task} needs one target, and data.target names {len(names)}")
    if task == "multilabel" or (task is None and zeros_and_ones):
        for name, value in zip(names, values, strict=True):
            other = ~np.isin(np.nan if value is None else value, (0, 1))
            if other.any():
                column = rows[name]
                other = ~column.astype("string").isin(["0", "1", "0.0", "1.0"]).to_numpy(bool)
                raise UserError(
                    f"{path}: {place(name, other)} is {str(column[other].iloc[0])!r}; each of several labels must be "
                    "0 or 1"
                )
        return Target("multilabel", np.stack(values, 1).astype(np.int64), titles, labelled, "integer")
    if any(value is None for value in values):
        name = names[[value is None for value in values].index(True)]
        raise UserError(
            f"{path}: the target {name!r} is no column of numbers; several targets must all be 0 or 1, or all be "
            "quantities"
        )
    quantities = [_quantities(rows[name], value, path) for name, value in zip(names, values, strict=True)]
    return Target("regression", np.stack(quantities, 1), titles, labelled, "number")


def labels_as(names, kind):
    """The names of classes as what they were in the table: an array of texts, whole numbers, numbers or booleans."""
    if kind == "boolean":
        return np.array([name == "True" for name in names])
    dtype = {"integer": np.int64, "number": np.float64}.get(kind)
    return np.array([float(name) for name in names]).astype(dtype) if dtype else np.array(names, dtype=object)
