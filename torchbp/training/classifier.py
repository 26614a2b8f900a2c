"""The network, its loss and gradient descent, as a LightningModule. The formulas are in `torchbp/ops/`."""

import math

import pytorch_lightning as pl
import torch
from torchmetrics.classification import BinaryAccuracy, BinaryAUROC, MulticlassAccuracy, MultilabelAccuracy

from torchbp.nn import MLP, BCEWithLogitsLoss
from torchbp.nn.mlp import ACTIVATIONS
from torchbp.training.columns import encode, feature_names
from torchbp.training.data import Batches
from torchbp.training.errors import SettingError, UserError
from torchbp.training.files import read_checkpoint


class Standardize(torch.nn.Module):
    """x ↦ (x − mean) / std, feature by feature. Its two buffers, shape `(features,)`, are part of the state_dict.

    nan stands for a missing value: the statistics leave it out, and with `impute` it is taken as the mean.
    """

    def __init__(self, features, impute=False):
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))
        self.impute = impute

    def fit(self, x):
        """Take the statistics of these rows, shape `(N, features)`. A constant feature says nothing: it becomes 0."""
        for column, mean, std in zip(x.T, self.mean, self.std, strict=True):  # one by one: a copy in float64 is large
            known = column[~column.isnan()].double()  # a feature of large numbers would lose its spread in float32
            deviation = known.std(correction=0) if len(known) else 0
            mean.copy_(known.mean() if len(known) else 0)
            std.copy_(deviation if deviation > 0 else math.inf)

    def forward(self, x):
        x = (x - self.mean) / self.std
        return torch.where(x.isnan(), 0, x) if self.impute else x


class Classifier(pl.LightningModule):
    """An `MLP` with one sigmoid output per class (one for two classes), trained by gradient descent.

        L = cross-entropy of σ(Z) and y;   V ← μ V + dL/dW + λ W;   W ← W − α V

    It takes raw rows: the scaling is part of it, and is fitted to the training split of the trainer's datamodule.

    Args:
        in_features: columns of x.
        classes: the names of the classes, at least two; of independent labels, where `multilabel` is true.
        columns: where they are known, the columns of a table: name → None for a number, or the list of categories of
            a text, each of which is a column of x. A checkpoint keeps them.
        multilabel: whether a row may be of any number of the classes, an output each.
        missing: "refuse", or the "mean" of the training rows takes the place of a nan in x.
        hidden: units of each hidden layer, at least one layer.
        activation: of the hidden layers, "sigmoid", "tanh" or "relu".
        lr: the learning rate α > 0.
        momentum: μ, in [0, 1).
        weight_decay: λ ≥ 0.
        pos_weight: what a positive row weighs in the loss, a number for all outputs; or "balanced": for each output
            negative rows / positive rows of the training split, so that both sides weigh the same.

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
        columns: dict[str, list[str] | None] | None = None,
        multilabel: bool = False,
        missing: str = "refuse",
        hidden: list[int] = [16],  # noqa: B006  (the command line shows it as the default)
        activation: str = "sigmoid",
        lr: float = 0.1,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        pos_weight: float | str | None = None,
    ):
        super().__init__()
        if not hidden or min(hidden) < 1:
            raise SettingError(f"model.hidden={hidden} must list the units of at least one hidden layer, each ≥ 1")
        if activation not in ACTIVATIONS:
            raise SettingError(f"model.activation={activation!r} is not known; use {', '.join(ACTIVATIONS)}")
        if not 0 < lr < math.inf:
            raise SettingError(f"model.lr={lr} must be a positive number")
        if not 0 <= momentum < 1:
            raise SettingError(f"model.momentum={momentum} must lie in [0, 1)")
        if not 0 <= weight_decay < math.inf:
            raise SettingError(f"model.weight_decay={weight_decay} must not be negative")
        if columns is not None and len(feature_names(columns)) != in_features:
            raise SettingError(
                f"the columns make {len(feature_names(columns))} features, and in_features={in_features}"
            )
        if pos_weight not in (None, "balanced") and (isinstance(pos_weight, str) or not 0 < pos_weight < math.inf):
            raise SettingError(f"model.pos_weight={pos_weight} must be balanced or a positive number")
        self.save_hyperparameters()
        self.hparams.pop("_instantiator", None)  # Lightning's: what to call in order to make this object
        self.standardize = Standardize(in_features, impute=missing == "mean")
        self.binary = len(classes) == 2 and not multilabel
        outputs = 1 if self.binary else len(classes)
        self.net = MLP(in_features, *hidden, outputs, activation=activation)
        weight = 1.0 if pos_weight in (None, "balanced") else pos_weight
        self.loss = BCEWithLogitsLoss(pos_weight=None if pos_weight is None else torch.full((outputs,), weight))
        self.val_metrics, self.test_metrics = self.new_metrics(test=False), self.new_metrics(test=True)

    def new_metrics(self, test):
        if self.binary:
            metrics = {"accuracy": BinaryAccuracy()} | ({"auroc": BinaryAUROC()} if test else {})
        elif self.hparams.multilabel:
            metrics = {"accuracy": MultilabelAccuracy(len(self.hparams.classes), average="micro")}
        else:
            metrics = {"accuracy": MulticlassAccuracy(len(self.hparams.classes), average="micro")}
        return torch.nn.ModuleDict(metrics)

    def setup(self, stage):
        # before a checkpoint is restored, so that a resumed run keeps the statistics that it began with
        if stage == "fit" and self.trainer.datamodule is not None:
            x, y = self.trainer.datamodule.rows("train")
            self.standardize.fit(x)
            if self.hparams.pos_weight == "balanced":
                positive = y.double().sum(dim=0)
                if (positive == 0).any():
                    name = self.hparams.classes[int((positive == 0).nonzero()[0])]
                    raise UserError(f"model.pos_weight=balanced: no training row is of {name!r}; leave that class out")
                self.loss.pos_weight.copy_((len(y) - positive) / positive)

    def forward(self, x):
        """Logits Z, shape `(N, outputs)`, of raw rows `(N, in_features)`."""
        return self.net(self.standardize(x))

    @torch.no_grad()
    def predict_proba(self, x):
        """σ(Z), shape `(N, outputs)`, of raw rows: a tensor or an array `(N, in_features)`, or a pandas frame with the
        columns that the network was trained on, among others and in any order.

        Raises:
            UserError: another shape; a frame that lacks a column, or holds something that the network does not know.
        """
        if hasattr(x, "columns"):
            x = torch.from_numpy(encode(x, self.named_columns(), self.hparams.missing, "the frame"))
        x = torch.as_tensor(x).to(self.standardize.mean)  # in its dtype, on its device
        if x.dim() != 2 or x.shape[1] != self.hparams.in_features:
            raise UserError(f"rows of the shape {tuple(x.shape)} must be (N, {self.hparams.in_features}), raw features")
        return self.net.predict_proba(self.standardize(x))

    def named_columns(self):
        if self.hparams.columns is None:
            raise UserError("this network was trained without names of columns; give it a tensor")
        return self.hparams.columns

    def predicted(self, probabilities):
        """Name of the class of each row: the second of two from ½ on, otherwise the most probable."""
        of = (probabilities[:, 0] >= 0.5).long() if self.binary else probabilities.argmax(dim=1)
        return [self.hparams.classes[i] for i in of]

    def mean_loss(self, z, y):
        return self.loss(z, y) if len(y) else z.sum()  # 0 for a process without a row of the last batch

    def on_train_epoch_start(self):
        exact = torch.float32 if self.device.type == "mps" else torch.float64
        self.loss_sum, self.rows = torch.zeros((), dtype=exact, device=self.device), 0

    def on_train_epoch_end(self):
        sums = torch.stack([self.loss_sum, self.loss_sum.new_tensor(self.rows)])
        loss_sum, rows = self.trainer.strategy.reduce(sums, reduce_op="sum")  # over the processes
        self.log("train/loss", loss_sum / rows, logger=False, sync_dist=True)  # the same in all of them
        # Lightning would write it only after the epoch's checkpoint, and a run cut off in between would lack it
        for logger in self.trainer.loggers:
            metrics = {"train/loss": (loss_sum / rows).item(), "epoch": self.current_epoch}
            logger.log_metrics(metrics, self.trainer.global_step - 1)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = self.mean_loss(self(x), y)
        self.loss_sum.add_(loss.detach(), alpha=len(x))  # self.log at every step would be a third of its time
        self.rows += len(x)
        if self.trainer.world_size > 1 and isinstance(sampler := self.trainer.train_dataloader.sampler, Batches):
            return loss * sampler.share(batch_idx)  # DDP averages over processes, and L is the mean over rows
        return loss

    def validation_step(self, batch):
        self.evaluate(batch, "val", self.val_metrics)

    def test_step(self, batch):
        self.evaluate(batch, "test", self.test_metrics)

    def evaluate(self, batch, split, metrics):
        x, y = batch
        z = self(x)
        # Lightning takes the mean of the processes' numbers of rows in whole numbers: make it one
        rows = len(x) * self.trainer.world_size
        self.log(f"{split}/loss", self.mean_loss(z, y), on_epoch=True, batch_size=rows, sync_dist=True)
        # torchmetrics takes values in [0, 1] for probabilities, even if they are logits: give it probabilities
        a, labels = z.sigmoid(), y.long()
        if self.binary:
            a, labels = a[:, 0], labels[:, 0]
        elif not self.hparams.multilabel:
            labels = y.argmax(dim=1)
        for name, metric in metrics.items():
            metric.update(a, labels)
            self.log(f"{split}/{name}", metric, on_epoch=True, batch_size=len(x))

    def predict_step(self, batch):
        return self.predict_proba(batch)

    def configure_optimizers(self):
        return torch.optim.SGD(
            self.parameters(),
            lr=self.hparams.lr,
            momentum=self.hparams.momentum,
            weight_decay=self.hparams.weight_decay,
        )

    def on_save_checkpoint(self, checkpoint):
        checkpoint["random_state"] = torch.get_rng_state()

    def on_load_checkpoint(self, checkpoint):
        self.random_state = checkpoint.get("random_state")
        # Lightning converts the network to another precision only after it has filled it
        self.to(checkpoint["state_dict"]["standardize.mean"].dtype)

    def on_train_start(self):
        if getattr(self, "random_state", None) is not None:  # last, since building the run may have drawn numbers
            torch.set_rng_state(self.random_state.cpu())

    @classmethod
    def load_from_checkpoint(cls, path, map_location="cpu"):
        """The trained network of a checkpoint. It loads plain values and tensors, and runs no code of the file's.

        Raises:
            UserError: a file that is no checkpoint of torchbp, or carries code.
        """
        return cls.of_checkpoint(read_checkpoint(path), path).to(map_location)

    @classmethod
    def of_checkpoint(cls, checkpoint, path):
        try:
            model = cls(**checkpoint["hyper_parameters"])
            model.load_state_dict(checkpoint["state_dict"])
        except (AttributeError, TypeError, ValueError, RuntimeError) as error:
            raise UserError(f"{path} is a checkpoint of another program: {' '.join(str(error).split())}") from None
        return model.eval()
