"""Columns that are no features: what they say of each row, its split and its weight."""

import numpy as np
import pandas as pd
import torch

from torchbp.training.data.columns import encode, find_columns, numbers
from torchbp.training.data.columns.encoding import place
from torchbp.training.data.splitting import Splitting
from torchbp.training.errors import UserError


def row_splits(rows, target, settings):
    """The splits, indices of labelled rows; and notes."""
    labelled, frame = target.labelled, rows.frame

    def of(split):
        indices = rows.rows_of(split)
        return torch.from_numpy(indices[labelled[indices]])

    strata = torch.from_numpy(target.labels) if target.task in ("binary", "multiclass") else None
    groups = None if settings.group is None else pd.factorize(frame[settings.group].astype("string"))[0]
    if groups is not None and (groups < 0).any():
        raise UserError(f"{rows.name}: {place(settings.group, groups < 0)} is blank; each row needs a group")
    splitting = Splitting(rows.name, settings.seed, strata, groups, _times(frame, settings, rows.name))
    val = 0 if settings.val_source is not None else settings.val_fraction
    test = 0 if settings.test_source is not None else settings.test_fraction
    splits = {"train": of(None)[:0], "val": of("val"), "test": of("test")}
    if len(of(None)):
        drawn = splitting.splits(of(None), val, test, settings.folds, settings.fold, target.classes)
        splits = {name: torch.cat([rows, splits[name]]) if len(splits[name]) else rows for name, rows in drawn.items()}
    return splits, splitting.notes


def _times(frame, settings, path):
    """The column of time as numbers that can be compared, float64 `(N,)`."""
    name = settings.time
    if name is None:
        return None
    kind = find_columns(frame[[name]], path=path, na_values=settings.na_values, decimal=settings.decimal)[name]
    if kind["kind"] not in ("date", "number"):
        raise UserError(f"{path}: column {name!r} (data.time) holds neither dates nor numbers; name another column")
    times = encode(frame[[name]], {name: kind | {"missing": "refuse"}}, path)[:, 0]
    if kind["kind"] == "number":  # float32 could join neighbours
        times = numbers.read_numbers(frame[name], kind.get("decimal", "."))[0]
    return times.astype(np.float64)


def row_weights(frame, settings, path):
    """The column of weights, float32 `(N,)`, or None."""
    name = settings.weight
    if name is None:
        return None
    sign = settings.decimal or numbers.decimal_sign(frame[name])[0]
    values, missing = numbers.read_numbers(frame[name], sign, settings.na_values)
    bad = missing | ~(values >= 0) | ~np.isfinite(values.astype(np.float32))
    if bad.any():
        value = "blank" if missing[bad.argmax()] else frame[name][bad].iloc[0]
        raise UserError(f"{path}: {place(name, bad)} is {value}; a weight (data.weight) must be a number ≥ 0")
    if not values.sum():
        raise UserError(f"{path}: all weights in {name!r} are 0")
    return torch.from_numpy(values.astype(np.float32))
