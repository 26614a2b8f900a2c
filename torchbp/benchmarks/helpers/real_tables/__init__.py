"""Real tables for `torchbp bench tables`: what is predicted of each, and numbers of its columns for all models."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn import datasets
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import LabelEncoder, OneHotEncoder

CLASSES, NUMBER = "classes", "a number"
TEST_FRACTION = 0.2


class Target(NamedTuple):
    """What is predicted of a table.

    column: the name, or the place, of the target's column. kind: CLASSES or NUMBER. left_out: columns that are no
    features: an index, a name, or what is known only where the target is. categories: whether all columns are
    categories, as numbers that are codes. header: whether the file's first line has the names.
    """

    column: str | int
    kind: str
    left_out: tuple[str | int, ...] = ()
    categories: bool = False
    header: bool = True


TARGETS = {
    "Fair": Target("nbaffairs", NUMBER, ("Unnamed: 0",)),
    "Mroz": Target("work", CLASSES, ("Unnamed: 0", "hoursw", "hearnw", "wagew")),  # who does not work has 0 of these
    "PimaIndiansDiabetes2": Target("diabetes", CLASSES),
    "Soybean": Target("Class", CLASSES, categories=True),
    "Vowel": Target("Class", CLASSES, ("V1",)),  # the speaker
    "Zoo": Target("type", CLASSES),
    "autompg": Target(8, NUMBER, (7,), header=False),  # column 7 is the car's name
    "car_prices": Target("Price", NUMBER),
    "credit_data": Target("Status", CLASSES),
    "diamonds": Target("price", NUMBER, ("Unnamed: 0",)),
    "hpc_data": Target("class", CLASSES),
    "penguins": Target("species", CLASSES),
    "spam": Target("type", CLASSES),
    "titanic": Target("survived", CLASSES, ("Unnamed: 0",)),
    "wa_churn": Target("churn", CLASSES),
}
OF_SKLEARN = {
    "breast_cancer": (datasets.load_breast_cancer, CLASSES),
    "diabetes": (datasets.load_diabetes, NUMBER),
    "digits": (datasets.load_digits, CLASSES),
    "iris": (datasets.load_iris, CLASSES),
    "wine": (datasets.load_wine, CLASSES),
}


class RealTable(NamedTuple):
    """The features; the target, numbers or classes; and which of the two, CLASSES or NUMBER."""

    features: pd.DataFrame
    y: pd.Series
    kind: str


class Split(NamedTuple):
    """The numbers of the training and test rows, float64 (N, F), and their targets."""

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def table_files(folder: Path) -> dict[str, Path]:
    """The files of this folder that TARGETS knows, by their names.

    Raises:
        FileNotFoundError: there is none.
    """
    found = {name: path for name in TARGETS for path in sorted(folder.glob(f"{name}.csv*"))[:1]}
    if not found:
        raise FileNotFoundError(f"{folder} has none of the tables {', '.join(TARGETS)}, as NAME.csv or NAME.csv.gz")
    return found


def read_table(name: str, file: Path | None = None) -> RealTable:
    """The table of this name: of the file, or one of scikit-learn's where there is no file."""
    if file is None:
        load, kind = OF_SKLEARN[name]
        return RealTable(*load(return_X_y=True, as_frame=True), kind)
    target = TARGETS[name]
    frame = pd.read_csv(file, header=0 if target.header else None).dropna(subset=[target.column])
    features = frame.drop(columns=[target.column, *target.left_out])
    features.columns = features.columns.map(str)
    if target.categories:
        features = features.astype(object)
    return RealTable(features, frame[target.column], target.kind)


def split(table: RealTable, seed: int, most_rows: int | None = None) -> Split:
    """Training and test rows, a fifth of them, and the numbers of their columns.

    A blank of a number is the median of the training rows, with a column of its own that says where it was; a category
    is one-hot, a blank one and one that no training row has is 0 everywhere. A class with a single row is left out,
    since it cannot be in both.
    """
    x, y = table.features, pd.Series(table.y)
    if table.kind == CLASSES:
        several = y.groupby(y).transform("size") > 1
        x, y = x[several], y[several]
        y = pd.Series(LabelEncoder().fit_transform(y), index=y.index)
    stratify = y if table.kind == CLASSES else None
    if most_rows is not None and len(x) > most_rows:
        x, _, y, _ = train_test_split(x, y, train_size=most_rows, random_state=seed, stratify=stratify)
        stratify = y if table.kind == CLASSES else None
    x, x_test, y, y_test = train_test_split(x, y, test_size=TEST_FRACTION, random_state=seed, stratify=stratify)
    texts = x.columns[[not pd.api.types.is_numeric_dtype(of) for of in x.dtypes]]
    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), texts),
        remainder=SimpleImputer(strategy="median", add_indicator=True),
    )
    x, x_test = encode.fit_transform(x), encode.transform(x_test)
    return Split(x.astype(float), y.to_numpy(), x_test.astype(float), y_test.to_numpy())
