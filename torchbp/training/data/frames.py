"""The frames of a table: files, DataFrames or arrays, one after the other, and where each begins."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from torchbp.training.data.columns.texts import holds_text, is_missing
from torchbp.training.data.reading.files import File
from torchbp.training.errors import SettingError, UserError


@dataclass
class Frames:
    """frame: all rows. paths: (name, first row, last row + 1, split) of each part; split is None for rows to split."""

    frame: pd.DataFrame
    paths: list[tuple]
    notes: list[str] = field(default_factory=list)

    @property
    def name(self):
        return ", ".join(dict.fromkeys(str(path) for path, _, _, split in self.paths if split is None)) or str(
            self.paths[0][0]
        )

    def rows_of(self, split):
        """The indices of the rows that belong to a split, or None: to be split."""
        parts = [np.arange(first, last) for _, first, last, of in self.paths if of == split]
        return np.concatenate(parts) if parts else np.arange(0)


def read_frames(settings, texts=(), wanted=(), splits=(None, "val", "test")):
    """The `Frames` of `data.source`, `data.val_source` and `data.test_source`."""
    parts, notes = [], []
    for split in splits:
        source = settings.source if split is None else getattr(settings, f"{split}_source")
        if source is None:
            continue
        for one in source if isinstance(source, list | tuple) else [source]:
            frame, path, more = _frame(one, settings, texts, wanted)
            notes += more
            parts.append((frame, path, split))
    if not parts:
        raise SettingError("data.source is empty; give a file")
    frames = [_without_missing(frame, settings.na_values) for frame, _, _ in parts]
    _check_same_columns(frames, [path for _, path, _ in parts], settings)
    ends = np.cumsum([len(frame) for frame in frames]).tolist()
    paths = [
        (path, end - len(frame), end, split) for frame, (_, path, split), end in zip(frames, parts, ends, strict=True)
    ]
    whole = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True, join="inner")
    return Frames(whole, paths, notes)


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


def _without_missing(frame, na_values):
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


def _check_same_columns(frames, paths, settings):
    """Every frame must have the columns of the first one that are used; the target and ids of others may be absent."""
    first, ignored = list(frames[0].columns), set(settings.ignore)
    for frame, path in zip(frames[1:], paths[1:], strict=True):
        absent = [name for name in first if name not in frame and name not in ignored]
        if absent:
            raise UserError(f"{path} has no column {absent[0]!r}, as {paths[0]} has; all files need the same columns")
