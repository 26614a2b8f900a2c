"""The rows of a pack: in which order, which of them are the validation rows of each fold, and what is learned."""

import functools
import itertools
from dataclasses import dataclass

import numpy as np
import torch

from torchbp.estimators.held_out import spread
from torchbp.estimators.scaling import fitted_scaling
from torchbp.training.data.splitting import FEWEST_OF_CLASS
from torchbp.training.errors import UserError

FEWEST, MOST_FOLDS = 2, 10
FEWEST_ROWS = 50  # to train on: fewer say too little of which network is best
MOST_SCORED = 10_000  # validation rows by which networks are chosen, evenly among all


@dataclass
class PackRows:
    """Rows that are in the order of the folds, one after the other, and behind them those that are in no fold.

    x: `(N, features)` as in the table. y, w: as batches have them; w is None without weights. fold_sizes: of the K
    folds. task: fitted to the rows that are trained on. seed: of all that is drawn.
    """

    x: torch.Tensor
    y: torch.Tensor
    w: torch.Tensor | None
    fold_sizes: list[int]
    task: torch.nn.Module
    seed: int

    def __post_init__(self):
        self.count = len(self.x)
        self.starts = [0, *itertools.accumulate(self.fold_sizes)]
        self.array = self.x.double().numpy()
        self.weight = None if self.w is None else self.w.double().numpy()
        # a single fold has the validation rows: no network is trained on them, and no statistics are of them
        self.fitted = slice(self.fold_sizes[0], None) if len(self.fold_sizes) == 1 else slice(None)

    @property
    def fitted_weight(self):
        """The weights of the rows that are trained on, or None."""
        return None if self.weight is None else self.weight[self.fitted]

    @functools.cached_property
    def scaling(self):
        """The scaling of the features, fitted to the rows that are trained on."""
        return fitted_scaling("auto", self.array[self.fitted], self.fitted_weight)

    @property
    def target(self):
        """The target of all rows and the loss, as the engine takes them."""
        return self.task.target(self.y, self.w)

    @property
    def scored(self):
        """The places of the rows by which networks are chosen, in order."""
        rows = self.starts[-1]
        return torch.arange(0, rows, -(-rows // MOST_SCORED))

    def scored_of(self, fold):
        """Which of `scored` are in this fold, a mask; and their places."""
        scored = self.scored
        inside = (scored >= self.starts[fold]) & (scored < self.starts[fold + 1])
        return inside, scored[inside]


def pack_rows(data, task, seed):
    """The `PackRows` of a `TabularData`, whose table is then split as they are: "val" are the rows of the folds, and
    "train" those that networks are trained on.

    The training and the validation rows together are the folds, which take turns as validation rows; as many folds as
    make each of them as large as the validation split is. But where the table says which rows those are, by a file, a
    group or a time, they are the only fold. Rows of a class that is too small for the splits are in no fold, and all
    networks are trained on them.

    Raises:
        UserError: too few rows.
    """
    splits, settings = data.splits, data.settings
    train, val = splits["train"], splits["val"]
    together = torch.cat([train, val])
    if len(train) < FEWEST_ROWS or len(val) < FEWEST:
        raise UserError(
            f"{data.source} has {len(train)} training rows and {len(val)} validation rows, too few to choose among "
            f"networks: a pack needs {FEWEST_ROWS} and {FEWEST}; leave --recipe pack out"
        )
    if settings.val_source is not None or settings.group is not None or settings.time is not None:
        order, sizes, trained = torch.cat([val, train]), [len(val)], train
    else:
        folds = min(max(round(len(together) / len(val)), FEWEST), MOST_FOLDS)
        rare = _is_of_rare_class(data, together) if task.exclusive else torch.zeros_like(together, dtype=torch.bool)
        several, alone = together[~rare], together[rare]
        classes = data.table.labels[several].numpy() if task.exclusive else None
        several = several[spread(classes, len(several), np.random.RandomState(seed))]
        ends = [fold * len(several) // folds for fold in range(folds + 1)]
        sizes, order = [end - start for start, end in itertools.pairwise(ends)], torch.cat([several, alone])
        trained = order
    splits = {"train": trained, "val": order[: sum(sizes)], "test": splits["test"]}
    data.resplit(splits)
    x, y, *w = data.rows(order)
    w = w[0] if w else None
    rows = PackRows(x, y, w, sizes, task, seed)
    if w is not None and not w[rows.scored].sum() > 0:
        raise UserError(
            f"{data.source}: the weights of the validation rows ({settings.weight}) are all 0, and these rows choose "
            "the networks; name another column in data.weight"
        )
    task.fit(y[rows.fitted], None if w is None else w[rows.fitted])
    return rows


def _is_of_rare_class(data, rows):
    """Which of these rows have a class that the rows that are split have too few of for the splits."""
    labels = data.table.labels.long()
    of_source = rows if data.settings.test_source is not None else torch.cat(list(data.splits.values()))
    counts = torch.bincount(labels[of_source], minlength=len(data.classes))
    return counts[labels[rows]] < FEWEST_OF_CLASS


def weights_of(rows, places):
    """The weights of these rows in the loss, float64 `(n)`, whose sum is 1."""
    w = torch.ones(len(places), dtype=torch.double) if rows.w is None else rows.w[places].double()
    return w / w.sum()
