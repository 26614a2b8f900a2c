"""The tables that come with torchbp: three of scikit-learn's, and the exclusive or."""

import pandas as pd
from sklearn import datasets


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
