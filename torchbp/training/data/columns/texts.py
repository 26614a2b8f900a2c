"""Texts: their one spelling, the spellings of a missing value, and words hashed into features."""

import re
import zlib

import numpy as np
import pandas as pd

# An empty cell is missing everywhere. So are these texts, unless `data.na_values` gives others …
NA_VALUES = ("NA", "N/A", "n/a", "nan", "NaN", "<NA>", "NULL", "null", "#N/A", "?")
# … and, without regard to capitals, these in a column of numbers, dates or booleans, where they cannot be a category.
NO_NUMBER = {
    "", "#n/a", "#n/a n/a", "#na", "-1.#ind", "-1.#qnan", "-nan", "1.#ind", "1.#qnan", "<na>", "n/a", "na", "n.a.",
    "nan", "none", "null", "(null)", "nil", "missing", "unknown", "?", "-", "--", "---", "–", "—", ".", "..", "\\n",
    "nat", "na.", "n.a", "#div/0!", "#value!", "#ref!", "#num!", "#name?",
}  # fmt: skip


def is_number(column):
    """Whether a column has numbers; pandas counts True and False among them, and so does this."""
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_complex_dtype(column)


def holds_text(column):
    return pd.api.types.is_string_dtype(column) or isinstance(column.dtype, pd.CategoricalDtype)


def canonical_texts(column):
    """A column as texts, `string`: one spelling for a value, whatever the file and its format.

    Spaces around a text are no part of it. A whole number has no `.0`: pandas adds it if the column has an empty cell.
    """
    if pd.api.types.is_float_dtype(column) and (column.dropna() % 1 == 0).all():
        column = column.astype("Int64")
    codes, words = pd.factorize(column.astype("string"))
    words = pd.Series(words, dtype="string").str.strip().str.replace(r"^([+-]?\d+)\.0+$", r"\1", regex=True)
    values = np.append(words.to_numpy(object, na_value=pd.NA), pd.NA)  # an empty cell has the code −1
    return pd.Series(values[codes], index=column.index, name=column.name, dtype="string").mask(lambda text: text == "")


def is_missing(column, na_values=NA_VALUES, number=False):
    """The mask, `(N,)`, of missing values. number: whether the column is of numbers, dates or booleans."""
    missing = column.isna().to_numpy()
    if is_number(column):
        values = pd.to_numeric(pd.Series(list(na_values), dtype="str"), errors="coerce").dropna()
        return missing | column.isin(values).to_numpy() if len(values) else missing
    if not (holds_text(column) or column.dtype == object):
        return missing
    codes, words = pd.factorize(column.astype("string"))
    words = pd.Series(words, dtype="string").str.strip()
    absent = words.isin(["", *na_values])
    if number:
        absent |= words.str.lower().isin(NO_NUMBER)
    return np.append(absent.to_numpy(bool), True)[codes] | missing


def word_counts(texts, buckets):
    """How many words of each text fall into each bucket, float32 `(N, buckets)`; the bucket is a hash of the word."""
    codes, words = pd.factorize(texts)
    counts = np.zeros((len(words) + 1, buckets), np.float32)  # the last row is of missing texts, whose code is −1
    for row, text in enumerate(words):
        for word in re.findall(r"\w+", text.lower()) or [text]:
            counts[row, zlib.crc32(word.encode()) % buckets] += 1
    return counts[codes]
