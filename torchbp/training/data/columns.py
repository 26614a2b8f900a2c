"""From columns of a table to numbers: a number stays as it is, a text becomes one 0/1 feature per category."""

import re

import numpy as np
import pandas as pd

from torchbp.training.errors import UserError

# A network's columns, in its checkpoint: name → None for a number, or the categories of a text, in order.
Columns = dict[str, list[str] | None]

# What stands for a missing value in a column of numbers, in capitals or not: pandas's list, and what else is common. In
# a column of text they are categories: NA may be Namibia, and None an answer. An empty cell is missing in both.
MISSING = {
    "", "#n/a", "#n/a n/a", "#na", "-1.#ind", "-1.#qnan", "-nan", "1.#ind", "1.#qnan", "<na>", "n/a", "na", "n.a.",
    "nan", "none", "null", "(null)", "nil", "missing", "unknown", "?", "-", "--", "---", "–", "—", ".", "..", "\\n",
    "nat", "na.", "n.a", "#div/0!", "#value!", "#ref!", "#num!", "#name?",
}  # fmt: skip
TRUTHS = {"true": "1", "false": "0"}
# A number with signs that only people read: 1,000 or 1 000.5 or 1,5 or 12% or $5 or (5)
SIGNED = (
    r"\(?[+\-−]?\s?(?:CURRENCY)?\s?[+\-−]?(?:\d{1,3}(?:[,.'’_\s\xa0\u202f]\d{3})+(?:[.,]\d+)?|\d+,\d+|\d+(?:\.\d*)?|\.\d+)"
    r"\s?(?:[%‰]|CURRENCY)?\)?"
).replace("CURRENCY", "[$€£¥₹]|USD|EUR|GBP|CHF|JPY|CNY|INR")


def feature_names(columns):
    """Names of the features, `colour=red` for a category."""
    return [
        name if value is None else f"{name}={value}" for name, kind in columns.items() for value in (kind or [None])
    ]


def survey(frame, categorical, max_categories, path):
    """The `Columns` of a frame: categorical are those named, and those of text.

    Raises:
        UserError: a column without values, with more than `max_categories` texts, or of another kind.
    """
    return {str(name): kind_of(frame[name], name in categorical, max_categories, path) for name in frame}


def kind_of(column, is_categorical, max_categories, path):
    if column.isna().all():
        raise UserError(f"{path}: column {column.name!r} is blank in every row; add it to data.ignore")
    if not is_categorical:
        if means_numbers(column):
            return None
        if not holds_text(column):
            raise UserError(
                f"{path}: column {column.name!r} holds {column.dtype}, neither numbers nor text; add it to data.ignore"
            )
        if sum(spellings(column).values()) == column.notna().sum():
            raise UserError(
                f"{path}: column {column.name!r} is missing in every row, as {column.dropna().iloc[0]!r}; add it to "
                "data.ignore, or to data.categorical if that is a category"
            )
    categories = sorted(texts(column).dropna().unique())
    if len(categories) > max_categories:
        raise UserError(
            f"{path}: column {column.name!r} has {len(categories)} different values, such as {categories[0]!r}; "
            f"add it to data.ignore, or raise data.max_categories={max_categories}"
        )
    return categories


def means_numbers(column):
    """Whether a column is one of numbers: perhaps with misprints, missing values, or signs such as % among them."""
    if is_number(column):
        return True
    if not (holds_text(column) or column.dtype == object):
        return False
    counts = counted(column)
    counts = counts[~counts.index.isin(MISSING)]
    if counts.empty or counts.index.isin(TRUTHS).all():
        return not counts.empty
    words = counts.index.to_series()
    alike = pd.to_numeric(words, errors="coerce").notna() | words.str.upper().str.fullmatch(SIGNED)
    return bool(counts[alike].sum() * 2 >= counts.sum())


def counted(column):
    """How often each text of a column occurs, a Series; capitals and blanks around a text make no difference."""
    return column.astype("string").str.strip().str.lower().value_counts()


def spellings(column):
    """How often a column of text has each of the `MISSING`, a dict of texts and numbers."""
    if not holds_text(column):
        return {}
    found = column[column.astype("string").str.strip().str.lower().isin(MISSING)]
    return found.astype("string").value_counts().to_dict()


def is_number(column):
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_complex_dtype(column)


def holds_text(column):
    return pd.api.types.is_string_dtype(column) or isinstance(column.dtype, pd.CategoricalDtype)


def texts(column):
    """As text; a whole number without its “.0”, which it gets where another row is blank."""
    if pd.api.types.is_float_dtype(column) and (column.dropna() % 1 == 0).all():
        column = column.astype("Int64")
    return column.astype("string")


def read_numbers(column):
    """The numbers of a column of any type, float64 `(N,)`, nan where there is none; and where a value is missing."""
    missing = column.isna().to_numpy()
    if is_number(column):
        return column.to_numpy(np.float64, na_value=np.nan), missing
    codes, words = pd.factorize(column.astype("string"))  # each different text is read once; a blank has the code −1
    words = pd.Series(words, dtype="string").str.strip().str.lower()
    absent = words.isin(MISSING)
    if words[~absent].isin(TRUTHS).all():  # among numbers, True is a misprint
        words = words.replace(TRUTHS)
    found = pd.to_numeric(words, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return np.append(found, np.nan)[codes], np.append(absent, True)[codes]


def encode(frame, columns, missing, path, first_row=1, unseen=None):
    """float32 `(N, features)` of a frame's columns. With `missing="mean"`, nan stands for a missing value, and, where a
    Counter `unseen` is given to count them, for a category that the network does not know.

    Raises:
        UserError: a column that is not there, a missing value, something that is no number, or an unknown category.
    """
    absent = [name for name in columns if name not in frame]
    if absent:
        raise UserError(f"{path} has no column {absent[0]!r}; the network needs {', '.join(columns)}")
    features = np.empty((len(frame), len(feature_names(columns))), np.float32)
    at = 0
    for name, categories in columns.items():
        column = frame[name]
        if categories is None:
            features[:, at] = numbers(column, missing, path, first_row)
            at += 1
        else:
            counter = unseen if missing == "mean" else None
            blank = column.isna().to_numpy()
            check_missing(column, blank, missing, path, first_row)
            features[:, at : at + len(categories)] = one_hot(column, categories, blank, path, first_row, counter)
            at += len(categories)
    return features


def check_missing(column, absent, missing, path, first_row):
    if missing == "refuse" and absent.any():
        value = column[absent].iloc[0]
        what = "blank" if pd.isna(value) or not str(value).strip() else f"{value!r}, a missing value"
        raise UserError(
            f"{path}: {place(column.name, absent, first_row)} is {what}; fill it, or train with --data.missing mean"
        )


def numbers(column, missing, path, first_row):
    exact, absent = read_numbers(column)
    check_missing(column, absent, missing, path, first_row)
    bad = ~(np.abs(exact) <= np.finfo(np.float32).max) & ~absent  # nan is not less
    if bad.any():
        value = str(column[bad].iloc[0])
        remedy = "a feature must be a finite float32; name the column in data.categorical if it holds categories"
        if re.fullmatch(SIGNED, value.strip().upper()):
            remedy = (
                "write plain numbers such as 1234.5, with a point before the decimals, and no separator of thousands, "
                "percent sign or currency sign; or name the column in data.categorical if it holds categories"
            )
        raise UserError(f"{path}: {place(column.name, bad, first_row)} is {value!r}; {remedy}")
    return exact


def one_hot(column, categories, blank, path, first_row, unseen):
    column = texts(column)
    codes = pd.Index(categories).get_indexer(column)
    strange = (codes < 0) & ~blank
    if strange.any() and unseen is None:
        known = ", ".join(map(repr, categories[:10])) + (", …" if len(categories) > 10 else "")
        raise UserError(
            f"{path}: {place(column.name, strange, first_row)} is {column[strange].iloc[0]!r}, which no training row "
            f"had; the network knows {known}. Trained with --data.missing mean it takes such a value as missing"
        )
    if strange.any():
        unseen.update((str(column.name), value) for value in column[strange])
    hot = np.zeros((len(codes), len(categories)), np.float32)
    hot[np.arange(len(codes)), codes] = 1  # of code −1, the last column, which the next line mends
    hot[codes < 0] = np.nan
    return hot


def check_spread(column, path):
    """Refuse numbers that differ only where float32 has no digits: scaling would make noise of them."""
    exact, _ = read_numbers(column)
    if np.isnan(exact).all():
        return
    low, high = np.nanmin(exact), np.nanmax(exact)
    if 0 < high - low < 1e-5 * max(abs(low), abs(high)):
        raise UserError(
            f"{path}: column {column.name!r} differs only in digits that float32 does not hold; subtract its mean"
        )


def place(name, where, first_row=1):
    """Where the first True of `where` stands; the row under a header is row 1."""
    return f"row {int(np.argmax(where)) + first_row} under the header, column {str(name)!r}"
