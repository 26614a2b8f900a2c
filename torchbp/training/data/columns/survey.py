"""A look at a new table: which columns are no features, and what a person should know of it, in a few lines."""

import re
from collections import Counter

import numpy as np
import pandas as pd

from torchbp.training.data.columns import numbers
from torchbp.training.data.columns.dates import date_formats
from torchbp.training.data.columns.encoding import feature_names
from torchbp.training.data.columns.texts import canonical_texts, holds_text

# A column without a name, which pandas calls "Unnamed: 0" and readr "...1"; and names of a column of identifiers.
NAMELESS = r"|Unnamed: \d+(\.\d+)?|\.\.\.\d+|(?i:row[._ ]?names?)"
IDENTIFIERS = r"(?i:(.*[ ._-])?id|index)|.*[a-z]I[dD]"
FEW, MANY = 5, 12  # names in a line


def columns_left_out(frame):
    """{name: why} of the columns that are no features: they name or number the rows, are constant, or are copies."""
    reasons, seen = {}, {}
    for name in frame:
        column = frame[name].map(str) if frame[name].dtype == object else frame[name]
        alike = seen.setdefault(tuple(column.iloc[:100].astype(str)), [])
        if why := _names_the_rows(column, name):
            reasons[name] = why
        elif _is_constant(column):
            reasons[name] = f"is {column.iloc[0]!s} in every row"
        elif twins := [other for other in alike if column.equals(frame[other])]:
            reasons[name] = f"equals {twins[0]!r}"
        else:
            alike.append(name)
    return reasons


def _is_constant(column):
    return len(column) > 1 and bool((column == column.iloc[0]).fillna(False).all())


def named_like_an_id(name):
    return bool(re.fullmatch(IDENTIFIERS, str(name)))


def is_row_number(column):
    """Whether whole numbers are those of the rows, 0, 1, 2, … or 1, 2, 3, …: in order, shuffled, or with a few gaps, as
    after rows were removed. The index of the column has the numbers of its rows, from 0."""
    if not len(column) or column.isna().any() or not pd.api.types.is_numeric_dtype(column):
        return False
    if pd.api.types.is_bool_dtype(column) or pd.api.types.is_complex_dtype(column):
        return False
    if (column.iloc[:100] % 1 != 0).any():  # most columns of numbers have fractions
        return False
    values = column.to_numpy(np.float64)
    if not np.isfinite(values).all() or (values % 1 != 0).any() or values.min() < 0 or not column.is_unique:
        return False
    in_order = np.ptp(values - column.index.to_numpy()) == 0 and values[0] - column.index[0] in (0, 1)
    if len(values) < 20 or in_order:
        return bool(len(values) >= 3 and in_order)
    return bool(values.min() <= len(values) / 5 and values.max() <= len(values) * 1.25)


def _names_the_rows(column, name):
    """Why a column only numbers or names the rows, or None."""
    whole = pd.api.types.is_integer_dtype(column)
    if re.fullmatch(NAMELESS, str(name)):
        if whole or (holds_text(column) and column.is_unique):  # not 0, 1, 2, … if rows were moved, removed or joined
            return "has no name, and names the rows"
    elif is_row_number(column):
        return "numbers the rows"
    elif named_like_an_id(name) and (whole or holds_text(column)) and column.is_unique:
        return "is an id"
    elif len(column) >= 20 and holds_text(column) and column.notna().all() and column.is_unique and _are_codes(column):
        return "has another text in every row, as an id has"
    return None


def _are_codes(column):
    """Whether texts are single words, and no numbers and dates."""
    words = canonical_texts(column)
    few = words.iloc[:200]
    return bool(
        not words.str.contains(r"\s", regex=True).any()
        and not numbers.are_mostly_numbers(few)
        and not date_formats(few)
    )


def survey_lines(features, columns, left_out, target):
    """The lines about a table, pairs of a label and a text: its columns by kind, what is left out, blanks, classes."""
    kinds = Counter(_kind_name(kind) for kind in columns.values())
    texts = []
    for kind, count in kinds.items():
        names = [name for name, column in columns.items() if _kind_name(column) == kind]
        listed = f" ({_listed(names, FEW)})" if len(names) <= MANY or kind != "number" else ""
        plural = kind.replace("category", "categorie") + "s" if count > 1 else kind
        texts.append(f"{count} {plural if kind != 'words' else 'text of many words'}{listed}")
    lines = [("columns", "; ".join(texts))]
    by_reason = {}
    for name, why in left_out.items():
        by_reason.setdefault(why, []).append(name)
    lines += [
        ("left out", f"{_listed([repr(str(name)) for name in names], MANY)} {_plural(why) if len(names) > 1 else why}")
        for why, names in by_reason.items()
    ]
    names, suffix = feature_names(columns), " is missing"
    blanks = {
        name: int(features[:, names.index(name + suffix)].sum())
        for name, column in columns.items()
        if column["missing"] == "indicator"
    }
    for texts, filled in ((False, "the median of the training rows"), (True, "no category")):
        of_kind = [
            f"{name} {n}" for name, n in blanks.items() if (columns[name]["kind"] in ("category", "words")) is texts
        ]
        if of_kind:
            lines.append(("blanks", f"{_listed(of_kind, MANY)}: {filled}, and a feature that says so"))
    if target.task in ("binary", "multiclass"):
        counts = np.bincount(target.labels[target.labelled], minlength=len(target.classes))
        lines.append(
            ("classes", _listed([f"{name} {count}" for name, count in zip(target.classes, counts, strict=True)], MANY))
        )
    elif target.task == "regression":
        for name, values in zip(target.classes, target.labels[target.labelled].T, strict=True):
            lines.append(
                ("target", f"{name}: {values.min():.6g} to {values.max():.6g}, mean {values.mean(dtype=float):.6g}")
            )
    return lines


def _kind_name(column):
    return column["kind"]


def _plural(why):
    return why.replace("is ", "are ", 1).replace("has ", "have ", 1).replace("numbers ", "number ", 1)


def _listed(names, most):
    return ", ".join(map(str, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")


def column_notes(frame, columns):
    """What was guessed in the columns of numbers and dates, sentences for the user."""
    notes = []
    for name, kind in columns.items():
        column = frame[name]
        if not (holds_text(column) or column.dtype == object) or kind["kind"] not in ("number", "date"):
            continue
        present = column.dropna()
        if kind["kind"] == "number" and kind.get("decimal", ".") == "." and numbers.decimal_sign(present)[1]:
            text = next(text for text in present.astype("string") if "," in text)
            notes.append(
                f"column {name!r}: the comma in {text.strip()!r} is read as one between thousands; --data.decimal , "
                "makes it the decimal sign"
            )
        elif kind["kind"] == "date" and {"%d/%m/%Y", "%m/%d/%Y"} <= {f.split(" ")[0] for f in date_formats(present)}:
            notes.append(
                f"column {name!r}: {present.iloc[0]!r} is read as day, month, year; no date says which comes first"
            )
    return notes


def task_text(task, targets, classes):
    """What is to be learned, in a few words."""
    names = ", ".join(targets[:FEW]) + (f" and {len(targets) - FEW} more" if len(targets) > FEW else "")
    what = {
        "binary": f"is {' or '.join(classes)}",
        "multiclass": f"is one of {len(classes)} classes",
        "multilabel": "are 0 or 1 each",
        "regression": f"{'are quantities' if len(targets) > 1 else 'is a quantity'}",
    }
    return f"{task}: {names} {what[task]}; data.task sets another"


def strange_lines(strange, columns):
    """What `encode` has counted in `strange`, a line for each column."""
    by_column = {}
    for (name, value), rows in strange.items():
        by_column.setdefault(name, {})[value] = rows
    lines = []
    for name, values in by_column.items():
        blank = values.pop(None, 0)
        if blank:
            filled = (
                "no category was taken" if columns[name]["kind"] in ("category", "words") else "the median was taken"
            )
            lines.append(f"column {name!r}: {_rows(blank)} missing, which no training row has; {filled}")
        if values:
            common = sorted(values, key=lambda value: (-values[value], value))
            listed = _listed([f"{value!r} ({_rows(values[value])})" for value in common], FEW)
            seen = "new or rare in the training rows," if columns[name]["other"] else "new"
            lines.append(f"column {name!r}: {listed} {'is' if len(values) == 1 else 'are'} {seen} and taken as other")
    return lines


def _rows(count):
    return f"{count} row{'s' * (count > 1)}"
