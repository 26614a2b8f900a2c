"""Dates and times: how they are written, and the features that they become.

A time t is the number of days since the first one of the training rows, and the sine and cosine of the part of the
year, of the week and of the day that have passed at t; a part that the training rows do not show is left out.
"""

import numpy as np
import pandas as pd

from torchbp.training.data.columns.texts import holds_text, is_missing

DAYS = ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%d %b %Y", "%d %B %Y", "%b %d, %Y",
        "%B %d, %Y", "%d-%b-%Y")  # fmt: skip
FORMATS = ("ISO8601", *DAYS, *(f"{day} {time}" for day in DAYS for time in ("%H:%M", "%H:%M:%S")), "%H:%M", "%H:%M:%S")
PERIODS = {"year": 365.2425, "week": 7.0, "day": 1.0}  # in days
ONE_DAY = np.timedelta64(1, "D")


def date_formats(column):
    """The formats in which each value of a column without missing ones is a date: "datetime" if pandas knows them as
    dates, "duration", or some of FORMATS; none if they are no dates."""
    if pd.api.types.is_datetime64_any_dtype(column):
        return ["datetime"]
    if pd.api.types.is_timedelta64_dtype(column):
        return ["duration"]
    if not (holds_text(column) or column.dtype == object):
        return []
    words = column.astype("string").drop_duplicates().str.strip()
    if not words.str.fullmatch(r"[\w:/., +-]{4,40}").all() or not words.str.contains(r"\d[^\d]").all():
        return []
    formats = FORMATS
    for texts in (words.iloc[:100], words):  # a few of the texts show that most formats are not theirs
        formats = [form for form in formats if _parsed(texts, form).notna().all()]
    return formats


def _parsed(texts, form):
    return pd.to_datetime(texts, format=form, errors="coerce", utc=True)


def read_dates(column, form, na_values):
    """The times as days since 1970, float64 `(N,)`, nan for what is no date; and the mask of missing values."""
    missing = is_missing(column, na_values, number=True)
    if pd.api.types.is_timedelta64_dtype(column):
        return (column / ONE_DAY).to_numpy(np.float64), missing
    if not pd.api.types.is_datetime64_any_dtype(column):
        codes, words = pd.factorize(column.astype("string").str.strip())
        times = _parsed(pd.Series(words, dtype="string"), "ISO8601" if form in ("datetime", "duration") else form)
    else:
        codes, times = np.arange(len(column)), pd.to_datetime(column, utc=True)
    days = ((times.dt.tz_localize(None) - pd.Timestamp(0)) / ONE_DAY).to_numpy(np.float64)
    return np.where(missing, np.nan, np.append(days, np.nan)[codes]), missing


def found_parts(days, form):
    """The parts of `PERIODS` in which the training rows differ."""
    if form == "duration":
        return []
    times = pd.Series(pd.to_datetime(days[~np.isnan(days)], unit="D"))
    parts = {
        "year": times.dt.month,
        "week": (times.dt.normalize() - pd.Timestamp(0)).dt.days % 7,
        "day": times.dt.hour * 60 + times.dt.minute,
    }
    return [name for name, values in parts.items() if values.nunique() > 1]


def date_names(name, parts):
    return [f"{name}: days", *(f"{name}: {f}({part})" for part in parts for f in ("sin", "cos"))]


def date_features(days, origin, parts):
    """float64 `(N, 1 + 2 parts)`."""
    # 1970-01-05 was a Monday; the year's phase is 0 at its start, within a day
    angles = [2 * np.pi * (days - (4 if part == "week" else 0)) / PERIODS[part] for part in parts]
    return np.column_stack([days - origin, *(f(angle) for angle in angles for f in (np.sin, np.cos))])
