"""The columns of a frame, or of an array, as numbers.

    a number, a bool     itself; texts and objects, too, where all of them are numbers
    a date, a duration   its seconds, of pandas' dtypes
    a text, a category   a column of zeros and ones for each value, MOST_VALUES at most: the values of a single row, and
                         the least frequent ones of too many, share one. What is not in the rows of `fit` is in that
                         one, or nowhere
    nothing but blanks   a blank number, whatever comes later

A blank text is a value of its own. A blank number stays nan, which the scaling replaces by the median, and where the
rows of `fit` have blanks, a further column says where they are.
"""

from typing import Any

import numpy as np

MOST_VALUES = 100
NUMBER, TIME, TEXT, BLANK = "numbers", "times", "texts", "blanks"


def is_frame(x: Any) -> bool:
    """Whether it is a frame, as pandas has them."""
    return all(hasattr(x, name) for name in ("columns", "dtypes", "iloc"))


class Columns:
    """What the columns of the rows of `fit` were, and any rows with the same columns as numbers.

    Args:
        x: a frame, or an array (N, F) of numbers.

    Raises:
        ValueError: a column of complex numbers.
    """

    def __init__(self, x) -> None:
        self.kinds = [kind_of(column) for column in columns_of(x)] if is_frame(x) else [NUMBER] * x.shape[1]
        self.encoder = None
        if texts := self.places(TEXT):
            from sklearn.preprocessing import OneHotEncoder  # which loads rich, where it is installed

            self.encoder = OneHotEncoder(
                handle_unknown="infrequent_if_exist", max_categories=MOST_VALUES, min_frequency=2, sparse_output=False
            ).fit(as_texts(x, texts))
        self.has_blanks = np.isnan(self.without_texts(x)).any(0)

    def places(self, *kinds):
        return [place for place, kind in enumerate(self.kinds) if kind in kinds]

    def numbers(self, x) -> np.ndarray:
        """(N, features), float64, where a blank number is nan.

        Raises:
            ValueError: an array where there was a frame with texts or times, or a column of another kind.
        """
        numbers = self.without_texts(x)
        parts = [numbers, np.isnan(numbers[:, self.has_blanks])]
        if self.encoder is not None:
            parts.append(self.encoder.transform(as_texts(x, self.places(TEXT))))
        return np.concatenate(parts, 1)

    def names(self, names=None) -> list[str]:
        """The names of the features, where the columns have these names; None: they are numbered from 0."""
        names = list(map(str, range(len(self.kinds)) if names is None else names))
        found = [names[place] for place in self.places(NUMBER, TIME, BLANK)]
        found += [f"{name} is missing" for name, has in zip(found, self.has_blanks, strict=True) if has]
        if self.encoder is not None:
            found += self.encoder.get_feature_names_out([names[place] for place in self.places(TEXT)]).tolist()
        return found

    def without_texts(self, x):
        """The columns that are no texts, float64, where a blank is nan."""
        if is_frame(x):
            columns = columns_of(x)
            found = [as_numbers(columns[place], self.kinds[place]) for place in self.places(NUMBER, TIME, BLANK)]
            return np.stack(found, 1) if found else np.empty((len(x), 0))
        if places := self.places(TEXT, TIME, BLANK):
            raise ValueError(f"column {places[0]} had {self.kinds[places[0]]} in the rows of fit; give a frame")
        return np.asarray(x)


def columns_of(frame):
    """By their places, since names may occur twice."""
    return [frame.iloc[:, place] for place in range(frame.shape[1])]


def kind_of(column):
    kind = getattr(column.dtype, "kind", "O")
    if kind == "c":
        raise ValueError(f"column {column.name!r} is complex; give the parts of its numbers as two columns")
    if kind in "mM":
        return TIME
    if kind in "biuf":
        return NUMBER
    if column.isna().all():
        return BLANK
    if column.dtype == "category":
        return TEXT
    try:
        as_floats(column)
    except (TypeError, ValueError):
        return TEXT
    return NUMBER


def as_numbers(column, kind):
    """Of a column that was of this kind in the rows of `fit`."""
    if kind == BLANK or (blank := column.isna()).all():
        return np.full(len(column), np.nan)
    if kind_of(column) != kind:
        values = column[~blank].tolist()
        example = next((value for value in values if not is_number(value)), values[0])
        raise ValueError(f"column {column.name!r} has {example!r}, and had {kind} in the rows of fit")
    return as_floats(column) if kind == NUMBER else as_seconds(column)


def as_floats(column):
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def is_number(value):
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def as_seconds(column):
    """Since 1970, or of a duration; nan of a blank."""
    if column.dtype.kind == "m":
        return as_floats(column.dt.total_seconds())
    times = column.to_numpy(dtype="datetime64[us]")  # of nanoseconds, a date such as 9999-12-31 would be another one
    return np.where(np.isnat(times), np.nan, times.astype(np.int64) / 1e6)


def as_texts(frame, places):
    """(N, columns), objects: a text, or None of a blank. A whole number has the text of an integer."""
    found = np.empty((len(frame), len(places)), object)
    for number, place in enumerate(places):
        column = frame.iloc[:, place]
        found[:, number] = [None if blank else text(v) for v, blank in zip(column, column.isna(), strict=True)]
    return found


def text(value):
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)
