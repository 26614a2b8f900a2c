"""`torchbp predict`: the answers of a trained network to every row of a file, a piece of the file at a time."""

import collections
import sys
from pathlib import Path

import pandas as pd
import pyarrow
import pyarrow.parquet
import torch
from pytorch_lightning.callbacks import Callback
from torch.utils.data import DataLoader, IterableDataset

from torchbp.printing import say
from torchbp.training.atomic_write import atomic_write
from torchbp.training.cli.finite_answers import check_finite
from torchbp.training.data.columns import column_texts, encode
from torchbp.training.data.sources import BUNDLED, stream_file
from torchbp.training.errors import SettingError, UserError

SUFFIXES = (".csv", ".parquet")


class _Pieces(IterableDataset):
    """The features of a source, piece by piece. The names of the rows wait in the queue `ids`, in the same order."""

    def __init__(self, source, id, model):
        self.source, self.id = source, id
        self.columns = model.named_columns()
        self.ids = collections.deque()
        self.unseen = collections.Counter()

    def _frames(self):
        if self.source in BUNDLED:
            return [BUNDLED[self.source]()[0]]
        as_text = [name for name, categories in self.columns.items() if categories is not None]
        return stream_file(Path(self.source), [*as_text, *([self.id] if self.id else [])])

    def __iter__(self):
        rows = 0
        for frame in self._frames():
            if self.id and self.id not in frame:
                raise SettingError(f"{self.source} has no column {self.id!r}; set data.id to one it has, or to null")
            ids = (
                column_texts(frame[self.id])
                if self.id
                else pd.Series(range(rows + 1, rows + 1 + len(frame)), name="row")
            )
            self.ids.append(ids.reset_index(drop=True))
            yield torch.from_numpy(encode(frame, self.columns, "mean", self.source, rows + 1, self.unseen))
            rows += len(frame)
        if not rows:
            raise UserError(f"{self.source} has no rows")


class _Writer(Callback):
    """Appends the answers to each piece to a CSV or Parquet file."""

    def __init__(self, path, as_parquet, source, ids):
        self.path, self.as_parquet, self.source, self.ids = path, as_parquet, source, ids
        self.rows, self.parquet = 0, None

    def on_predict_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        spread = None
        if pl_module.members:
            outputs, spread = outputs
        check_finite(outputs, self.rows, self.source)
        frame = answer_table(pl_module, outputs.float().cpu(), spread)
        frame.insert(0, self.ids[0].name, self.ids.popleft(), allow_duplicates=True)
        if self.as_parquet:
            table = pyarrow.Table.from_pandas(frame, preserve_index=False)
            self.parquet = self.parquet or pyarrow.parquet.ParquetWriter(self.path, table.schema)
            self.parquet.write_table(table)
        else:
            frame.to_csv(self.path, mode="a", header=self.rows == 0, index=False)
        self.rows += len(frame)

    def on_predict_end(self, trainer, pl_module):
        if self.parquet:
            self.parquet.close()


def answer_table(model, answers, spread=None):
    """A DataFrame with the answers, the spread of each, if it is given, and the class: as the task has columns."""
    spread = None if spread is None else spread.float().cpu()
    return pd.DataFrame(model.task.columns(answers, spread))


def write_predictions(trainer, model, source, id, output):
    """Write the probabilities and the class of every row of a source to a file. Returns the number of rows.

    Unknown categories that are treated as missing are named on stderr.

    Raises:
        UserError, SettingError: a source that cannot be read, or without a column that is needed. No file is written.
    """
    pieces = _Pieces(source, id, model)
    none = torch.zeros(0, model.task.outputs)
    if id in answer_table(model, none, none if model.members else None):
        raise SettingError(f"data.id={id!r} is also a column of the answers; leave it out")
    with atomic_write(output) as temporary:
        writer = _Writer(temporary, Path(output).suffix.lower() == ".parquet", source, pieces.ids)
        trainer.callbacks.append(writer)
        trainer.predict(model, DataLoader(pieces, batch_size=None), return_predictions=False)
    for (column, value), rows in sorted(pieces.unseen.items()):
        say("note", f"column {column!r}: {value!r} ({rows} rows) is new, and was treated as missing", sys.stderr)
    return writer.rows


def check_output(path, source, overwrite, suffixes):
    """Raise a SettingError for an output file that cannot be written, or that would replace another file."""
    if path.exists() and Path(source).exists() and path.samefile(source):
        raise SettingError(f"{path} is the data that is read; name another --output")
    if path.is_dir():
        raise SettingError(f"{path} is a folder; name a file as --output")
    if path.suffix.lower() not in suffixes:
        raise SettingError(f"--output {path} must end in {' or '.join(suffixes)}")
    if path.exists() and not overwrite:
        raise SettingError(f"{path} exists; name another --output, or add --overwrite true")
    if not path.parent.is_dir():
        raise SettingError(f"there is no folder {path.parent} to write {path.name} to")
