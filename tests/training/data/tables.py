"""Small tables, and what `find_columns` and `encode` make of one column."""

import numpy as np
import pandas as pd

from torchbp.training.data.columns import encode, find_columns


def table(rows=60, seed=0):
    """60 patients: a number, two categories, free text, an id, a label of text, two labels of 0 and 1."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "key": [f"{i:03d}" for i in range(rows)],
            "height": rng.normal(170, 10, rows).round(3),
            "colour": rng.choice(["red", "blue", "green"], rows),
            "code": rng.choice([10, 20, 30], rows),
            "note": [f"free text {i}" for i in range(rows)],
        }
    )
    frame["ill"] = np.where((frame.height > 170) ^ (frame.colour == "red"), "yes", "no")
    frame["fever"] = (frame.height > 175).astype(int)
    frame["cough"] = (frame.colour == "blue").astype(int)
    return frame


def kind_of(values, name="a", **settings):
    return find_columns(pd.DataFrame({name: values}), **settings)[name]


def features_of(values, new=None, **settings):
    """The features of a column, (N, F): of the values that it was found by, or of new ones."""
    columns = find_columns(pd.DataFrame({"a": values}), **settings)
    return encode(pd.DataFrame({"a": values if new is None else new}), columns)
