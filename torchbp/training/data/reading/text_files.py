"""Tables in text files: how one is written. What the settings do not say is found in its first lines."""

import codecs
import csv
import dataclasses
import io
import itertools
import re

import pandas as pd

from torchbp.training.data.columns.texts import NA_VALUES
from torchbp.training.errors import SettingError, UserError

SEPARATORS = ",;\t|"
FIRST_BYTES = 1 << 16  # that are looked at
NAMED = {"tab": "\t", "\\t": "\t", "space": r"\s+", "comma": ",", "semicolon": ";", "bar": "|"}
UTF16 = codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE
MOST_ABOVE = 20  # lines above a table


@dataclasses.dataclass(frozen=True)
class Reading:
    """The settings that say how a file is written; None is found."""

    sep: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    header: bool | None = None
    na_values: tuple[str, ...] = NA_VALUES

    def check(self):
        """Raise a SettingError for a value that is none."""
        if self.decimal not in (None, ".", ","):
            raise SettingError(f"data.decimal={self.decimal!r} must be '.' or ','")
        if self.encoding is not None:
            try:
                codecs.lookup(self.encoding)
            except LookupError:
                raise SettingError(
                    f"data.encoding={self.encoding!r} is not known; utf-8, cp1252 and latin-1 are"
                ) from None
        if self.sep == "":
            raise SettingError("data.sep is empty; give one character, or tab, or space for any number of blanks")


def csv_arguments(path, start, reading, compression, texts=(), wanted=()):
    """The arguments of pandas.read_csv for a text file that begins with the bytes `start`; and notes.

    texts: columns that are read as text. wanted: names that the header must have, where they are known.
    """
    if reading.encoding is None and not is_text(start):
        raise UserError(
            f"{path} is no text (it has a byte 0), and no other known format; save it as CSV, or set data.encoding"
        )
    encoding, notes = _encoding(start, reading.encoding)
    try:
        text = codecs.getincrementaldecoder(encoding)(errors="strict").decode(start)
    except UnicodeError as error:
        if reading.encoding is None:
            raise UserError(
                f"{path} is no text: byte {error.start + 1} is neither UTF-8 nor {encoding}; save it as CSV, or set "
                "data.encoding"
            ) from None
        raise UserError(f"{path} is not a CSV file of the encoding {encoding}: {error}; set data.encoding") from None
    lines = text.splitlines()[:200]
    if len(lines) > 1 and len(start) == FIRST_BYTES:
        lines = lines[:-1]  # the last one may be cut
    above = _lines_above(lines, reading.sep)
    if title := "".join(lines[:above]).strip():
        notes.append(f"{path}: the table begins in line {above + 1}; above it stands {title[:40]!r}")
    lines = [line for line in lines[above:] if line.strip()]
    if not lines:
        raise UserError(f"{path} is empty: it needs a header line and rows")
    sep = NAMED.get(reading.sep, reading.sep) or _separator(lines)
    rows = _rows(lines, sep)
    names = [name.strip() for name in rows[0]]
    header = reading.header
    if header is None:
        header = has_header(rows, reading.na_values, wanted)
        if not header and not wanted:
            notes.append(
                f"{path} has no header line: its columns are called c1 … c{len(names)}. With data.header true its "
                "first line has the names"
            )
    if not header:
        names = [f"c{i + 1}" for i in range(len(names))]
    check_names(path, names)
    arguments = {
        "sep": sep,
        "encoding": encoding,
        "skipinitialspace": True,
        "index_col": False,
        "keep_default_na": False,
        "na_values": ["", *reading.na_values],
        "dtype": {name if header else names[at]: "str" for at, name in enumerate(rows[0]) if names[at] in texts},
        "compression": compression,
        "skiprows": above,
    }
    if not header:
        arguments |= {"header": None, "names": names}
    if reading.decimal == ",":
        arguments |= {"decimal": ",", "thousands": "."}
    return arguments, notes


def is_text(start):
    """Whether the first bytes of a file may be text: UTF-16, or without a byte of 0."""
    return start.startswith(UTF16) or b"\0" not in start


def _lines_above(lines, sep):
    """How many lines stand above the table, such as a title or comments: they have no separator, and all lines from the
    header on have the same number of columns, two or more."""
    for at, line in enumerate(lines[:MOST_ABOVE]):
        table = [below for below in lines[at:] if below.strip()]
        used = NAMED.get(sep, sep) or _separator(table or [""])
        if not line.strip() or len(used) > 1:
            continue
        columns = {len(row) for row in _rows(table, used)}
        if len(_rows([line], used)[0]) > 1:
            return at if len(columns) == 1 and len(table) > 2 else 0
    return 0


def _encoding(start, setting):
    if setting:
        return setting, []
    if start.startswith(UTF16):
        return "utf-16", []
    try:
        codecs.getincrementaldecoder("utf-8-sig")().decode(start)
    except UnicodeError as error:
        note = f"byte {error.start + 1} is not UTF-8: the file is read as cp1252; data.encoding sets another"
        return "cp1252", [note]
    return "utf-8-sig", []


def _separator(lines):
    """The one of `SEPARATORS` that gives the most columns in the first line."""
    return max(SEPARATORS, key=lambda sep: len(_rows(lines[:1], sep)[0]))


def _rows(lines, sep):
    if len(sep) > 1:  # a regular expression
        frame = pd.read_csv(
            io.StringIO("\n".join(lines)), sep=sep, header=None, dtype=str, na_filter=False, engine="python"
        )
        return frame.to_numpy().tolist()
    return list(csv.reader(lines, delimiter=sep, skipinitialspace=True))


def has_header(rows, na_values, wanted=()):
    """Whether the first of some rows of texts has names.

    It has not if it looks like the rows below it: a number stands above numbers; or, in a table of texts, most of its
    texts stand below, too. Whole numbers 0, 1, 2, … or 2019, 2020, … are names.
    """
    first, below = [text.strip() for text in rows[0]], rows[1:]
    if wanted and set(first) & set(wanted):
        return True
    if wanted and all(re.fullmatch(r"c\d+", name) for name in wanted):  # the network's table had no header
        return False
    if not below:
        return True
    missing, above, texts, repeated = {"", *na_values}, [], 0, 0
    for at, name in enumerate(first):
        column = [row[at].strip() for row in below if at < len(row)]
        present = [text for text in column if text not in missing]
        if present and sum(map(_is_number, present)) * 2 > len(present):
            if name not in missing and not _is_number(name):
                return True
            above += [name] if name not in missing else []
        elif present:
            texts += 1
            repeated += name in present
    if above:
        steps = {float(b) - float(a) for a, b in itertools.pairwise(above)}
        return len(above) > 1 and steps == {1.0} and all(name.isdigit() for name in above)
    return repeated * 2 < texts or not texts


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def check_names(path, names):
    """Refuse two columns of one name; pandas would rename the second."""
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{path} has two columns {name!r}; give them different names")
