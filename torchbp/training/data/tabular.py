"""Tabular data for training: a seeded, stratified split of rows held in memory, and the batches of each process."""

import functools

import pytorch_lightning as pl
import torch
from sklearn.model_selection import train_test_split
from torch.nn.functional import one_hot

from torchbp.training.data.batches import Batches, Loader
from torchbp.training.data.fingerprint import difference, fingerprint
from torchbp.training.data.table import load
from torchbp.training.errors import SettingError, UserError

ROWS_AT_ONCE = 8192  # of a pass over a whole split: bounds its memory
MOST_AT_ONCE = 64  # batches, after which an interruption is heard


class TabularData(pl.LightningDataModule):
    """Rows with a label each, split into training, validation and test rows.

    A batch is `(x, y)`: x float32 `(N, in_features)`, y float32 `(N, outputs)` of zeros and ones. There is one
    output for two classes, P(the second class), and otherwise one per class, each against the rest.
    Features stay as they are; the classifier scales them.

    Args:
        source: `breast_cancer`, `digits` or `xor`, or the path of a CSV file with a header line or of a Parquet file.
        target: the label column of a file, of any type; or a list of columns of zeros and ones, one output each.
        id: a column that names the rows; it is no feature, and `predict` copies it.
        ignore: columns that are no features. All others are: numbers as they are, texts one 0/1 feature per category.
            What only names the rows is left out; `table.notes` says so.
        categorical: columns of numbers that are categories.
        missing: "refuse" a file with missing features, or put the "mean" of the training rows in their place. Missing
            are empty cells and, in a column of numbers, the spellings of `columns.MISSING`, such as NA or ?.
        max_categories: the most categories that a column may have.
        batch_size: rows per step of gradient descent, of each process.
        val_fraction, test_fraction: shares of all rows, drawn class by class (of several targets: at random); the
            rest is the training split. `xor` has four rows, which are all three splits.
        seed: of the split.
        batches_at_once: how many batches go through a step of Lightning's loop together, for `engine: explicit`, which
            makes a step of descent with each: the steps and their order are the same. Callbacks see them as one batch.
            null: as many as have 8192 rows, and at most 64; 1 for autograd.

    Raises:
        SettingError, UserError: an argument or a file that cannot be used.
    """

    def __init__(
        self,
        source: str,
        target: list[str] | str | None = None,
        id: str | None = None,
        ignore: list[str] = [],  # noqa: B006  (the command line shows it as the default)
        categorical: list[str] = [],  # noqa: B006
        missing: str = "refuse",
        max_categories: int = 100,
        batch_size: int = 32,
        val_fraction: float = 0.2,
        test_fraction: float = 0.2,
        seed: int = 0,
        batches_at_once: int | None = None,
    ):
        super().__init__()
        # in the checkpoint: they say which rows it was trained on
        self.save_hyperparameters(ignore=["batch_size", "batches_at_once"])
        self.hparams.pop("_instantiator", None)  # Lightning's: what to call in order to make this object
        if missing not in ("refuse", "mean"):
            raise SettingError(f"data.missing={missing!r} must be refuse or mean")
        counts = {"batch_size": batch_size, "max_categories": max_categories, "batches_at_once": batches_at_once}
        for name, value in counts.items():
            if value is not None and value < 1:
                raise SettingError(f"data.{name}={value} must be at least 1")
        for name, fraction in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
            if not 0 < fraction < 1:
                raise SettingError(f"data.{name}={fraction} must lie between 0 and 1")
        if not 0 <= seed < 2**32:
            raise SettingError(f"data.seed={seed} must lie between 0 and 2³² − 1")
        if val_fraction + test_fraction >= 1:
            raise SettingError(
                f"data.val_fraction={val_fraction} and data.test_fraction={test_fraction} leave no row to train on"
            )
        self.source = source
        self.batch_size, self.batches_at_once = batch_size, batches_at_once
        self.table = load(
            source,
            target,
            id=id,
            ignore=ignore,
            categorical=categorical,
            missing=missing,
            max_categories=max_categories,
        )
        self.held = {}  # x and y of the splits that were asked for
        self.splits = self.split(val_fraction, test_fraction, seed)
        self.order = None

    @property
    def in_features(self):
        return self.table.features.shape[1]

    @property
    def columns(self):
        return self.table.columns

    @property
    def classes(self):
        return self.table.classes

    @property
    def multilabel(self):
        return self.table.labels.ndim == 2

    @property
    def missing(self):
        return self.hparams.missing

    def split(self, val_fraction, test_fraction, seed):
        rows = torch.arange(len(self.table.labels))
        if self.source == "xor":
            return {"train": rows, "val": rows, "test": rows}
        if not self.multilabel:
            counts = torch.bincount(self.table.labels, minlength=len(self.classes))
            if counts.min() < 3:
                raise UserError(
                    f"{self.source} has too few rows of the class {self.classes[counts.argmin()]!r}, {counts.min()}; "
                    "each of the three splits needs one: leave the class out, or add rows of it"
                )
        try:
            rest, test = self.draw(rows, test_fraction, seed)
            train, val = self.draw(rest, val_fraction / (1 - test_fraction), seed)
        except ValueError as error:  # scikit-learn's words say which split would be too small
            raise UserError(
                f"{self.source} has too few rows to split ({error}); add rows, or raise data.val_fraction or "
                "data.test_fraction, so that each split has a row of each class"
            ) from None
        return {"train": train, "val": val, "test": test}

    def draw(self, rows, fraction, seed):
        labels = None if self.multilabel else self.table.labels[rows]
        return train_test_split(rows, test_size=fraction, random_state=seed, stratify=labels)

    def rows(self, split):
        """x and y of a whole split, "train", "val" or "test", or of a tensor of indices of rows."""
        if isinstance(split, str):  # kept: the loader, the scaling and the stopping rule share one copy
            if split not in self.held:
                self.held[split] = self.rows(self.splits[split])
            return self.held[split]
        labels = self.table.labels[split]
        if not self.multilabel:
            labels = labels.unsqueeze(1) if len(self.classes) == 2 else one_hot(labels, len(self.classes))
        return self.table.features[split], labels.float()

    def setup(self, stage):
        if stage == "fit":  # by the seed of the run, the same in every process; a checkpoint brings its own
            generator = torch.Generator().manual_seed(torch.initial_seed())
            self.order = self.trainer.strategy.broadcast(torch.randint(2**62, (), generator=generator).item())

    def state_dict(self):
        at_once = self.batches_in_a_step(self.trainer.lightning_module.hparams.engine)
        steps = {"rows_of_a_step": self.rows_of_a_step(self.trainer), "batches_at_once": at_once}
        return {"order": self.order, **steps, "fingerprint": self.fingerprint}

    @functools.cached_property
    def fingerprint(self):
        """Of the rows and their split: a checkpoint keeps it."""
        return fingerprint(self.table.features, self.table.labels, self.splits)

    def check_rows(self, state_dict):
        """Compare the rows and their split with those of a checkpoint's `state_dict`.

        Returns False where it does not say which they were: older versions of torchbp kept no fingerprint.

        Raises:
            UserError: other rows or labels, another order or another split.
        """
        had = state_dict.get("fingerprint")
        if had is None:
            return False
        if not isinstance(had, dict) or any(type(had.get(key)) is not type(of) for key, of in self.fingerprint.items()):
            raise UserError("the checkpoint's fingerprint of its rows is damaged; train anew")
        if had != self.fingerprint:
            what = difference(had, self.fingerprint, self.table.features, self.table.labels)
            raise UserError(
                f"{self.source} does not hold the rows of this network's training as they were: {what}. Rows that it "
                "was trained on may be among the test rows now; give the data as it was, or train a new network"
            )
        return True

    def rows_of_a_step(self, trainer):
        """Of all processes."""
        return self.batch_size * trainer.world_size

    def batches_in_a_step(self, engine):
        """Batches that go through a step of Lightning's loop together."""
        if self.batches_at_once is None and engine == "explicit":
            return max(1, min(MOST_AT_ONCE, ROWS_AT_ONCE // self.batch_size))
        return self.batches_at_once or 1

    def load_state_dict(self, state_dict):
        self.check_rows(state_dict)
        order = state_dict["order"]
        if not (order is None or isinstance(order, int)):
            raise UserError("the checkpoint's order of its rows is damaged; train anew")
        self.order = order

    def loader(self, split, order=None):
        x, y = self.rows(split)
        process = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        module = self.trainer and self.trainer.lightning_module
        members = getattr(module, "members", None) or 1
        size, at_once = max(self.batch_size, ROWS_AT_ONCE // members), 1
        if split == "train":
            size, at_once = self.batch_size, self.batches_in_a_step(module.hparams.get("engine") if module else None)
        pinned = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return Loader(x, y, Batches(len(x), size, *process, order, at_once), pinned)

    def train_dataloader(self):
        return self.loader("train", self.order)

    def val_dataloader(self):
        return self.loader("val")

    def test_dataloader(self):
        return self.loader("test")
