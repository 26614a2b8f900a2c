"""A table for training: its split into training, validation and test rows, and their batches."""

import dataclasses
import functools
from typing import Any

import pytorch_lightning as pl
import torch

from torchbp.training.data.batches import MOST_BATCHES_AT_ONCE, ROWS_AT_ONCE, Batches, Loader
from torchbp.training.data.columns import Columns
from torchbp.training.data.fingerprint import change_of_rows, rows_to_save
from torchbp.training.data.frames import frame_of_arrays, is_array, plain_setting
from torchbp.training.data.settings import TableSettings
from torchbp.training.data.table import load_table
from torchbp.training.errors import SettingError, UserError

OF_STEPS = ("batch_size", "batches_at_once")  # settings that do not say which rows they are
SOURCES = ("source", "val_source", "test_source")


class TabularData(pl.LightningDataModule):
    """Rows with a label each, split into training, validation and test rows.

    A batch is `(x, y)`, or `(x, y, weights)` with `weight`. x is float32 `(N, in_features)`, raw: the network scales
    it. y depends on the task, which is found from the target:

        binary      float32 (N, 1) of 0 and 1     two classes; P is of the second one
        multiclass  int64 (N,), the class         three or more
        multilabel  float32 (N, L) of 0 and 1     several targets of zeros and ones
        regression  float32 (N, T), raw           targets that are quantities

    Args:
        source: `breast_cancer`, `digits`, `diabetes` or `xor`; or a file of CSV, TSV, Parquet, Feather, JSON lines or
            Excel, also a compressed one, or - for stdin. Several are one table. In Python it may be a DataFrame or an
            array.
        target: the column of a file to predict; or a list of columns. In Python it may be an array of labels.
        task: binary, multiclass, multilabel or regression. By default it is found from the target.
        id: a column that names the rows. It is not a feature, and `predict` copies it.
        ignore: columns that are not features.
        features: the columns that are features. By default they are all that are not named elsewhere, except those that
            number or name the rows, are constant, or are copies of others; a line says so.
        categorical: columns that are categories, whatever they hold.
        weight: a column with the weight of each row in the loss.
        missing: what becomes of a missing value, "median" or "refuse". The median is that of the training rows, and a
            feature says where it was put, if training rows lack values too.
        max_categories: the most categories that a column may have. The rarest of more are one, "other"; where those are
            the most rows, the words of the texts are hashed.
        val_source: a file of validation rows. By default they are drawn from the source.
        test_source: a file of test rows. By default they are drawn from the source.
        val_fraction: share of the rows for validation. It is drawn class by class; `xor` has four rows, and each split
            has them all.
        test_fraction: share of the rows for the test, or 0. They are drawn in the same way; the rest is for training.
        group: a column whose equal values stay together in one split.
        time: a column of dates or numbers; the validation rows are later than the training rows, the test rows later
            still.
        folds: K, the number of parts that take turns as test rows. It replaces the test fraction.
        fold: which of the K parts the test rows are, from 1. Without it, `fit` trains a network for each part.
        seed: seed of the split.
        sep: what separates the columns of a text file. By default it is found; "space" is any number of blanks.
        decimal: the decimal sign, "." or ",". By default it is found for each column.
        encoding: of a text file. By default it is UTF-8 or UTF-16, and cp1252 if it is neither.
        header: whether the first line of a text file has names. By default it is found; without names the columns are
            c1, c2, …
        na_values: texts that mean a missing value; an empty cell always does.
        on_disk: whether the features lie in a temporary file, and files are read in pieces. For tables that are larger
            than memory; Parquet is read fastest.
        batch_size: rows per step of gradient descent, of each process. By default a 32nd of the training rows, rounded
            down to a power of two, at least 16 and at most 256.
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
        source: list[str] | str,
        target: list[str] | str | None = None,
        task: str | None = None,
        id: str | None = None,
        ignore: list[str] = [],  # noqa: B006  (the command line shows it as the default)
        features: list[str] = [],  # noqa: B006
        categorical: list[str] = [],  # noqa: B006
        weight: str | None = None,
        missing: str = "median",
        max_categories: int = 100,
        val_source: list[str] | str | None = None,
        test_source: list[str] | str | None = None,
        val_fraction: float = 0.2,
        test_fraction: float = 0.2,
        group: str | None = None,
        time: str | None = None,
        folds: int | None = None,
        fold: int | None = None,
        seed: int = 0,
        sep: str | None = None,
        decimal: str | None = None,
        encoding: str | None = None,
        header: bool | None = None,
        na_values: list[str] = ["NA", "N/A", "n/a", "nan", "NaN", "<NA>", "NULL", "null", "#N/A", "?"],  # noqa: B006
        on_disk: bool = False,
        batch_size: int | None = None,
        batches_at_once: int | None = None,
    ):
        super().__init__()
        given = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        self._prepare(given)

    def _prepare(self, given, checkpoint=None):
        """given: the arguments. checkpoint: of the trained network whose table this is, or a table like it."""
        for name in OF_STEPS:
            if given[name] is not None and given[name] < 1:
                raise SettingError(f"data.{name}={given[name]} must be at least 1")
        if is_array(given["source"]):
            y = given["target"] if is_array(given["target"]) or hasattr(given["target"], "to_frame") else None
            frame, names = frame_of_arrays(given["source"], y)
            given |= {"source": frame, "target": names or given["target"]}
        self._batch_size, self.batches_at_once = given["batch_size"], given["batches_at_once"]
        # A checkpoint has the settings that say which rows the network was trained on
        plain = {name: plain_setting(value) for name, value in given.items() if name not in OF_STEPS}
        self._set_hparams(plain)
        self._log_hyperparams = False
        settings = TableSettings(**{name: value for name, value in given.items() if name not in OF_STEPS})
        settings.check()
        self.source = settings.name  # in messages
        self.settings = settings
        self.restored = checkpoint is not None
        self.table = None if self.restored else load_table(settings)
        self._rows = {}  # x, y (and weights) of the splits that were asked for
        self.order = None  # the seed of the order of the training rows

    @classmethod
    def of_checkpoint(cls, checkpoint: dict[str, Any], path: str, **changed: Any) -> "TabularData":
        """The table of a trained network, or another one, read with the network's columns and classes.

        If the source has the rows that the network was trained on, in any order, they are split as they were. If it is
        another file, all of its rows are test rows, and validation rows.

        Args:
            checkpoint: from `read_checkpoint`. path: of its file; where a file of rows has a relative path and is not
                here, it is looked for beside the folder of the runs.
            changed: settings of `TabularData` that replace those of the training.

        Raises:
            UserError: a file that shares most of its rows with the training file, but not all; a table without a column
                of the network, or with another class.
        """
        from torchbp.training.data.trained import beside_runs, table_of_checkpoint

        data = cls.__new__(cls)
        pl.LightningDataModule.__init__(data)
        defaults = {field.name: field.default for field in dataclasses.fields(TableSettings) if field.name != "source"}
        saved = {
            k: beside_runs(v, path) if k in SOURCES else v
            for k, v in checkpoint.get("datamodule_hyper_parameters", {}).items()
            if k in (*defaults, "source")
        }
        data._prepare({**defaults, "batch_size": None, "batches_at_once": None, **saved, **changed}, checkpoint)
        data.table = table_of_checkpoint(data.settings, checkpoint, path, changed)
        return data

    @property
    def batch_size(self) -> int:
        if self._batch_size is not None:
            return self._batch_size
        return min(max(1 << (len(self.splits["train"]) // 16).bit_length() >> 2, 16), 256)

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
        return self.table.task

    @property
    def weighted(self) -> bool:
        return self.table.weights is not None

    @property
    def splits(self) -> dict[str, torch.Tensor]:
        return self.table.splits

    def resplit(self, splits: dict[str, torch.Tensor]) -> None:
        """Let other rows be the training, the validation and the test rows, indices as in `splits`."""
        self.table, self._rows = dataclasses.replace(self.table, splits=splits), {}

    def row_number(self, split: str, row: int) -> int:
        """The number in the source, from 1, of a row of a split."""
        place = int(self.splits[split][row])
        return 1 + (place if self.table.order is None else int(self.table.order[place]))

    def rows(self, split: str | torch.Tensor) -> tuple[torch.Tensor, ...]:
        """x and y (and weights) of a whole split, "train", "val" or "test", or of a tensor of indices of rows."""
        if isinstance(split, str):  # the loader, the scaling and the stopping rule share one copy
            if split not in self._rows:
                rows = self.splits[split]
                if len(rows) and torch.equal(rows, torch.arange(rows[0], rows[0] + len(rows))):  # on disk: no copy
                    rows = slice(int(rows[0]), int(rows[0]) + len(rows))
                self._rows[split] = self.rows(rows)
            return self._rows[split]
        y = self.table.labels[split]
        if self.task == "binary":
            y = y.unsqueeze(1).float()
        elif self.task == "multilabel":
            y = y.float()
        return self.table.features[split], y, *([self.table.weights[split]] if self.weighted else [])

    def setup(self, stage):
        if stage == "fit":  # from the run's seed, and the same in every process; a checkpoint replaces it
            generator = torch.Generator().manual_seed(torch.initial_seed())
            self.order = self.trainer.strategy.broadcast(torch.randint(2**62, (), generator=generator).item())
        elif stage == "test" and not len(self.splits["test"]):
            raise UserError(
                f"{self.source} has no test rows, since data.test_fraction is 0; name a file as data.test_source"
            )

    def state_dict(self):
        at_once = self.batches_in_a_step(self.trainer.lightning_module.hparams.engine)
        steps = {"rows_of_a_step": self.rows_of_a_step(self.trainer), "batches_at_once": at_once}
        return {"order": self.order, **steps, "rows": self.saved_rows, "label_kind": self.table.label_kind}

    def load_state_dict(self, state_dict):
        if self.restored:  # its rows were compared, and it is not trained on
            return
        self.check_rows(state_dict)
        order = state_dict["order"]
        if not (order is None or isinstance(order, int)):
            raise UserError("the checkpoint's order of its rows is damaged; train a new network")
        self.order = order

    @functools.cached_property
    def saved_rows(self):
        """The hash of each row, and the split: a checkpoint keeps them."""
        return rows_to_save(self.table)

    def check_rows(self, state_dict):
        """Compare the rows and their split with those of a checkpoint's `state_dict`.

        Raises:
            UserError: other rows or labels, another order or another split.
        """
        if what := change_of_rows(state_dict, self.saved_rows["hashes"].numpy(), self.splits):
            raise UserError(
                f"{self.source} does not have the rows that this network was trained on: {what}. Some of those may be "
                "among the test rows now; give the data as it was, or train a new network"
            )

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
        sizes = getattr(self.trainer and self.trainer.lightning_module, "fold_sizes", [])
        if len(sizes) < 2 or not len(self.splits["train"]):  # a pack that was not trained on these rows
            return self._evaluation_loader("val")
        parts = zip(*(tensor.split(sizes) for tensor in self.rows("val")), strict=True)
        return [Loader(part, Batches(len(part[0]), ROWS_AT_ONCE)) for part in parts]  # one for each fold

    def test_dataloader(self):
        return self._evaluation_loader("test")

    def _evaluation_loader(self, split):
        members = getattr(self.trainer and self.trainer.lightning_module, "members", None) or 1
        return self._loader(split, max(self.batch_size, ROWS_AT_ONCE // members))

    def _loader(self, split, batch_size, order=None, at_once=1):
        tensors = self.rows(split)
        process = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        pinned = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return Loader(tensors, Batches(len(tensors[0]), batch_size, *process, order, at_once), pinned)
