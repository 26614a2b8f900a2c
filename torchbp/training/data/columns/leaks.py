"""Columns that tell the target almost alone: often they are known only after it is, and no new row has them."""

import warnings

import numpy as np
import torch
import yaml

from torchbp.printing import quoted
from torchbp.training.data.columns.encoding import feature_names

MOST_ROWS, MOST_TREES = 2000, 200
FEWEST = 20  # rows beside the largest class, or of a regression, in each half
LEAVES = 64
ALMOST = 0.99  # of the errors of one answer for all rows, or of their variance
OF_SHELL = '"$`!\\'  # characters that a shell reads in double quotes


def leak_notes(features, labels, columns, targets, rows, ignored=()):
    """A sentence for each target that some columns tell almost alone.

    Half of the rows grow a tree of one column, and the other half tells how much it knows. Tables with very many
    columns are left out.

    Args:
        features, labels: tensors `(N, F)` and `(N)` of classes or `(N, T)`. columns: the `Columns` of the features.
        targets: the names of the targets. rows: the indices of the training rows. ignored: columns that are left out
            already, by data.ignore, which the advice repeats.
    """
    labels = labels[:, None] if labels.ndim == 1 else labels
    if len(columns) * labels.shape[1] > MOST_TREES:
        return []
    drawn = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:MOST_ROWS]
    x, y = features[rows[drawn]].numpy(), labels[rows[drawn]].numpy()
    notes, of_column = [], _features_of_columns(columns)
    for target, values in zip(targets, y.T, strict=True):
        telling = [name for name, where in of_column.items() if share_told(x[:, where], values) >= ALMOST]
        if telling:
            names, advice = ", ".join(telling), as_list([*ignored, *telling])
            notes.append(
                f"{names} alone tell{'s' * (len(telling) == 1)} {target!r} nearly without error: if it is not known "
                f"before {target!r} is, add --data.ignore {advice}"
            )
    return notes


def as_list(names):
    """The names as a word of a shell's command line."""
    text = yaml.safe_dump(names, default_flow_style=True, allow_unicode=True, width=float("inf")).strip()
    return quoted(text) if set(text) & set(OF_SHELL) else f'"{text}"'


def _features_of_columns(columns):
    """{name: slice of its features}."""
    places, at = {}, 0
    for name, column in columns.items():
        width = len(feature_names({name: column}))
        places[name] = slice(at, at + width)
        at += width
    return places


def share_told(x, y):
    """How much of y, classes or real numbers, a tree of x tells: of the errors of one answer for all rows the share
    that it avoids, or of the variance the share that it explains; 0 where there are too few rows to say."""
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    half = len(y) // 2
    if np.issubdtype(y.dtype, np.floating):
        errors = half * (y[half:].std() > 0) if half else 0
        tree = DecisionTreeRegressor
    else:
        errors = min(len(part) - np.bincount(part).max(initial=0) for part in (y[:half], y[half:]))
        tree = DecisionTreeClassifier
    if errors < FEWEST:
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that so many classes may be a regression
        score = tree(max_leaf_nodes=LEAVES, random_state=0).fit(x[:half], y[:half]).score(x[half:], y[half:])
    return score if tree is DecisionTreeRegressor else 1 - (1 - score) * (len(y) - half) / errors
