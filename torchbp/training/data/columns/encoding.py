"""From the columns of a table to features: a number is one, a category one 0/1 feature for each of its values."""

import numpy as np
import pandas as pd

from torchbp.training.data.columns import dates, numbers
from torchbp.training.data.columns.texts import NA_VALUES, canonical_texts, is_missing, word_counts
from torchbp.training.errors import UserError

LARGEST = np.finfo(np.float32).max


def feature_names(columns) -> list[str]:
    """The names of the features of `Columns`; `colour=red` for a category."""
    return [feature for name, column in columns.items() for feature in _names(name, column)]


def _names(name, column):
    kind = column["kind"]
    if kind == "date":
        names = dates.date_names(name, column["parts"])
    elif kind == "category":
        names = [f"{name}={value}" for value in [*column["categories"], *(["(other)"] if column["other"] else [])]]
    elif kind == "words":
        names = [f"{name}#{bucket}" for bucket in range(column["buckets"])]
    else:
        names = [name]
    return [*names, *([f"{name} is missing"] if column["missing"] == "indicator" else [])]


def encode(frame, columns, path="the frame", first_row=1, strange=None) -> np.ndarray:
    """The features of a frame, float32 `(N, features)`, by the `Columns` that `find_columns` found in training rows.

    A missing number, date or boolean is nan. A category that no training row has is "other": 1 in that feature if there
    is one, and 0 in all features of the column.

    Args:
        frame: a pandas DataFrame with these columns, among others and in any order.
        path: its name in messages; first_row: the number of its first row there.
        strange: a Counter. It counts {(column, text): rows} of the categories that no training row has, and (column,
            None) for missing values in a column that has none in the training rows.

    Raises:
        UserError: a column is missing, or a value cannot be read as its column's kind.
    """
    absent = [name for name in columns if name not in frame]
    if absent:
        raise UserError(f"{path} has no column {absent[0]!r}; the network needs {', '.join(columns)}")
    features = np.empty((len(frame), len(feature_names(columns))), np.float32)
    at = 0
    for name, column in columns.items():
        values, missing = _READERS[column["kind"]](frame[name], column, path, first_row, strange)
        if column["missing"] == "refuse":
            _refuse(frame[name], missing, path, first_row)
        elif column["missing"] == "impute" and strange is not None and missing.any():
            strange[name, None] += int(missing.sum())
        width = values.shape[1]
        features[:, at : at + width] = values
        at += width
        if column["missing"] == "indicator":
            features[:, at] = missing
            at += 1
    return features


def _refuse(column, missing, path, first_row):
    if missing.any():
        value = column[missing].iloc[0]
        what = "blank" if pd.isna(value) or not str(value).strip() else f"{value!r}, a missing value"
        raise UserError(
            f"{path}: {place(column.name, missing, first_row)} is {what}; fill it, or use data.missing median"
        )


def _read_number(column, kind, path, first_row, strange):
    values, missing = numbers.read_numbers(column, kind.get("decimal", "."), kind.get("na", NA_VALUES))
    bad = ~(np.abs(values) <= LARGEST) & ~missing  # true of nan, too
    if bad.any():
        value = str(column[bad].iloc[0])
        what = (
            "no number; name the text in data.na_values if it means a missing value, or the column in data.categorical"
        )
        if "," in value and not np.isnan(numbers.read_numbers(pd.Series([value]), ",")[0][0]):
            what = "no number with a decimal point; set data.decimal to ',' if that is its sign, or correct it"
        if not np.isnan(values[bad][0]):
            what = (
                "not a finite float32, as a feature must be, 3.4e38 at most; correct it, or name it in "
                "data.na_values if it means a missing value"
            )
        raise UserError(f"{path}: {place(column.name, bad, first_row)} is {value!r}, {what}")
    if "currency" in kind and not numbers.is_number(column):
        others = set(numbers.currencies(column)) - {kind["currency"]}
        if others:
            raise UserError(
                f"{path}: column {column.name!r} has amounts in {others.pop()}, and those of the training rows are in "
                f"{kind['currency']}; convert them"
            )
    return values[:, None], missing


def _read_boolean(column, kind, path, first_row, strange):
    missing = is_missing(column, kind.get("na", NA_VALUES), number=True)
    texts = canonical_texts(column).str.lower()
    values = pd.Index([word.lower() for word in kind["words"]]).get_indexer(texts).astype(np.float64)
    values[(texts == "0").fillna(False).to_numpy(bool)] = 0  # as some programs write them
    values[(texts == "1").fillna(False).to_numpy(bool)] = 1
    bad = (values < 0) & ~missing
    if bad.any():
        raise UserError(
            f"{path}: {place(column.name, bad, first_row)} is {str(column[bad].iloc[0])!r}; the network knows "
            f"{' and '.join(kind['words'])}"
        )
    values[missing] = np.nan
    return values[:, None], missing


def _read_date(column, kind, path, first_row, strange):
    days, missing = dates.read_dates(column, kind["format"], kind.get("na", NA_VALUES))
    bad = np.isnan(days) & ~missing
    if bad.any():
        raise UserError(
            f"{path}: {place(column.name, bad, first_row)} is {str(column[bad].iloc[0])!r}, which is no date as the "
            f"training rows have it ({kind['format']})"
        )
    return dates.date_features(days, kind["origin"], kind["parts"]), missing


def _read_category(column, kind, path, first_row, strange):
    categories = kind["categories"]
    texts = canonical_texts(column)
    codes = pd.Index(categories).get_indexer(texts)
    missing = is_missing(column, kind.get("na", NA_VALUES)) & (codes < 0)
    other = (codes < 0) & ~missing
    if strange is not None:
        strange.update((str(column.name), value) for value in texts[other])
    values = np.zeros((len(codes), len(categories) + kind["other"]), np.float32)
    known = codes >= 0
    values[np.flatnonzero(known), codes[known]] = 1
    if kind["other"]:
        values[other, -1] = 1
    return values, missing


def _read_words(column, kind, path, first_row, strange):
    missing = is_missing(column, kind.get("na", NA_VALUES))
    return word_counts(canonical_texts(column).mask(missing), kind["buckets"]), missing


_READERS = {
    "number": _read_number,
    "boolean": _read_boolean,
    "date": _read_date,
    "category": _read_category,
    "words": _read_words,
}


def check_spread(rows, columns, path):
    """Refuse numbers whose differences float32 cannot represent: after scaling they would be noise."""
    for name, kind in columns.items():
        if kind["kind"] != "number":
            continue
        values, _ = numbers.read_numbers(rows[name], kind.get("decimal", "."), kind.get("na", NA_VALUES))
        if np.isnan(values).all():
            continue
        low, high = np.nanmin(values), np.nanmax(values)
        if 0 < high - low < 1e-5 * max(abs(low), abs(high)):
            raise UserError(
                f"{path}: column {name!r} differs only in digits that float32 cannot represent; subtract its mean"
            )


def place(name, where, first_row=1):
    """The row and the column of the first True in `where`; the row under the header is row 1."""
    return f"row {int(np.argmax(where)) + first_row} under the header, column {str(name)!r}"
