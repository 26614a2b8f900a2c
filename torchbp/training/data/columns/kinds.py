"""Which kind of column each one is, and what a network must know to read it: a dict of plain values.

    {"kind": "number", "missing": …}                with "decimal": "," where that is the sign; "currency": "$"
    {"kind": "boolean", "words": ["no", "yes"], "missing": …}
    {"kind": "date", "format": …, "origin": days, "parts": ["year", …], "missing": …}
    {"kind": "category", "categories": […], "other": bool, "missing": …}
    {"kind": "words", "buckets": 64, "missing": …}

`missing` is "indicator" if training rows lack a value: a feature says where it is missing. It is "impute" if none does,
and "refuse" if a missing value is an error. `na` holds the texts that mean a missing value, if they are not the usual.
"""

import re
from typing import Any

import numpy as np
import pandas as pd

from torchbp.training.data.columns import dates, numbers
from torchbp.training.data.columns.texts import NA_VALUES, canonical_texts, holds_text, is_missing, is_number
from torchbp.training.errors import UserError

Columns = dict[str, dict[str, Any]]

TRUTHS = (("false", "true"), ("no", "yes"), ("n", "y"), ("f", "t"), ("off", "on"))
FEW = 20  # different texts are categories in any case
BUCKETS = 64  # features of a column of many different texts


def find_columns(
    frame, categorical=(), max_categories=100, path="the frame", missing="median", na_values=NA_VALUES, decimal=None
) -> Columns:
    """The kind of each column of a frame of training rows.

    Args:
        frame: a pandas DataFrame with the columns that are features.
        categorical: columns that are categories, whatever they hold.
        max_categories: of more different texts the most frequent ones are categories, and the rest are one, "other". If
            the categories have less than half of the rows, the words of the texts are hashed instead.
        path: the name of the frame in messages.
        missing: "median", or "refuse" a missing value.
        na_values: texts that mean a missing value.
        decimal: "." or ","; None finds it column by column.

    Raises:
        UserError: a column without values, or of a type that is no number, text or date.

    Example:
        >>> find_columns(pd.DataFrame({"age": [30, None, 41]}))
        {'age': {'kind': 'number', 'missing': 'indicator'}}
    """
    columns = {}
    for name in frame:
        column = frame[name]
        kind = _category(column, max_categories, na_values) if name in categorical else None
        kind = kind or _kind(column, max_categories, path, na_values, decimal)
        number = kind["kind"] in ("number", "date", "boolean")
        absent = is_missing(column, na_values, number).any()
        kind["missing"] = missing if missing == "refuse" else "indicator" if absent else "impute"
        if set(na_values) != set(NA_VALUES):
            kind["na"] = list(na_values)
        columns[str(name)] = kind
    return columns


def _kind(column, max_categories, path, na_values, decimal):
    if isinstance(column.dtype, pd.CategoricalDtype):  # of a frame in Python: its user said so
        return _category(column, max_categories, na_values)
    if is_number(column) and column.notna().any():
        return (
            {"kind": "boolean", "words": ["False", "True"]}
            if pd.api.types.is_bool_dtype(column)
            else {"kind": "number"}
        )
    present = column[~is_missing(column, na_values, number=True)]
    if present.empty:
        return _category(column, max_categories, na_values, path)
    if form := dates.date_formats(present):
        days, _ = dates.read_dates(column, form[0], na_values)
        return {
            "kind": "date",
            "format": form[0],
            "origin": float(np.nanmin(days)),
            "parts": dates.found_parts(days, form[0]),
        }
    present = present.map(str) if column.dtype == object else present
    if not holds_text(present) or _holds_objects(column):
        raise UserError(
            f"{path}: column {column.name!r} holds {_what(column)}, neither numbers, texts nor dates; add it to "
            "data.ignore"
        )
    words = set(canonical_texts(present).str.lower().unique())
    if pair := next((pair for pair in TRUTHS if words <= set(pair)), None):
        return {"kind": "boolean", "words": list(pair)}
    if numbers.are_mostly_numbers(present):
        return _number(present, decimal, path)
    return _category(column, max_categories, na_values)


def _holds_objects(column):
    return column.dtype == object and column.map(lambda value: isinstance(value, list | dict | set | bytes)).any()


def _what(column):
    return type(column.dropna().iloc[0]).__name__ if column.dtype == object else str(column.dtype)


def _number(column, decimal, path):
    signs = numbers.currencies(column)
    if len(signs) > 1:
        raise UserError(
            f"{path}: column {column.name!r} has amounts in {' and '.join(signs)}; convert them to one currency, or "
            "add the column to data.ignore"
        )
    sign = decimal or numbers.decimal_sign(column)[0]
    return {"kind": "number", **({"decimal": ","} if sign == "," else {}), **({"currency": signs[0]} if signs else {})}


def _category(column, max_categories, na_values, path=None):
    texts = canonical_texts(column).mask(is_missing(column, na_values))
    counts = texts.value_counts()
    if counts.empty:
        raise UserError(f"{path or 'the frame'}: column {column.name!r} is blank in every row; add it to data.ignore")
    common = counts[counts > 1]  # one row of a text teaches nothing that holds
    if len(counts) > FEW and common.iloc[:max_categories].sum() * 2 < counts.sum():
        return {"kind": "words", "buckets": BUCKETS}
    frequent = (common if len(counts) - len(common) > 1 and len(common) else counts).iloc[:max_categories]
    return {"kind": "category", "categories": sorted(frequent.index, key=_order), "other": len(frequent) < len(counts)}


def _order(text):
    """Numbers by their size, before other texts."""
    return (0, float(text), text) if re.fullmatch(r"[+-]?\d+(\.\d+)?", text) else (1, 0.0, text)


def check_columns(columns):
    """Raise a ValueError if a value, of a checkpoint, is no `Columns`."""
    if not isinstance(columns, dict) or not all(isinstance(name, str) for name in columns):
        raise ValueError("its columns are not texts, each with a dict")
    for name, kind in columns.items():
        kind = kind if isinstance(kind, dict) else {}
        rest = {key: value for key, value in kind.items() if key not in ("missing", "na", "decimal", "currency")}
        if (
            kind.get("missing") not in ("indicator", "impute", "refuse")
            or not _is_kind(rest)
            or not _are_texts(kind.get("na", []))
        ):
            raise ValueError(f"its column {name!r} is of no known kind")


def _is_kind(kind):
    match kind:
        case {"kind": "number", **rest} if not rest:
            return True
        case {"kind": "boolean", "words": list(words), **rest} if not rest:
            return _are_texts(words) and len(words) == 2
        case {"kind": "date", "format": str(), "origin": float(), "parts": list(parts), **rest} if not rest:
            return all(part in dates.PERIODS for part in parts)
        case {"kind": "category", "categories": list(values), "other": bool(), **rest} if not rest:
            return _are_texts(values) and 0 < len(set(values)) == len(values)
        case {"kind": "words", "buckets": int(buckets), **rest} if not rest:
            return 0 < buckets < 1 << 20
    return False


def _are_texts(values):
    return isinstance(values, list) and all(isinstance(value, str) for value in values)
