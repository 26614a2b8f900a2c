"""The split of a table's rows into training, validation and test rows."""

import warnings

import numpy as np
import torch
from sklearn.model_selection import GroupKFold, GroupShuffleSplit, KFold, StratifiedKFold, train_test_split

from torchbp.training.errors import UserError

SPLITS = ("train", "val", "test")
FEWEST_OF_CLASS = 3  # rows, one for each split


class Splitting:
    """Draws the splits of N rows, seeded: class by class, group by group, or by time.

    Args:
        path: the name of the table in messages.
        seed: of the draws.
        strata: the class of each row, int64 `(N,)`, or None.
        groups: the group of each row, `(N,)`; the rows of one are all in one split.
        times: the time of each row, `(N,)`; validation rows are later than training rows, and test rows later still.
    """

    def __init__(self, path, seed, strata=None, groups=None, times=None):
        self.path, self.seed, self.strata, self.groups, self.times = path, seed, strata, groups, times
        self.notes = []

    def splits(self, rows, val, test, folds=None, fold=1, names=()):
        """{"train", "val", "test": indices}: `val` and `test` are shares of the rows, `test` may be 0.

        folds, fold: the test rows are the part `fold` (from 1) of `folds` parts of the rows, instead of a share.

        Raises:
            UserError: too few rows, classes or groups.
        """
        alone = self._rare_rows(rows, names)
        rest = rows[~torch.isin(rows, alone)] if len(alone) else rows
        try:
            if folds:
                rest, test_rows = self._fold(rest, folds, fold)
                val = min(val * len(rows) / max(len(rest), 1), 0.5)
            elif test:
                rest, test_rows = self._draw(rest, test)
                val = val / (1 - test)
            else:
                test_rows = rows[:0]
            train, val_rows = self._draw(rest, val) if val else (rest, rows[:0])
        except ValueError:
            count = len(rows) if self.groups is None else len(np.unique(self.groups))
            what = f"{count} {'row' if self.groups is None else 'group'}{'s' * (count != 1)}"
            adds = "rows" if self.groups is None else "rows of other groups"
            settings = "data.folds" if folds else "data.val_fraction or data.test_fraction"
            raise UserError(
                f"{self.path} has too few rows to split: {what}; add {adds}, or change {settings}"
            ) from None
        return {"train": torch.cat([train, alone]) if len(alone) else train, "val": val_rows, "test": test_rows}

    def _rare_rows(self, rows, names):
        """The rows of classes with fewer than three: training rows, since three splits cannot have one each."""
        if self.strata is None or self.groups is not None or self.times is not None:
            return rows[:0]
        counts = torch.bincount(self.strata[rows], minlength=len(names))
        rare = (counts > 0) & (counts < FEWEST_OF_CLASS)
        for code in rare.nonzero().flatten().tolist():
            count = int(counts[code])
            self.notes.append(
                f"class {names[code]!r} has {count} row{'s' * (count > 1)}, too few for three splits: used for training"
            )
        return rows[rare[self.strata[rows]]]

    def _draw(self, rows, share):
        if self.times is not None:
            return self._later(rows, share)
        if self.groups is not None:
            groups = self.groups[rows.numpy()]
            split = GroupShuffleSplit(n_splits=1, test_size=share, random_state=self.seed)
            return tuple(rows[torch.from_numpy(part)] for part in next(split.split(rows, groups=groups)))
        stratify = None if self.strata is None else self.strata[rows]
        if stratify is not None and not self._has_room(stratify, share):
            stratify = None
            note = f"{self.path}: too few rows to split class by class; the rows were drawn without regard to the class"
            self.notes += [note] if note not in self.notes else []
        return train_test_split(rows, test_size=share, random_state=self.seed, stratify=stratify)

    @staticmethod
    def _has_room(strata, share):
        """Whether both parts can have a row of each class."""
        counts = torch.bincount(strata)
        counts = counts[counts > 0]
        test = int(np.ceil(share * len(strata)))
        return not len(counts) or (counts.min() >= 2 and len(counts) <= min(test, len(strata) - test))

    def _later(self, rows, share):
        times = self.times[rows.numpy()]
        first = np.sort(times)[len(times) - max(1, round(share * len(times)))]  # rows of one time stay together
        later = torch.from_numpy(times >= first)
        if later.all():
            raise ValueError("too few different times")
        return rows[~later], rows[later]

    def _fold(self, rows, folds, fold):
        if self.groups is not None:
            split = GroupKFold(folds, shuffle=True, random_state=self.seed)
        elif self.strata is not None:
            split = StratifiedKFold(folds, shuffle=True, random_state=self.seed)
        else:
            split = KFold(folds, shuffle=True, random_state=self.seed)
        groups = None if self.groups is None else self.groups[rows.numpy()]
        strata = None if self.strata is None else self.strata[rows]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a class has fewer rows than there are folds
            parts = list(split.split(rows, strata, groups))
        return tuple(rows[torch.from_numpy(part)] for part in parts[fold - 1])
