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
from torchbp.training.data.columns import canonical_texts, encode
from torchbp.training.data.columns.survey import strange_lines
from torchbp.training.data.columns.texts import is_number
from torchbp.training.data.reading.bundled import BUNDLED
from torchbp.training.data.reading.files import File
from torchbp.training.data.reading.text_files import Reading
from torchbp.training.data.settings import source_words
from torchbp.training.data.table import text_columns
from torchbp.training.data.target import labels_as
from torchbp.training.errors import SettingError, UserError

SUFFIXES = (".csv", ".parquet")


class _Pieces(IterableDataset):
    """The features of a source, piece by piece. The names of the rows wait in the queue `ids`, in the same order."""

    def __init__(self, source, id, model, reading, must_have_id=True):
        self.source, self.id, self.reading, self.must_have_id = source, id, reading, must_have_id
        self.columns = model.named_columns()
        self.ids = collections.deque()
        self.strange, self.notes = collections.Counter(), []

    def _frames(self):
        """Yield the name of each file, the number of the first row of a piece of it, and the piece."""
        if isinstance(self.source, str) and self.source in BUNDLED:
            yield self.source, 1, BUNDLED[self.source]()[0]
            return
        texts = [*text_columns(self.columns), *([self.id] if self.id else [])]
        for source in self.source if isinstance(self.source, list) else [self.source]:
            file, row = File(source, self.reading, texts, list(self.columns)), 1
            for frame in file.pieces():
                yield file.path, row, frame
                row += len(frame)
            self.notes += file.notes

    def __iter__(self):
        rows = 0
        for path, row, frame in self._frames():
            if self.id and self.id not in frame and not self.must_have_id and not rows:
                self.id = None
            if self.id and self.id not in frame:
                raise SettingError(f"{path} has no column {self.id!r}; set data.id to one it has, or to null")
            ids = frame[self.id] if self.id else pd.Series(range(rows + 1, rows + 1 + len(frame)), name="row")
            if self.id:
                ids = canonical_texts(ids) if is_number(ids) else ids.astype("string")
            self.ids.append(ids.reset_index(drop=True))
            yield torch.from_numpy(encode(frame, self.columns, path, row, self.strange))
            rows += len(frame)
        if not rows:
            raise UserError(f"{source_words(self.source)} has no rows")


class _Writer(Callback):
    """Appends the answers to each piece to a CSV or Parquet file."""

    def __init__(self, path, as_parquet, source, ids, label_kind):
        self.path, self.as_parquet, self.source, self.ids = path, as_parquet, source, ids
        self.label_kind = label_kind
        self.rows, self.parquet = 0, None

    def on_predict_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        spread = None
        if pl_module.gives_spread:
            outputs, spread = outputs
        check_finite(outputs, self.rows, source_words(self.source))
        frame = answer_table(pl_module, outputs.float().cpu(), spread)
        if "class" in frame:
            frame["class"] = labels_as(frame["class"], self.label_kind)
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


def write_predictions(
    trainer,
    model,
    source,
    id,
    output,
    reading=Reading(),  # noqa: B008
    label_kind="text",
    must_have_id=True,
):
    """Write the probabilities and the class of every row of a source to a file. Returns the number of rows.

    reading: how a text file is written. label_kind: what the classes are, as in `Target`. must_have_id: whether a
    source without the column `id` is refused; otherwise its rows are numbered.
    Categories that are new, and missing values where the training rows have none, are counted on stderr.

    Raises:
        UserError, SettingError: a source that cannot be read, or without a column that is needed. No file is written.
    """
    pieces = _Pieces(source, id, model, reading, must_have_id)
    none = torch.zeros(0, model.task.outputs)
    if id in answer_table(model, none, none if model.gives_spread else None):
        raise SettingError(f"data.id={id!r} is also a column of the answers; leave it out")
    with atomic_write(output) as temporary:
        writer = _Writer(temporary, Path(output).suffix.lower() == ".parquet", source, pieces.ids, label_kind)
        trainer.callbacks.append(writer)
        trainer.predict(model, DataLoader(pieces, batch_size=None), return_predictions=False)
    for note in [*pieces.notes, *strange_lines(pieces.strange, pieces.columns)]:
        say("note", note, sys.stderr)
    return writer.rows


def check_output(path, source, overwrite, suffixes):
    """Raise a SettingError for an output file that cannot be written, or that would replace another file."""
    sources = source if isinstance(source, list) else [source]
    if path.exists() and any(Path(one).exists() and path.samefile(one) for one in sources):
        raise SettingError(f"{path} is the data that is read; name another --output")
    if path.is_dir():
        raise SettingError(f"{path} is a folder; name a file as --output")
    if path.suffix.lower() not in suffixes:
        raise SettingError(f"--output {path} must end in {' or '.join(suffixes)}")
    if path.exists() and not overwrite:
        raise SettingError(f"{path} exists; name another --output, or add --overwrite")
    if not path.parent.is_dir():
        raise SettingError(f"there is no folder {path.parent} to write {path.name} to")
