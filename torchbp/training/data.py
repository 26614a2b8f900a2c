"""Tabular data for training: a seeded, stratified split of rows held in memory. Features stay as they are; the
classifier scales them."""

import pytorch_lightning as pl
import torch
from sklearn.model_selection import train_test_split
from torch.nn.functional import one_hot
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler, TensorDataset

from torchbp.training.errors import SettingError, UserError
from torchbp.training.sources import load


class TabularData(pl.LightningDataModule):
    """Rows of numbers with a label each, split into training, validation and test rows.

    A batch is `(x, y)`: x float32 `(N, in_features)`, y float32 `(N, outputs)` of zeros and ones. There is one
    output for two classes, P(the second class), and otherwise one per class, each against the rest.

    Args:
        source: `breast_cancer`, `digits` or `xor`, or the path of a CSV file with a header line.
        target: the label column of a CSV file, of two classes; every other column is a feature.
        batch_size: rows per step of gradient descent.
        val_fraction, test_fraction: shares of all rows, drawn class by class; the rest is the training split.
            `xor` has four rows, which are all three splits.
        seed: of the split.

    Raises:
        SettingError, UserError: an argument or a file that cannot be used.
    """

    def __init__(
        self,
        source: str,
        target: str | None = None,
        batch_size: int = 32,
        val_fraction: float = 0.2,
        test_fraction: float = 0.2,
        seed: int = 0,
    ):
        super().__init__()
        self.save_hyperparameters(ignore="batch_size")  # in the checkpoint: they say which rows it was trained on
        if batch_size < 1:
            raise SettingError(f"data.batch_size={batch_size} must be at least 1")
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
        self.batch_size = batch_size
        self.table = load(source, target)
        self.splits = self.split(val_fraction, test_fraction, seed)

    @property
    def in_features(self):
        return self.table.features.shape[1]

    @property
    def feature_names(self):
        return self.table.feature_names

    @property
    def classes(self):
        return self.table.classes

    def split(self, val_fraction, test_fraction, seed):
        rows = torch.arange(len(self.table.labels))
        if self.source == "xor":
            return {"train": rows, "val": rows, "test": rows}
        try:
            rest, test = self.draw(rows, test_fraction, seed)
            train, val = self.draw(rest, val_fraction / (1 - test_fraction), seed)
        except ValueError as error:  # scikit-learn's words say how many rows which class has
            raise UserError(f"{self.source} has too few rows to split: {error}") from None
        return {"train": train, "val": val, "test": test}

    def draw(self, rows, fraction, seed):
        return train_test_split(rows, test_size=fraction, random_state=seed, stratify=self.table.labels[rows])

    def rows(self, split):
        """x and y of a whole split, "train", "val" or "test"."""
        rows = self.splits[split]
        labels = self.table.labels[rows]
        y = labels.unsqueeze(1) if len(self.classes) == 2 else one_hot(labels, len(self.classes))
        return self.table.features[rows], y.float()

    def loader(self, *tensors, shuffle=False):
        dataset = TensorDataset(*tensors)
        sampler = RandomSampler(dataset) if shuffle else SequentialSampler(dataset)
        # a batch is one indexing of the tensors, not a row at a time: three times as fast
        return DataLoader(dataset, sampler=BatchSampler(sampler, self.batch_size, drop_last=False), batch_size=None)

    def train_dataloader(self):
        return self.loader(*self.rows("train"), shuffle=True)

    def val_dataloader(self):
        return self.loader(*self.rows("val"))

    def test_dataloader(self):
        return self.loader(*self.rows("test"))

    def predict_dataloader(self):
        """Every row of the source, in its order, without its label."""
        return self.loader(self.table.features)
