"""Files of many formats to pandas DataFrames: whole, or a piece at a time."""

import contextlib
import importlib.util
import io
import os
import re
import sys
import warnings
import zipfile
from pathlib import Path

import pandas as pd
import pyarrow
import pyarrow.feather
import pyarrow.parquet

from torchbp.training.data.batches import ROWS_AT_ONCE
from torchbp.training.data.reading.bundled import BUNDLED
from torchbp.training.data.reading.text_files import FIRST_BYTES, Reading, check_names, csv_arguments, is_text
from torchbp.training.errors import UserError

FORMATS = {
    "Parquet": (".parquet", ".pq"),
    "Feather": (".feather", ".arrow", ".ipc"),
    "JSON lines": (".jsonl", ".ndjson", ".json"),
    "Excel": (".xlsx", ".xlsm"),
}
BEGINNINGS = {b"PAR1": "Parquet", b"ARROW1": "Feather", b"{": "JSON lines", b"[{": "JSON lines", b"PK\3\4": "Excel"}
BINARY = b"PAR1", b"ARROW1", b"PK\3\4"  # beginnings that no text has
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
OLD_EXCEL = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
STDIN = "-"


class File:
    """A table in a file, or on stdin, whose name is `-`. Its format is told by its name, or by its first bytes.

    Args:
        source: the path.
        reading: how a text file is written.
        texts, wanted: names of columns that are read as text; and that the file must have, where they are known.

    Raises:
        UserError: a file that does not exist or cannot be read, or has two columns of one name.
    """

    def __init__(self, source, reading=Reading(), texts=(), wanted=()):  # noqa: B008  (it is frozen)
        self.path = "stdin" if str(source) == STDIN else Path(source)
        self.reading, self.texts, self.wanted, self.notes = reading, texts, wanted, []
        if str(source) == STDIN and os.environ.get("LOCAL_RANK", "0") != "0":
            raise UserError("data.source - is read by one process, and here are several; give a file")
        self.buffer = io.BytesIO(sys.stdin.buffer.read()) if str(source) == STDIN else None
        if self.buffer is None and not self.path.is_file():
            what = "is a folder" if self.path.is_dir() else "does not exist"
            if "://" in str(source):
                raise UserError(f"{source} is an address, and no file; download it, and give the file")
            raise UserError(
                f"the source {self.path} {what}; give a file (CSV, TSV, Parquet, Feather, JSON lines or Excel), - for "
                f"stdin, or one of {', '.join(BUNDLED)}"
            )
        self.format = "CSV"
        with self._errors():
            self.compression = self._compression()
            self.start = self._start()
        self.format = self._format()

    def _opened(self):
        """What pandas and pyarrow read: the path, or stdin's bytes from their start."""
        if self.buffer is None:
            return self.path
        self.buffer.seek(0)
        return self.buffer

    def _compression(self):
        if self.buffer is not None:
            return None
        if self.path.suffix.lower() == ".zip":  # files of Excel begin in the same way
            return "zip"
        with self.path.open("rb") as file:
            first = file.read(8)
        return next((name for magic, name in COMPRESSED.items() if first.startswith(magic)), None)

    def _start(self):
        with pd.io.common.get_handle(self._opened(), "rb", compression=self.compression, is_text=False) as opened:
            start = opened.handle.read(FIRST_BYTES)
        return start

    def _format(self):
        name = Path(str(self.path).lower())
        if self.start.startswith(OLD_EXCEL):
            raise UserError(f"{self.path} is a file of an old Excel (.xls); save it as .xlsx or CSV")
        suffix = name.with_suffix("").suffix if self.compression and name.suffixes[1:] else name.suffix
        for form, suffixes in FORMATS.items():
            if suffix in suffixes:
                return form
        of_text = suffix in (".csv", ".tsv", ".txt")
        begins = (form for first, form in BEGINNINGS.items() if self.start.lstrip().startswith(first))
        return "CSV" if of_text and not self.start.startswith(BINARY) else next(begins, "CSV")

    def read(self):
        """The whole frame."""
        with self._errors():
            frame = self._read()
        if frame.empty:
            raise UserError(f"{self.path} has no rows")
        check_names(self.path, [_name(name) for name in frame])
        return frame.reset_index(drop=True).rename(columns=_name)

    def _read(self):
        if self.format == "Parquet":
            return _frame_of(pyarrow.parquet.read_table(self._opened()))
        if self.format == "Feather":
            return _frame_of(pyarrow.feather.read_table(self._opened()))
        if self.format == "JSON lines":
            lines = not self.start.lstrip().startswith(b"[")
            arguments = {"lines": lines, "dtype": False, "compression": self.compression}
            return self._checked_json(pd.read_json(self._opened(), **arguments))
        if self.format == "Excel":
            return self._excel()
        arguments = self._csv_arguments()
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.DtypeWarning)
            try:
                return pd.read_csv(self._opened(), **arguments)  # pieces of the file in parallel
            except pd.errors.DtypeWarning:  # a column has numbers in one piece, and texts in another
                return pd.read_csv(self._opened(), **arguments, low_memory=False)

    def _checked_json(self, frame):
        if len(frame) and all(isinstance(value, list) for value in frame.iloc[0]):  # an object of columns
            raise UserError(
                f"{self.path}: {frame.columns[0]!r} holds lists; write an object for each row, with one value a key"
            )
        return frame

    def _csv_arguments(self):
        arguments, self.notes = csv_arguments(
            self.path, self.start, self.reading, self.compression, self.texts, self.wanted
        )
        return arguments

    def _excel(self):
        if importlib.util.find_spec("openpyxl") is None:
            raise UserError(
                f'{self.path}: an Excel file needs openpyxl, which is not installed: pip install "torchbp[excel]"; or '
                "save it as CSV"
            )
        sheets = pd.read_excel(self._opened(), sheet_name=None, keep_default_na=False, na_values=[""])
        (first, frame), *others = sheets.items()
        if others:
            self.notes.append(f"{self.path} has {len(sheets)} sheets, of which {first!r}, the first, is read")
        return frame

    def pieces(self, rows=None):
        """Yield frames of so many rows. Files that are neither CSV nor Parquet are read whole."""
        rows = rows or ROWS_AT_ONCE
        if self.format not in ("CSV", "Parquet"):
            frame = self.read()
            for at in range(0, len(frame), rows):
                yield frame.iloc[at : at + rows]
            return
        with self._errors():
            if self.format == "Parquet":
                file = pyarrow.parquet.ParquetFile(self._opened())
                check_names(self.path, list(map(_name, file.schema_arrow.names)))
                frames = (_frame_of(batch) for batch in file.iter_batches(rows))
            else:
                arguments = self._csv_arguments()
                if len(arguments["sep"]) == 1:
                    arguments["low_memory"] = False
                file = frames = pd.read_csv(self._opened(), chunksize=rows, **arguments)
        with file:
            while True:
                with self._errors():
                    frame = next(frames, None)
                if frame is None:
                    return
                yield frame.rename(columns=_name)

    @contextlib.contextmanager
    def _errors(self):
        """Within this context, an error of pandas or pyarrow is a UserError that names the file."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
                yield
        except pd.errors.EmptyDataError:
            raise UserError(f"{self.path} is empty: it needs a header line and rows") from None
        except UserError:
            raise
        except (
            pd.errors.ParserError, pd.errors.ParserWarning, UnicodeError, ValueError, OSError, EOFError, KeyError,
            pyarrow.ArrowException, zipfile.BadZipFile,
        ) as error:  # fmt: skip
            reason = " ".join(str(error).split()).replace("Error tokenizing data. C error: ", "")
            if uneven := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", reason):
                expected, line, found = uneven.groups()
                reason = (
                    f"line {line} has {found} values, and the lines above have {expected}; correct it, or set data.sep"
                )
            article = "an" if self.format == "Excel" else "a"
            kind = f"{article} {self.format} file" if self.format != "JSON lines" else "a file of JSON lines"
            if self.format not in ("CSV", "JSON lines") and is_text(self.start):
                reason = "it holds text; if that is CSV, give its name the suffix .csv"
            raise UserError(f"{self.path} is not {kind}: {reason}") from None


def _name(column):
    """The name of a column; blanks around it are of no consequence."""
    return str(column).strip()


def _frame_of(table):
    """A frame with the columns of the file. A pandas index is one of them, if it has a name.

    A dictionary is what its values are, as it is in a CSV file: writers make one of any column.
    """
    frame = table.to_pandas(ignore_metadata=True)
    for name in frame.select_dtypes("category"):
        frame[name] = frame[name].astype(frame[name].cat.categories.dtype)
    return frame[[name for name in frame if not str(name).startswith("__index_level_")]]
