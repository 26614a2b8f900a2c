"""From the columns of a table to features: a number stays as it is, a text becomes one 0/1 feature per category."""

import re

import numpy as np
import pandas as pd

from torchbp.training.errors import UserError

# A network's columns, in its checkpoint: name → None for a number, or the categories of a text, in order.
Columns = dict[str, list[str] | None]

# Spellings of a missing value in a column of numbers, without regard to capitals: pandas's list and other common ones.
# In a column of text they are categories: NA may be Namibia, and None an answer. An empty cell is missing in both.
MISSING = {
    "", "#n/a", "#n/a n/a", "#na", "-1.#ind", "-1.#qnan", "-nan", "1.#ind", "1.#qnan", "<na>", "n/a", "na", "n.a.",
    "nan", "none", "null", "(null)", "nil", "missing", "unknown", "?", "-", "--", "---", "–", "—", ".", "..", "\\n",
    "nat", "na.", "n.a", "#div/0!", "#value!", "#ref!", "#num!", "#name?",
}  # fmt: skip
TRUTHS = {"true": "1", "false": "0"}
# A number in a format that programs do not read: 1,000 or 1 000.5 or 1,5 or 12% or $5 or (5)
FORMATTED = (
    r"\(?[+\-−]?\s?(?:CURRENCY)?\s?[+\-−]?(?:\d{1,3}(?:[,.'’_\s\xa0\u202f]\d{3})+(?:[.,]\d+)?|\d+,\d+|\d+(?:\.\d*)?|\.\d+)"
    r"\s?(?:[%‰]|CURRENCY)?\)?"
).replace("CURRENCY", "[$€£¥₹]|USD|EUR|GBP|CHF|JPY|CNY|INR")


def feature_names(columns):
    """Names of the features; `colour=red` for a category."""
    return [
        name if value is None else f"{name}={value}" for name, kind in columns.items() for value in (kind or [None])
    ]


def find_columns(frame, categorical, max_categories, path):
    """The `Columns` of a frame. Columns of text and those named in `categorical` have categories.

    Raises:
        UserError: a column without values, with more than `max_categories` texts, or of another type.
    """
    return {str(name): _categories_of(frame[name], name in categorical, max_categories, path) for name in frame}


def _categories_of(column, is_categorical, max_categories, path):
    """The categories of a column, or None for numbers."""
    if column.isna().all():
        raise UserError(f"{path}: column {column.name!r} is blank in every row; add it to data.ignore")
    if not is_categorical:
        if is_meant_as_numbers(column):
            return None
        if not holds_text(column):
            raise UserError(
                f"{path}: column {column.name!r} holds {column.dtype}, neither numbers nor text; add it to data.ignore"
            )
        if sum(missing_spellings(column).values()) == column.notna().sum():
            raise UserError(
                f"{path}: column {column.name!r} is missing in every row, as {column.dropna().iloc[0]!r}; add it to "
                "data.ignore, or to data.categorical if that is a category"
            )
    categories = sorted(column_texts(column).dropna().unique())
    if len(categories) > max_categories:
        raise UserError(
            f"{path}: column {column.name!r} has {len(categories)} different values, for example {categories[0]!r}; "
            f"add it to data.ignore, or raise data.max_categories={max_categories}"
        )
    return categories


def is_meant_as_numbers(column):
    """Whether at least half of a column are numbers: others may be misprints, missing values, or numbers such as 5%."""
    if is_number(column):
        return True
    if not (holds_text(column) or column.dtype == object):
        return False
    counts = _value_counts(column)
    counts = counts[~counts.index.isin(MISSING)]
    if counts.empty or counts.index.isin(TRUTHS).all():
        return not counts.empty
    words = counts.index.to_series()
    alike = pd.to_numeric(words, errors="coerce").notna() | words.str.upper().str.fullmatch(FORMATTED)
    return bool(counts[alike].sum() * 2 >= counts.sum())


def _value_counts(column):
    """How often each text of a column occurs, a Series; without regard to capitals, and to spaces around a text."""
    return column.astype("string").str.strip().str.lower().value_counts()


def missing_spellings(column):
    """How often a column of text has each spelling of a missing value, {text: count}."""
    if not holds_text(column):
        return {}
    column = column[column.astype("string").str.strip().str.lower().isin(MISSING)]
    return column.astype("string").value_counts().to_dict()


def is_number(column):
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_complex_dtype(column)


def holds_text(column):
    return pd.api.types.is_string_dtype(column) or isinstance(column.dtype, pd.CategoricalDtype)


def column_texts(column):
    """As text; whole numbers without the “.0” that pandas adds if the column has an empty cell."""
    if pd.api.types.is_float_dtype(column) and (column.dropna() % 1 == 0).all():
        column = column.astype("Int64")
    return column.astype("string")


def read_numbers(column):
    """The numbers of a column of any type, float64 `(N,)`, nan for what is no number; and a mask of missing values."""
    missing = column.isna().to_numpy()
    if is_number(column):
        return column.to_numpy(np.float64, na_value=np.nan), missing
    codes, words = pd.factorize(column.astype("string"))  # each text is read once; an empty cell has the code −1
    words = pd.Series(words, dtype="string").str.strip().str.lower()
    absent = words.isin(MISSING)
    if words[~absent].isin(TRUTHS).all():  # among numbers, True is a misprint
        words = words.replace(TRUTHS)
    values = pd.to_numeric(words, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return np.append(values, np.nan)[codes], np.append(absent, True)[codes]


def encode(frame, columns, missing, path, first_row=1, unseen=None):
    """The features of a frame's columns, float32 `(N, features)`. With `missing="mean"` a missing value is nan. If a
    Counter `unseen` is given too, so is a category that the network does not know; the Counter counts them.

    Raises:
        UserError: a column is missing, a value is missing, is no number, or is an unknown category.
    """
    absent = [name for name in columns if name not in frame]
    if absent:
        raise UserError(f"{path} has no column {absent[0]!r}; the network needs {', '.join(columns)}")
    features = np.empty((len(frame), len(feature_names(columns))), np.float32)
    at = 0
    for name, categories in columns.items():
        column = frame[name]
        if categories is None:
            features[:, at] = _numbers(column, missing, path, first_row)
            at += 1
        else:
            counter = unseen if missing == "mean" else None
            blank = column.isna().to_numpy()
            _check_missing(column, blank, missing, path, first_row)
            features[:, at : at + len(categories)] = _one_hot(column, categories, blank, path, first_row, counter)
            at += len(categories)
    return features


def _check_missing(column, absent, missing, path, first_row):
    if missing == "refuse" and absent.any():
        value = column[absent].iloc[0]
        what = "blank" if pd.isna(value) or not str(value).strip() else f"{value!r}, a missing value"
        raise UserError(
            f"{path}: {place(column.name, absent, first_row)} is {what}; fill it, or train with --data.missing mean"
        )


def _numbers(column, missing, path, first_row):
    exact, absent = read_numbers(column)
    _check_missing(column, absent, missing, path, first_row)
    bad = ~(np.abs(exact) <= np.finfo(np.float32).max) & ~absent  # true of nan, too
    if bad.any():
        value = str(column[bad].iloc[0])
        remedy = "a feature must be a finite float32; name the column in data.categorical if it holds categories"
        if re.fullmatch(FORMATTED, value.strip().upper()):
            remedy = (
                "write plain numbers such as 1234.5, with a decimal point and without thousands separators, percent "
                "signs and currency signs; or name the column in data.categorical if it holds categories"
            )
        raise UserError(f"{path}: {place(column.name, bad, first_row)} is {value!r}; {remedy}")
    return exact


def _one_hot(column, categories, blank, path, first_row, unseen):
    column = column_texts(column)
    codes = pd.Index(categories).get_indexer(column)
    strange = (codes < 0) & ~blank
    if strange.any() and unseen is None:
        known = ", ".join(map(repr, categories[:10])) + (", …" if len(categories) > 10 else "")
        raise UserError(
            f"{path}: {place(column.name, strange, first_row)} is {column[strange].iloc[0]!r}, which no training row "
            f"had; the network knows {known}. A network trained with --data.missing mean treats it as missing"
        )
    if strange.any():
        unseen.update((str(column.name), value) for value in column[strange])
    features = np.zeros((len(codes), len(categories)), np.float32)
    features[np.arange(len(codes)), codes] = 1  # code −1 sets the last column; the next line corrects that
    features[codes < 0] = np.nan
    return features


def check_spread(column, path):
    """Refuse numbers whose differences float32 cannot represent: after scaling they would be noise."""
    exact, _ = read_numbers(column)
    if np.isnan(exact).all():
        return
    low, high = np.nanmin(exact), np.nanmax(exact)
    if 0 < high - low < 1e-5 * max(abs(low), abs(high)):
        raise UserError(
            f"{path}: column {column.name!r} differs only in digits that float32 cannot represent; subtract its mean"
        )


def place(name, where, first_row=1):
    """The row and the column of the first True in `where`; the row under the header is row 1."""
    return f"row {int(np.argmax(where)) + first_row} under the header, column {str(name)!r}"
