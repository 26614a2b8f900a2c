"""The network, its loss and gradient descent, as a LightningModule. The formulas are in `torchbp/ops/`."""

import math

import pytorch_lightning as pl
import torch
from torchmetrics.classification import BinaryAccuracy, BinaryAUROC, MulticlassAccuracy

from torchbp.nn import MLP, BCEWithLogitsLoss
from torchbp.training.errors import SettingError


class Standardize(torch.nn.Module):
    """x ↦ (x − mean) / std, feature by feature. Its two buffers, shape `(features,)`, are part of the state_dict."""

    def __init__(self, features):
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))

    def fit(self, x):
        """Take the statistics of these rows, shape `(N, features)`; a constant feature is only centred."""
        x = x.double()  # a feature of large numbers would lose its spread in float32
        std = x.std(dim=0, correction=0)
        self.mean.copy_(x.mean(dim=0))
        self.std.copy_(torch.where(std > 0, std, 1))

    def forward(self, x):
        return (x - self.mean) / self.std


class Classifier(pl.LightningModule):
    """An `MLP` with one sigmoid output per class (one for two classes), trained by gradient descent.

        L = cross-entropy of σ(Z) and y;   V ← μ V + dL/dW + λ W;   W ← W − α V

    It takes raw rows: the scaling is part of it, and is fitted to the training split of the trainer's datamodule.

    Args:
        in_features: columns of x.
        classes: the names of the classes, at least two.
        feature_names: the names of the columns of x, where they are known; a checkpoint keeps them.
        hidden: units of each hidden layer, at least one layer.
        lr: the learning rate α > 0.
        momentum: μ, in [0, 1).
        weight_decay: λ ≥ 0.

    Raises:
        SettingError: a value that the network or gradient descent cannot have.

    Example:
        >>> model = Classifier.load_from_checkpoint("runs/breast_cancer/version_0/checkpoints/best.ckpt")
        >>> model.predict_proba(rows)  # (N, 1): P(the second class)
    """

    def __init__(
        self,
        in_features: int,
        classes: list[str],
        hidden: list[int] = [16],  # noqa: B006  (the command line shows it as the default)
        lr: float = 0.1,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        feature_names: list[str] | None = None,
    ):
        super().__init__()
        if not hidden or min(hidden) < 1:
            raise SettingError(f"model.hidden={hidden} must list the units of at least one hidden layer, each ≥ 1")
        if not 0 < lr < math.inf:
            raise SettingError(f"model.lr={lr} must be a positive number")
        if not 0 <= momentum < 1:
            raise SettingError(f"model.momentum={momentum} must lie in [0, 1)")
        if not 0 <= weight_decay < math.inf:
            raise SettingError(f"model.weight_decay={weight_decay} must not be negative")
        self.save_hyperparameters()
        self.standardize = Standardize(in_features)
        self.net = MLP(in_features, *hidden, 1 if len(classes) == 2 else len(classes))
        self.loss = BCEWithLogitsLoss()
        self.val_accuracy, self.test_accuracy = self.new_accuracy(), self.new_accuracy()
        self.test_auroc = BinaryAUROC() if len(classes) == 2 else None

    def new_accuracy(self):
        classes = len(self.hparams.classes)
        return BinaryAccuracy() if classes == 2 else MulticlassAccuracy(classes, average="micro")

    def setup(self, stage):
        # before a checkpoint is restored, so that a resumed run keeps the statistics that it began with
        if stage == "fit" and self.trainer.datamodule is not None:
            self.standardize.fit(self.trainer.datamodule.rows("train")[0])

    def forward(self, x):
        """Logits Z, shape `(N, outputs)`, of raw rows `(N, in_features)`."""
        return self.net(self.standardize(x))

    def predict_proba(self, x):
        """σ(Z), shape `(N, outputs)`, of raw rows `(N, in_features)`."""
        return self.net.predict_proba(self.standardize(x))

    def predicted(self, probabilities):
        """Index of the class of each row: the second of two from ½ on, otherwise the most probable."""
        if len(self.hparams.classes) == 2:
            return (probabilities[:, 0] >= 0.5).long()
        return probabilities.argmax(dim=1)

    def training_step(self, batch):
        x, y = batch
        loss = self.loss(self(x), y)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(x), prog_bar=True)
        return loss

    def validation_step(self, batch):
        self.evaluate(batch, "val", {"accuracy": self.val_accuracy})

    def test_step(self, batch):
        metrics = {"accuracy": self.test_accuracy}
        if self.test_auroc is not None:
            metrics["auroc"] = self.test_auroc
        self.evaluate(batch, "test", metrics)

    def evaluate(self, batch, split, metrics):
        x, y = batch
        z = self(x)
        self.log(f"{split}/loss", self.loss(z, y), on_epoch=True, batch_size=len(x), prog_bar=True)
        # torchmetrics takes values in [0, 1] for probabilities, even if they are logits: give it probabilities
        a = z.sigmoid()
        scores, labels = (a[:, 0], y[:, 0].long()) if a.shape[1] == 1 else (a, y.argmax(dim=1))
        for name, metric in metrics.items():
            metric.update(scores, labels)
            self.log(f"{split}/{name}", metric, on_epoch=True, batch_size=len(x), prog_bar=True)

    def predict_step(self, batch):
        (x,) = batch
        return self.predict_proba(x)

    def configure_optimizers(self):
        return torch.optim.SGD(
            self.parameters(),
            lr=self.hparams.lr,
            momentum=self.hparams.momentum,
            weight_decay=self.hparams.weight_decay,
        )
