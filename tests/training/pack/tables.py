"""Small tables of each task, in files."""

from pathlib import Path

import numpy as np
import pandas as pd

ROWS = 120
RUN = Path("runs/run/version_0")
OF_ROWS = ["--data.source", "t.csv", "--data.ignore", "[group, weight]"]
QUICK = ["--recipe", "pack", "--trainer.max_epochs", "4", "--trainer.accelerator", "cpu"]


def write_table(path, task="binary", rows=ROWS, seed=0):
    """A table with a category and missing values. Returns the names of its targets."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 3))
    frame = pd.DataFrame(x, columns=["a", "b", "c"])
    frame["colour"] = random.choice(["red", "green", "blue"], rows)
    value = 2 * x[:, 0] - x[:, 1] + (frame["colour"] == "red") + random.normal(size=rows) / 2
    frame.loc[::9, "b"] = np.nan
    frame["group"] = [f"g{i // 4}" for i in range(rows)]
    frame["weight"] = random.integers(1, 4, rows)
    targets = {
        "binary": {"t": np.where(value > 0, "yes", "no")},
        "multiclass": {"t": np.array(["low", "middle", "high"])[np.digitize(value, [-1, 1])]},
        "multilabel": {"t": (value > 0).astype(int), "u": (x[:, 2] > 0).astype(int)},
        "regression": {"t": value * 100 + 3, "u": x[:, 2] / 7},
    }[task]
    frame.assign(**targets).to_csv(path, index=False)
    return list(targets)
