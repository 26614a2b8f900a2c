"""Where rows come from: scikit-learn's bundled sets, the exclusive or, or a CSV or Parquet file of the user's."""

import contextlib
import warnings

import pandas as pd
import pyarrow
import pyarrow.parquet
from sklearn import datasets

from torchbp.training.errors import UserError

ROWS_AT_ONCE = 65536  # of a file that is streamed
SEPARATORS = ",;\t|"


def bundled(load_set):
    """A frame of a scikit-learn set, and the names of its classes."""

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


BUNDLED = {"breast_cancer": bundled(datasets.load_breast_cancer), "digits": bundled(datasets.load_digits), "xor": xor}


def read_file(path, texts=()):
    """The whole frame of a CSV or Parquet file; the columns named in `texts` are read as text.

    Raises:
        UserError: a file that is not there or cannot be read, or without a row, or with two columns of one name.
    """
    with readable(path):
        if is_parquet(path):
            check_names(path, pyarrow.parquet.read_schema(path).names)
            frame = of_arrow(pyarrow.parquet.read_table(path))
        else:
            frame = read_csv(path, csv_arguments(path, texts))
    if frame.empty:
        raise UserError(f"{path} has no rows")
    return frame.reset_index(drop=True)


def read_csv(path, arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.DtypeWarning)
        try:
            return pd.read_csv(path, **arguments)  # in pieces, side by side
        except pd.errors.DtypeWarning:  # numbers in one piece, texts in another
            return pd.read_csv(path, low_memory=False, **arguments)


def stream_file(path, texts=()):
    """The frames of `ROWS_AT_ONCE` rows of a file, one after the other. It raises as `read_file` does."""
    with readable(path):
        if is_parquet(path):
            file = pyarrow.parquet.ParquetFile(path)
            check_names(path, file.schema_arrow.names)
            frames = (of_arrow(batch) for batch in file.iter_batches(ROWS_AT_ONCE))
        else:
            file = frames = pd.read_csv(path, chunksize=ROWS_AT_ONCE, low_memory=False, **csv_arguments(path, texts))
    with file:
        while True:
            with readable(path):
                frame = next(frames, None)
            if frame is None:
                return
            yield frame


def of_arrow(table):
    """A frame whose columns are those of the file: pandas's index too, if it has a name."""
    frame = table.to_pandas(ignore_metadata=True)
    return frame[[name for name in frame if not str(name).startswith("__index_level_")]]


def is_parquet(path):
    return path.suffix.lower() in (".parquet", ".pq")


def csv_arguments(path, texts):
    names, separator = read_header(path)
    check_names(path, names)
    return {
        "sep": separator,
        "skipinitialspace": True,
        "index_col": False,
        # "NA" and "None" may be names of classes; only nothing is a missing value
        "keep_default_na": False,
        "na_values": [""],
        "dtype": {name: "str" for name in texts if name in names},
    }


def read_header(path):
    """The names of a CSV file's columns, and what separates them: of `SEPARATORS`, what makes the most columns."""
    best = [], ","
    for separator in SEPARATORS:
        line = pd.read_csv(path, sep=separator, header=None, nrows=1, dtype=str, skipinitialspace=True, na_filter=False)
        names = line.iloc[0].tolist()
        if len(names) > len(best[0]):
            best = names, separator
    return best


def check_names(path, names):
    """pandas would rename the second of two columns of one name."""
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{path} has two columns {name!r}; give each a name of its own")


@contextlib.contextmanager
def readable(path):
    """Within it, an error of pandas or pyarrow is a UserError that names the file."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(f"data.source: {path} {what}; give a CSV or Parquet file, or one of {', '.join(BUNDLED)}")
    kind = "Parquet" if is_parquet(path) else "CSV"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
            yield
    except pd.errors.EmptyDataError:
        raise UserError(f"{path} is empty: it needs a header line and rows") from None
    except (pd.errors.ParserError, pd.errors.ParserWarning, UnicodeError, OSError, pyarrow.ArrowException) as error:
        raise UserError(f"{path} is not a {kind} file: {' '.join(str(error).split())}") from None
