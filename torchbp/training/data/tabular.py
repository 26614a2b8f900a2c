"""A table in memory for training: its split into training, validation and test rows, and their batches."""

import functools

import pytorch_lightning as pl
import torch

from torchbp.training.data.batches import MOST_BATCHES_AT_ONCE, ROWS_AT_ONCE, Batches, Loader
from torchbp.training.data.columns import Columns
from torchbp.training.data.fingerprint import check_fingerprint, fingerprint
from torchbp.training.data.splitting import split_rows
from torchbp.training.data.table import load_table
from torchbp.training.errors import SettingError, UserError


class TabularData(pl.LightningDataModule):
    """Rows with a label each, split into training, validation and test rows.

    A batch is `(x, y)`: x float32 `(N, in_features)`. Of two classes y is float32 `(N, 1)`, 1 for the second; of
    several int64 `(N)`, the index of the class; of independent labels float32 `(N, L)` of zeros and ones; of numbers to
    predict float32 `(N, T)`. Features are not scaled here; the network scales them.

    Args:
        source: `breast_cancer`, `digits` or `xor`, or the path of a CSV file with a header line or of a Parquet file.
        target: the label column of a file, of any type; or a list of columns of zeros and ones, one output each.
        id: a column that names the rows. It is not a feature, and `predict` copies it.
        ignore: columns that are not features. All others are: numbers as they are, texts one 0/1 feature per category.
            A column that only names the rows is left out; `table.notes` says so.
        categorical: columns of numbers that are categories.
        missing: "refuse" a file with missing features, or replace them by the "mean" of the training rows. A feature is
            missing in an empty cell and, in a column of numbers, where a spelling such as NA or ? stands.
        max_categories: the most categories that a column may have.
        batch_size: rows per step of gradient descent, of each process.
        val_fraction: share of the rows for validation. It is drawn class by class, with several targets at random;
            `xor` has four rows, and each split has them all.
        test_fraction: share of the rows for the test. They are drawn in the same way; the rest is the training split.
        seed: seed of the split.
        batches_at_once: how many batches share one step of Lightning's loop, with `engine: explicit`. It makes a step
            of gradient descent with each batch, in the same order as otherwise. Callbacks see them as one batch.
            null: as many as have 8192 rows, and at most 64; 1 for autograd.

    Raises:
        SettingError, UserError: an argument or a file that cannot be used.

    Example:
        >>> data = torchbp.training.TabularData("breast_cancer", batch_size=64)
        >>> x, y = data.rows("train")
        >>> x.shape, y.shape  # (341, 30), (341, 1)
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
        # A checkpoint has the settings that say which rows the network was trained on.
        self.save_hyperparameters(ignore=["batch_size", "batches_at_once"])
        self.hparams.pop("_instantiator", None)  # Lightning's: what to call in order to make this object
        self.source, self.batch_size, self.batches_at_once = source, batch_size, batches_at_once
        _check_settings({**self.hparams, "batch_size": batch_size, "batches_at_once": batches_at_once})
        features = {"id": id, "ignore": ignore, "categorical": categorical}
        self.table = load_table(source, target, **features, missing=missing, max_categories=max_categories)
        self.splits = split_rows(source, self.table, val_fraction, test_fraction, seed)
        self._rows = {}  # x and y of the splits that were asked for
        self.order = None  # the seed of the order of the training rows

    @property
    def in_features(self) -> int:
        return self.table.features.shape[1]

    @property
    def columns(self) -> Columns:
        return self.table.columns

    @property
    def classes(self) -> list[str]:
        return self.table.classes

    @property
    def task(self) -> str:
        if self.table.labels.is_floating_point():
            return "regression"
        if self.table.labels.ndim == 2:
            return "multilabel"
        return "binary" if len(self.classes) == 2 else "multiclass"

    def rows(self, split: str | torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """x and y of a whole split, "train", "val" or "test", or of a tensor of indices of rows."""
        if isinstance(split, str):  # kept: the loader, the scaling and the stopping rule share one copy
            if split not in self._rows:
                self._rows[split] = self.rows(self.splits[split])
            return self._rows[split]
        x, y = self.table.features[split], self.table.labels[split]
        if self.task == "multiclass":
            return x, y
        return x, (y.unsqueeze(1) if y.dim() == 1 else y).float()

    def setup(self, stage):
        if stage == "fit":  # from the run's seed, and the same in every process; a checkpoint replaces it
            generator = torch.Generator().manual_seed(torch.initial_seed())
            self.order = self.trainer.strategy.broadcast(torch.randint(2**62, (), generator=generator).item())

    def state_dict(self):
        at_once = self.batches_in_a_step(self.trainer.lightning_module.hparams.engine)
        steps = {"rows_of_a_step": self.rows_of_a_step(self.trainer), "batches_at_once": at_once}
        return {"order": self.order, **steps, "fingerprint": self.fingerprint}

    def load_state_dict(self, state_dict):
        self.check_rows(state_dict)
        order = state_dict["order"]
        if not (order is None or isinstance(order, int)):
            raise UserError("the checkpoint's order of its rows is damaged; train a new network")
        self.order = order

    @functools.cached_property
    def fingerprint(self):
        """Of the rows and their split: a checkpoint keeps it."""
        return fingerprint(self.table.features, self.table.labels, self.splits)

    def check_rows(self, state_dict):
        """Compare the rows and their split with those of a checkpoint's `state_dict`.

        Returns False if it does not say which they were: older versions of torchbp wrote no fingerprint.

        Raises:
            UserError: other rows or labels, another order or another split.
        """
        if state_dict.get("fingerprint") is None:
            return False
        check_fingerprint(state_dict["fingerprint"], self.fingerprint, self.source, self.table)
        return True

    def rows_of_a_step(self, trainer):
        """Of all processes."""
        return self.batch_size * trainer.world_size

    def batches_in_a_step(self, engine):
        """How many batches share one step of Lightning's loop."""
        if self.batches_at_once is None and engine == "explicit":
            return max(1, min(MOST_BATCHES_AT_ONCE, ROWS_AT_ONCE // self.batch_size))
        return self.batches_at_once or 1

    def train_dataloader(self):
        module = self.trainer and self.trainer.lightning_module
        engine = module.hparams.get("engine") if module else None
        return self._loader("train", self.batch_size, self.order, self.batches_in_a_step(engine))

    def val_dataloader(self):
        return self._evaluation_loader("val")

    def test_dataloader(self):
        return self._evaluation_loader("test")

    def _evaluation_loader(self, split):
        members = getattr(self.trainer and self.trainer.lightning_module, "members", None) or 1
        return self._loader(split, max(self.batch_size, ROWS_AT_ONCE // members))

    def _loader(self, split, batch_size, order=None, at_once=1):
        rows = self.rows(split)
        process = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        pinned = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return Loader(rows, Batches(len(rows[0]), batch_size, *process, order, at_once), pinned)


def _check_settings(settings):
    if settings["missing"] not in ("refuse", "mean"):
        raise SettingError(f"data.missing={settings['missing']!r} must be refuse or mean")
    for name in ("batch_size", "max_categories", "batches_at_once"):
        if settings[name] is not None and settings[name] < 1:
            raise SettingError(f"data.{name}={settings[name]} must be at least 1")
    for name in ("val_fraction", "test_fraction"):
        if not 0 < settings[name] < 1:
            raise SettingError(f"data.{name}={settings[name]} must lie between 0 and 1")
    if not 0 <= settings["seed"] < 2**32:
        raise SettingError(f"data.seed={settings['seed']} must lie between 0 and 2³² − 1")
    val, test = settings["val_fraction"], settings["test_fraction"]
    if val + test >= 1:
        raise SettingError(f"data.val_fraction={val} and data.test_fraction={test} leave no row to train on")
