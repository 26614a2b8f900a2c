"""Where rows come from: scikit-learn's bundled sets, the exclusive or, or a user's CSV or Parquet file."""

import contextlib
import warnings

import pandas as pd
import pyarrow
import pyarrow.parquet
from sklearn import datasets

from torchbp.training.data.batches import ROWS_AT_ONCE
from torchbp.training.errors import UserError

SEPARATORS = ",;\t|"


def _bundled(load_set):
    """A function that gives a scikit-learn set: its features, its labels as texts, and the names of its classes."""

    def frame():
        data = load_set()
        names = [str(name) for name in getattr(data, "feature_names", [f"x{i}" for i in range(data.data.shape[1])])]
        labels = pd.Series([str(data.target_names[i]) for i in data.target], dtype="str")
        return pd.DataFrame(data.data, columns=names), labels, [str(name) for name in data.target_names]

    return frame


def xor():
    """The four rows of the exclusive or: no network without a hidden layer gets all of them right."""
    frame = pd.DataFrame({"a": [0.0, 0.0, 1.0, 1.0], "b": [0.0, 1.0, 0.0, 1.0]})
    return frame, pd.Series(["0", "1", "1", "0"], dtype="str"), ["0", "1"]


def diabetes():
    """442 patients: ten measurements, and how far their diabetes has gone a year later, a number."""
    data = datasets.load_diabetes(scaled=False)
    return pd.DataFrame(data.data, columns=data.feature_names), pd.Series(data.target, name="progression"), None


BUNDLED = {
    "breast_cancer": _bundled(datasets.load_breast_cancer),
    "digits": _bundled(datasets.load_digits),
    "diabetes": diabetes,
    "xor": xor,
}


def read_file(path, texts=()):
    """The whole frame of a CSV or Parquet file; the columns named in `texts` are read as text.

    Raises:
        UserError: a file that does not exist or cannot be read, has no rows, or has two columns of one name.
    """
    with _readable(path):
        if _is_parquet(path):
            _check_names(path, pyarrow.parquet.read_schema(path).names)
            frame = _frame_of(pyarrow.parquet.read_table(path))
        else:
            frame = _read_csv(path, _csv_arguments(path, texts))
    if frame.empty:
        raise UserError(f"{path} has no rows")
    return frame.reset_index(drop=True)


def _read_csv(path, arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.DtypeWarning)
        try:
            return pd.read_csv(path, **arguments)  # pieces of the file in parallel
        except pd.errors.DtypeWarning:  # a column has numbers in one piece, and texts in another
            return pd.read_csv(path, low_memory=False, **arguments)


def stream_file(path, texts=()):
    """Yield frames of `ROWS_AT_ONCE` rows of a file. It raises as `read_file` does."""
    with _readable(path):
        if _is_parquet(path):
            file = pyarrow.parquet.ParquetFile(path)
            _check_names(path, file.schema_arrow.names)
            frames = (_frame_of(batch) for batch in file.iter_batches(ROWS_AT_ONCE))
        else:
            file = frames = pd.read_csv(path, chunksize=ROWS_AT_ONCE, low_memory=False, **_csv_arguments(path, texts))
    with file:
        while True:
            with _readable(path):
                frame = next(frames, None)
            if frame is None:
                return
            yield frame


def _frame_of(table):
    """A frame with the columns of the file. A pandas index is one of them, if it has a name."""
    frame = table.to_pandas(ignore_metadata=True)
    return frame[[name for name in frame if not str(name).startswith("__index_level_")]]


def _is_parquet(path):
    return path.suffix.lower() in (".parquet", ".pq")


def _csv_arguments(path, texts):
    names, separator = _read_header(path)
    _check_names(path, names)
    return {
        "sep": separator,
        "skipinitialspace": True,
        "index_col": False,
        # "NA" and "None" may be names of classes; only an empty cell is a missing value
        "keep_default_na": False,
        "na_values": [""],
        "dtype": {name: "str" for name in texts if name in names},
    }


def _read_header(path):
    """The names of a CSV file's columns, and the separator: the one of `SEPARATORS` that gives the most columns."""
    best = [], ","
    for separator in SEPARATORS:
        line = pd.read_csv(path, sep=separator, header=None, nrows=1, dtype=str, skipinitialspace=True, na_filter=False)
        names = line.iloc[0].tolist()
        if len(names) > len(best[0]):
            best = names, separator
    return best


def _check_names(path, names):
    """Refuse two columns of one name; pandas would rename the second."""
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{path} has two columns {name!r}; give them different names")


@contextlib.contextmanager
def _readable(path):
    """Within this context, an error of pandas or pyarrow is a UserError that names the file."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(f"data.source: {path} {what}; give a CSV or Parquet file, or one of {', '.join(BUNDLED)}")
    kind = "Parquet" if _is_parquet(path) else "CSV"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
            yield
    except pd.errors.EmptyDataError:
        raise UserError(f"{path} is empty: it needs a header line and rows") from None
    except (pd.errors.ParserError, pd.errors.ParserWarning, UnicodeError, OSError, pyarrow.ArrowException) as error:
        raise UserError(f"{path} is not a {kind} file: {' '.join(str(error).split())}") from None
