"""Where rows come from: scikit-learn's bundled sets, the exclusive or, or a CSV file. Splits are made elsewhere."""

import csv
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn import datasets

from torchbp.training.errors import SettingError, UserError


@dataclass(frozen=True)
class Table:
    """Rows with their labels.

    features: float32, shape (N, features), as they are in the source, unscaled.
    labels: int64, shape (N,), indices into `classes`; with two classes, 1 is the positive one.
    """

    features: torch.Tensor
    labels: torch.Tensor
    feature_names: list[str]
    classes: list[str]


def load(source, target=None):
    """The table of a bundled set or, for anything else, of the CSV file of that path.

    Raises:
        SettingError: a CSV file without `target`, or a bundled set with it.
        UserError: a file that cannot be read or used, with the row and the column where one is to blame.
    """
    if source in BUNDLED:
        if target is not None:
            raise SettingError(f"data.target={target!r}: {source} has its own labels; leave target out")
        return BUNDLED[source]()
    if not source:
        raise SettingError(f"data.source is empty; give a CSV file or one of {', '.join(BUNDLED)}")
    return read_csv(Path(source), target)


def bundled(load_set):
    def table():
        data = load_set()
        names = getattr(data, "feature_names", [f"x{i}" for i in range(data.data.shape[1])])
        return Table(
            torch.tensor(data.data, dtype=torch.float32),
            torch.tensor(data.target, dtype=torch.int64),
            [str(name) for name in names],
            [str(name) for name in data.target_names],
        )

    return table


def xor():
    """The four rows of the exclusive or: no network without a hidden layer gets all of them right."""
    features = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    return Table(features, torch.tensor([0, 1, 1, 0]), ["a", "b"], ["0", "1"])


BUNDLED = {"breast_cancer": bundled(datasets.load_breast_cancer), "digits": bundled(datasets.load_digits), "xor": xor}


def read_csv(path, target):
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(f"data.source: {path} {what}; give a CSV file or one of {', '.join(BUNDLED)}")
    if target is None:
        raise SettingError(f"data.target is missing: name the column of {path} that holds the labels")
    try:
        check_header(path)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
            # "NA" and "None" may be names of classes; only nothing is a missing value
            frame = pd.read_csv(path, skipinitialspace=True, index_col=False, keep_default_na=False, na_values=[""])
    except pd.errors.EmptyDataError:
        raise UserError(f"{path} is empty: it needs a header line and rows") from None
    except (pd.errors.ParserError, pd.errors.ParserWarning, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path} is not a CSV file: {' '.join(str(error).split())}") from None
    if frame.empty:
        raise UserError(f"{path} has a header and no rows")
    if target not in frame:
        raise UserError(f"{path} has no column {target!r} (data.target); it has {', '.join(map(str, frame.columns))}")
    labels, classes = read_labels(path, frame.pop(target))
    if frame.columns.empty:
        raise UserError(f"{path} has no feature: its only column is the target {target!r}")
    features = np.column_stack([read_feature(path, frame[name]) for name in frame])
    return Table(torch.from_numpy(features), labels, [str(name) for name in frame], classes)


def check_header(path):
    """pandas would rename the second of two columns of one name."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        names = next(csv.reader(file, skipinitialspace=True), [])
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{path} has two columns {name!r}; give each a name of its own")


def read_labels(path, column):
    if column.isna().any():
        raise UserError(f"{path} has no label in {place(column, column.isna())}")
    codes, classes = pd.factorize(column, sort=True)
    if len(classes) != 2:
        some = ", ".join(map(repr, classes[:5].tolist())) + (", …" if len(classes) > 5 else "")
        raise UserError(f"{path}: the target {column.name!r} must have two classes; it has {len(classes)}: {some}")
    return torch.from_numpy(codes.astype(np.int64)), [str(name) for name in classes]


def read_feature(path, column):
    exact = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    bad = ~(np.abs(exact) <= np.finfo(np.float32).max)  # nan is not less
    if bad.any():
        value = column[bad].iloc[0]
        what = "is blank" if pd.isna(value) else f"is {str(value)!r}"
        raise UserError(f"{path}: {place(column, bad)} {what}; a feature must be a finite float32 in every row")
    if 0 < np.ptp(exact) < 1e-5 * np.abs(exact).max():
        raise UserError(
            f"{path}: column {str(column.name)!r} differs only in digits that float32 does not hold; subtract its mean"
        )
    return exact.astype(np.float32)


def place(column, where):
    row = int(np.argmax(np.asarray(where)))
    return f"row {row + 1} under the header, column {str(column.name)!r}"
