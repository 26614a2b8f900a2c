"""From columns of a table to numbers: a number stays as it is, a text becomes one 0/1 feature per category."""

import numpy as np
import pandas as pd

from torchbp.training.errors import UserError

# A network's columns, in its checkpoint: name → None for a number, or the categories of a text, in order.
Columns = dict[str, list[str] | None]


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
    if not is_categorical and (is_number(column) or mostly_numbers(column)):
        return None
    if not is_categorical and not holds_text(column):
        raise UserError(
            f"{path}: column {column.name!r} holds {column.dtype}, neither numbers nor text; add it to data.ignore"
        )
    categories = sorted(texts(column).dropna().unique())
    if not is_categorical and mostly_numbers(texts(column).str.replace(",", ".")):
        raise UserError(f"{path}: column {column.name!r} has decimal commas, such as {categories[0]!r}; write points")
    if len(categories) > max_categories:
        raise UserError(
            f"{path}: column {column.name!r} has {len(categories)} different values, such as {categories[0]!r}; "
            f"add it to data.ignore, or raise data.max_categories={max_categories}"
        )
    return categories


def is_number(column):
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_complex_dtype(column)


def holds_text(column):
    return pd.api.types.is_string_dtype(column) or isinstance(column.dtype, pd.CategoricalDtype)


def mostly_numbers(column):
    """Numbers with a misprint among them (or Decimals): to be read as numbers, so that the misprint is named."""
    if not (holds_text(column) or column.dtype == object):
        return False
    return pd.to_numeric(column, errors="coerce").notna().sum() * 2 >= column.notna().sum()


def texts(column):
    """As text; a whole number without its “.0”, which it gets where another row is blank."""
    if pd.api.types.is_float_dtype(column) and (column.dropna() % 1 == 0).all():
        column = column.astype("Int64")
    return column.astype("string")


def encode(frame, columns, missing, path, first_row=1, unseen=None):
    """float32 `(N, features)` of a frame's columns. With `missing="mean"`, nan stands for a blank, and, where a Counter
    `unseen` is given to count them, for a category that the network does not know.

    Raises:
        UserError: a column that is not there, a blank, something that is no number, or an unknown category.
    """
    absent = [name for name in columns if name not in frame]
    if absent:
        raise UserError(f"{path} has no column {absent[0]!r}; the network needs {', '.join(columns)}")
    features = np.empty((len(frame), len(feature_names(columns))), np.float32)
    at = 0
    for name, categories in columns.items():
        column, blank = frame[name], frame[name].isna().to_numpy()
        if missing == "refuse" and blank.any():
            raise UserError(
                f"{path}: {place(name, blank, first_row)} is blank; fill it, or train with --data.missing mean"
            )
        if categories is None:
            features[:, at] = numbers(column, blank, path, first_row)
            at += 1
        else:
            counter = unseen if missing == "mean" else None
            features[:, at : at + len(categories)] = one_hot(column, categories, blank, path, first_row, counter)
            at += len(categories)
    return features


def numbers(column, blank, path, first_row):
    exact = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    bad = ~(np.abs(exact) <= np.finfo(np.float32).max) & ~blank  # nan is not less
    if bad.any():
        raise UserError(
            f"{path}: {place(column.name, bad, first_row)} is {str(column[bad].iloc[0])!r}; "
            "a feature must be a finite float32; name the column in data.categorical if it holds categories"
        )
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
    exact = pd.to_numeric(column).to_numpy(np.float64, na_value=np.nan)
    low, high = np.nanmin(exact), np.nanmax(exact)
    if 0 < high - low < 1e-5 * max(abs(low), abs(high)):
        raise UserError(
            f"{path}: column {column.name!r} differs only in digits that float32 does not hold; subtract its mean"
        )


def place(name, where, first_row=1):
    """Where the first True of `where` stands; the row under a header is row 1."""
    return f"row {int(np.argmax(where)) + first_row} under the header, column {str(name)!r}"
