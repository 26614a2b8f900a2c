"""The rows of a table that is larger than memory: files are read in pieces, and the features lie in a file.

Memory holds the target and the other columns that are no features, and a sample of the training rows, by which the
kinds of the columns are found. The features are written to a temporary file, split by split, and mapped into memory:
the operating system reads the rows of a batch when it is made.
"""

import os
import tempfile

import numpy as np
import pandas as pd
import torch

from torchbp.training.data.columns import encode, feature_names
from torchbp.training.data.frames import Frames, check_same_columns, sources_of, without_missing
from torchbp.training.data.reading.files import File
from torchbp.training.errors import SettingError, UserError

SAMPLE = 200_000  # training rows by which the columns are found
PIECE = 1 << 16  # rows of a file that are in memory at once


class RowsOnDisk(Frames):
    """The same as `Frames`, of files that are read several times. frame: the columns that are no features."""

    def __init__(self, settings, texts=(), wanted=(), splits=(None, "val", "test")):
        self.settings, self.notes, self.files, self.parts, self.sample = settings, [], [], [], None
        frames, first = [], None
        for source, split in sources_of(settings, splits):
            if not isinstance(source, str) or source == "-":
                raise SettingError("data.on_disk reads files several times; give the path of a file as data.source")
            file, begin = File(source, settings.reading, texts, wanted), sum(map(len, frames))
            for piece in file.pieces(PIECE):
                if first is None:
                    first, first_path = piece, str(file.path)
                    self._names = list(piece)
                    used = {name for names in settings.columns_named().values() for name in names}
                    used -= {*settings.features, *settings.categorical, *settings.ignore, settings.id}
                check_same_columns(first, first_path, piece, file.path, settings)
                frames.append(without_missing(piece[[name for name in piece if name in used]], settings.na_values))
            self.files.append(file)
            self.notes += file.notes
            self.parts.append((str(file.path), begin, sum(map(len, frames)), split))
        if first is None:
            raise UserError(f"{self.files[0].path} has no rows")
        self.frame = pd.concat(frames, ignore_index=True)

    @property
    def names(self):
        return self._names

    def look(self, rows, names):
        """The columns of a sample of the rows."""
        if self.sample is None:
            chosen = np.sort(np.random.default_rng(self.settings.seed).permutation(rows)[:SAMPLE])
            parts = []
            for row, piece in self._pieces():
                inside = chosen[np.searchsorted(chosen, row) : np.searchsorted(chosen, row + len(piece))]
                parts.append(piece.iloc[inside - row].set_axis(inside))
            self.sample = without_missing(pd.concat(parts), self.settings.na_values)
        return self.sample[names]

    def _pieces(self):
        """Yield the number of the first row of each piece of the files, from 0, and the piece."""
        row = 0
        for file in self.files:
            for piece in file.pieces(PIECE):
                yield row, piece
                row += len(piece)

    def encoded(self, columns, splits, strange):
        """The features of all rows, mapped from a temporary file, split after split; and the rows in that order."""
        rows = len(self.frame)
        drawn = torch.cat(list(splits.values())).numpy()
        rest = np.ones(rows, bool)
        rest[drawn] = False
        order = np.concatenate([drawn, np.flatnonzero(rest)])  # the last ones are those without a label
        position = np.empty(rows, np.int64)
        position[order] = np.arange(rows)
        features = _mapped(rows, len(feature_names(columns)))
        begins = {first: path for path, first, _, _ in self.parts}
        first, path = 0, self.name
        for row, piece in self._pieces():
            if row in begins:
                first, path = row, begins[row]
            values = encode(piece, columns, path, row - first + 1, strange)
            features[position[row : row + len(piece)]] = values
        return torch.from_numpy(features), torch.from_numpy(order)


def _mapped(rows, features):
    """An array `(rows, features)` in a temporary file, which has no name and ends with the process."""
    with tempfile.TemporaryFile() as file:
        try:
            os.posix_fallocate(file.fileno(), 0, rows * features * 4)
        except OSError as error:
            raise UserError(
                f"{tempfile.gettempdir()} has no room for {rows * features * 4 / 2**30:.1f} GiB of features "
                f"({error.strerror}); set TMPDIR to a folder that has"
            ) from None
        return np.memmap(file, np.float32, "r+", shape=(rows, features))
