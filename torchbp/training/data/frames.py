"""The rows of a table, in memory: files, DataFrames or arrays, one after the other."""

import numpy as np
import pandas as pd
import torch

from torchbp.training.data.columns import encode, feature_names
from torchbp.training.data.columns.texts import holds_text, is_missing
from torchbp.training.data.reading.files import File
from torchbp.training.errors import SettingError, UserError


class Frames:
    """The frames of `data.source`, `data.val_source` and `data.test_source`, as one.

    frame: all rows. parts: (name, first row, last row + 1, split) of each file; split is None for rows to split.
    notes: on the files, sentences for the user.

    Args:
        texts, wanted: names of columns that are read as text; and that files must have, where they are known.
        splits: which of the three sources are read; None is `data.source`.
    """

    def __init__(self, settings, texts=(), wanted=(), splits=(None, "val", "test")):
        self.notes, frames, names = [], [], []
        for source, split in sources_of(settings, splits):
            frame, path, notes = _frame(source, settings, texts, wanted)
            self.notes += notes
            frames.append(without_missing(frame, settings.na_values))
            names.append((path, split))
        for frame, (path, _) in zip(frames[1:], names[1:], strict=True):
            check_same_columns(frames[0], names[0][0], frame, path, settings)
        ends = np.cumsum([len(frame) for frame in frames]).tolist()
        self.parts = [
            (path, end - len(frame), end, split) for frame, (path, split), end in zip(frames, names, ends, strict=True)
        ]
        self.frame = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True, join="inner")

    @property
    def name(self):
        names = [path for path, _, _, split in self.parts if split is None] or [self.parts[0][0]]
        return ", ".join(dict.fromkeys(names))

    @property
    def names(self):
        """Of all columns."""
        return list(self.frame)

    def rows_of(self, split):
        """The indices of the rows that belong to a split, or None: to be split."""
        parts = [np.arange(first, last) for _, first, last, of in self.parts if of == split]
        return np.concatenate(parts) if parts else np.arange(0)

    def look(self, rows, names):
        """The columns of some rows, one at a time: {name: column} would be a large copy."""
        return _Look(self.frame, rows, names)

    def encoded(self, columns, splits, strange):
        """The features of all rows, a tensor; and the order in which they are, or None for that of the files."""
        features = np.empty((len(self.frame), len(feature_names(columns))), np.float32)
        for path, first, last, _ in self.parts:
            features[first:last] = encode(self.frame.iloc[first:last], columns, path, strange=strange)
        return torch.from_numpy(features), None


class _Look:
    def __init__(self, frame, rows, names):
        self.frame, self.rows, self.names = frame, rows, names

    def __iter__(self):
        return iter(self.names)

    def __getitem__(self, name):
        return self.frame[name].iloc[self.rows]


def sources_of(settings, splits):
    """(source, split) of each file or frame."""
    pairs = []
    for split in splits:
        source = settings.source if split is None else getattr(settings, f"{split}_source")
        if source is not None:
            pairs += [(one, split) for one in (source if isinstance(source, list | tuple) else [source])]
    if not pairs:
        raise SettingError("data.source is empty; give a file")
    return pairs


def _frame(source, settings, texts, wanted):
    if isinstance(source, pd.DataFrame):
        frame = source.reset_index(drop=True).rename(columns=str)
        for name in frame.columns[frame.columns.duplicated()]:
            raise UserError(f"the frame has two columns {name!r}; give them different names")
        if frame.empty:
            raise UserError("the frame has no rows")
        return frame, "the frame", []
    file = File(source, settings.reading, texts, wanted)
    return file.read(), str(file.path), file.notes


def frame_of_arrays(x, y=None):
    """A DataFrame of an array of rows `(N, F)`, and labels `(N,)` or `(N, T)`; and the names of the columns of y."""
    if isinstance(x, pd.DataFrame):
        frame = x.rename(columns=str)
    else:
        x = np.asarray(x)
        if x.ndim != 2:
            raise UserError(f"an array of the shape {x.shape} must be (N, F), rows and features")
        frame = pd.DataFrame(x, columns=[f"x{i}" for i in range(x.shape[1])])
    if y is None:
        return frame, None
    if isinstance(y, pd.Series):
        y = y.to_frame(y.name if y.name is not None else "y")
    if not isinstance(y, pd.DataFrame):
        y = np.asarray(y)
        y = pd.DataFrame(y, columns=["y"] if y.ndim == 1 else [f"y{i}" for i in range(y.shape[1])])
    if len(y) != len(frame):
        raise UserError(f"{len(frame)} rows and {len(y)} labels; there must be as many")
    y = y.rename(columns=str)
    frame = frame.drop(columns=[name for name in y if name in frame])
    return pd.concat([frame.reset_index(drop=True), y.reset_index(drop=True)], axis=1), list(y)


def without_missing(frame, na_values):
    """The frame with None in place of the texts, and numbers, that mean a missing value."""
    changed = {}
    for name in frame:
        column = frame[name]
        if holds_text(column) or column.dtype == object or any(map(_is_number, na_values)):
            missing = is_missing(column, na_values)
            if (missing & column.notna().to_numpy()).any():
                changed[name] = column.mask(missing)
    return frame.assign(**changed) if changed else frame


def _is_number(text):
    return str(text).lstrip("+-").replace(".", "", 1).isdigit()


def check_same_columns(first, first_path, frame, path, settings):
    """Refuse a frame without a column that the first one has, unless it is ignored."""
    absent = [name for name in first if name not in frame and name not in settings.ignore]
    if absent:
        raise UserError(f"{path} has no column {absent[0]!r}, as {first_path} has; all files need the same columns")


def is_array(value):
    """Whether it is a DataFrame or an array, and no name."""
    return hasattr(value, "shape") and hasattr(value, "__array__")


def plain_setting(value):
    """What a checkpoint can hold of a setting: a frame is named "the frame"."""
    if is_array(value) or hasattr(value, "to_frame"):
        return "the frame"
    return [plain_setting(one) for one in value] if isinstance(value, list | tuple) else value
