"""The network, its loss and gradient descent, as a LightningModule. The formulas are in `torchbp/ops/`."""

import os

import pytorch_lightning as pl
import torch

from torchbp import __version__, ops
from torchbp.engine import SGD
from torchbp.nn import MLP, BCEWithLogitsLoss
from torchbp.training.checkpoints.network import load_network
from torchbp.training.checkpoints.reading import read_checkpoint
from torchbp.training.data.batches import Batches
from torchbp.training.data.columns import Columns, encode
from torchbp.training.errors import UserError
from torchbp.training.model.engine_steps import engine_steps
from torchbp.training.model.epoch_loss import EpochLoss
from torchbp.training.model.evaluation import Evaluation
from torchbp.training.model.hyperparameters import check_hyperparameters
from torchbp.training.model.member_statistics import member_statistics
from torchbp.training.model.standardize import Standardize
from torchbp.training.model.trainer_settings import check_trainer_settings


class Classifier(pl.LightningModule):
    """An `MLP` with one sigmoid output per class (one for two classes), trained by gradient descent; or E of them.

        L = cross-entropy of σ(Z) and y;   V ← μ V + dL/dW + λ W;   W ← W − α V

    It takes raw rows: the scaling is part of it, and is fitted to the training rows of the trainer's datamodule.

    Args:
        in_features: columns of x.
        classes: the names of the classes, at least two; with `multilabel`, the names of independent labels.
        columns: the columns of the table, where they are known: name → None for a number, or the list of categories of
            a text, each of which is a column of x. A checkpoint keeps them.
        multilabel: whether a row may have any number of the classes, an output each.
        missing: "refuse", or "mean" to replace a nan in x by the mean of the training rows.
        hidden: units of each hidden layer, at least one layer.
        activation: activation of the hidden layers: "sigmoid", "tanh", "relu", or one that is registered.
        members: E, the size of an ensemble. Its networks have different weights, are trained on the same batches, and
            answer with their mean probability. None is one network.
        lr: the learning rate α > 0; or a list of rates, a sweep. It has `members` networks (1) for each rate, with the
            same first weights for each. The members with the best rate answer: their mean P had the lowest validation
            loss.
        momentum: momentum μ, in [0, 1).
        weight_decay: weight decay λ ≥ 0.
        engine: "autograd", or "explicit", the same steps in a fraction of the time. "autograd" goes through our
            Functions; "explicit" runs the formulas without a graph, to the same last digits, several steps in one step
            of Lightning's loop.
        pos_weight: the weight of a positive row in the loss, or "balanced". A number is for all outputs; "balanced" is
            for each output negative rows / positive rows of the training split, so that both sides weigh the same.

    Raises:
        SettingError: a value that the network or gradient descent cannot have.

    Example:
        >>> best = "runs/breast_cancer/version_0/checkpoints/best.ckpt"
        >>> model = torchbp.training.Classifier.load_from_checkpoint(best)
        >>> p = model.predict_proba(torch.rand(5, 30))  # (5, 1)
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
        members: int | None = None,
        lr: float | list[float] = 0.1,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        pos_weight: float | str | None = None,
        engine: str = "autograd",
    ):
        super().__init__()
        self.save_hyperparameters()
        self.hparams.pop("_instantiator", None)  # Lightning's: what to call in order to make this object
        check_hyperparameters(self.hparams)
        self.binary = len(classes) == 2 and not multilabel
        outputs = 1 if self.binary else len(classes)
        self.groups = len(lr) if isinstance(lr, list) else 1  # of members, one group for each learning rate
        self.members = self.groups * (members or 1) if isinstance(lr, list) else members
        self.standardize = Standardize(in_features, impute=missing == "mean")
        self.net = MLP(in_features, *hidden, outputs, activation=activation, members=self.members)
        weight = 1.0 if pos_weight in (None, "balanced") else pos_weight
        self.loss = BCEWithLogitsLoss(pos_weight=None if pos_weight is None else torch.full((outputs,), weight))
        self.losses = {}  # "train" of the last epoch, "val" of the last validation, on the CPU: () or (E)
        if self.members:
            self._prepare_members()

    def _prepare_members(self):
        """The same first weights for each learning rate, and what is known of the members.

        chosen: `(E)`, which members answer. best_scores, best_epoch: of the validation where the loss of a group's mean
        P was lowest: that loss, then mean and standard deviation of its members' losses, and the same of their
        accuracies, `(5, groups)`; and the number of the epoch, `(groups)`.
        """
        self.register_buffer("chosen", torch.ones(self.members, dtype=torch.bool))
        self.register_buffer("best_scores", torch.full((5, self.groups), torch.inf))
        self.register_buffer("best_epoch", torch.zeros(self.groups, dtype=torch.long))
        for p in self.net.parameters():
            groups = p.detach().unflatten(0, (self.groups, -1))
            groups.copy_(groups[0].clone())

    def setup(self, stage):
        if stage != "fit":
            return
        check_trainer_settings(self.trainer, self.trainer.datamodule, self)
        if self.trainer.datamodule is None:
            return
        # Before a checkpoint is restored, so that a resumed run keeps the statistics of its start.
        x, y = self.trainer.datamodule.rows("train")
        self.standardize.fit(x)
        if self.hparams.pos_weight == "balanced":
            positive = y.double().sum(dim=0)
            if (positive == 0).any():
                name = self.hparams.classes[int((positive == 0).nonzero()[0])]
                raise UserError(f"model.pos_weight=balanced: no training row has the class {name!r}; leave it out")
            self.loss.pos_weight.copy_((len(y) - positive) / positive)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits Z, `(N, outputs)` or `(E, N, outputs)`, of raw rows `(N, in_features)`."""
        return self.net(self.standardize(x))

    @torch.no_grad()
    def predict_proba(self, x, spread: bool = False) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """σ(Z), `(N, outputs)`, of raw rows: a tensor or an array `(N, in_features)`, or a pandas DataFrame with the
        columns that the network was trained on, among others and in any order.

        An ensemble gives the mean over its members; with `spread`, a pair: the mean and their standard deviation.

        Raises:
            UserError: another shape; a DataFrame without one of the columns, or with a value that cannot be used.
        """
        if hasattr(x, "columns"):
            x = torch.from_numpy(encode(x, self.named_columns(), self.hparams.missing, "the frame"))
        x = torch.as_tensor(x).to(self.standardize.mean)  # in its dtype, on its device
        if x.dim() != 2 or x.shape[1] != self.hparams.in_features:
            raise UserError(f"rows of the shape {tuple(x.shape)} must be (N, {self.hparams.in_features}), raw features")
        if not self.members:
            return self.net.predict_proba(self.standardize(x))
        p = self(x).sigmoid()[self.chosen]
        return (p.mean(0), p.std(0, correction=0)) if spread else p.mean(0)

    def named_columns(self) -> Columns:
        """The columns of the training table, name → None or its categories. UserError if there are none."""
        if self.hparams.columns is None:
            raise UserError("this network was trained without names of columns; give it a tensor")
        return self.hparams.columns

    def predicted_classes(self, probabilities: torch.Tensor) -> list[str]:
        """The class of each row, by name: of two, the second from P = ½ on; otherwise the most probable."""
        indices = (probabilities[:, 0] >= 0.5).long() if self.binary else probabilities.argmax(dim=1)
        return [self.hparams.classes[i] for i in indices]

    def predict_step(self, batch):
        return self.predict_proba(batch, spread=self.members is not None)

    # training

    def configure_optimizers(self):
        h = self.hparams
        settings = {"lr": h.lr, "momentum": h.momentum, "weight_decay": h.weight_decay}
        if isinstance(h.lr, list):
            settings["lr"] = torch.tensor(h.lr, dtype=torch.float64).repeat_interleave(self.members // self.groups)
        if h.engine == "autograd" and not self.members:
            return torch.optim.SGD(self.parameters(), **settings)
        return SGD(self.net, **settings, loss=self.loss)

    def on_train_start(self):
        if getattr(self, "random_state", None) is not None:  # here, since building the run may have drawn numbers
            torch.set_rng_state(self.random_state.cpu())

    def on_train_epoch_start(self):
        self.epoch_loss = EpochLoss(self.members, self.device)

    def training_step(self, batch, batch_idx):
        """One step through autograd, or with the engine one step for each of the batches that come together.

        Lightning counts a step for each call. Its loop costs more than the engine's step, so several share one call.
        """
        x, y = batch
        sampler = getattr(self.trainer.train_dataloader, "sampler", None)
        if self.hparams.engine == "explicit":
            batch_size = sampler.batch_size if isinstance(sampler, Batches) else len(x)
            total = engine_steps(self.trainer.optimizers[0], self.standardize(x), y, batch_size)
            self.epoch_loss.add(total, len(x))
            return total.mean() / len(x)
        z = self(x)
        if not len(y):  # the last batch has no row for this process
            return z.sum()
        losses = self._member_losses(z, y) if self.members else self.loss(z, y)
        self.epoch_loss.add(
            losses.detach(), len(x), factor=len(x)
        )  # self.log in every step would take a third of its time
        loss = losses.sum()  # a member's weights are in its loss alone
        if self.trainer.world_size > 1 and isinstance(sampler, Batches):
            return loss * sampler.share(batch_idx)  # DDP averages over processes; L is the mean over rows
        return loss

    def _member_losses(self, z, y):
        """The mean loss of each member, `(E)`."""
        losses = ops.binary_cross_entropy_with_logits(
            z, y.expand_as(z), reduction="none", pos_weight=self.loss.pos_weight
        )
        return losses.mean((1, 2))

    def backward(self, loss):
        if self.hparams.engine == "autograd":
            super().backward(loss)

    def optimizer_zero_grad(self, epoch, batch_idx, optimizer):
        if self.hparams.engine == "autograd":
            super().optimizer_zero_grad(epoch, batch_idx, optimizer)

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None):
        if self.hparams.engine == "autograd":
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        else:
            optimizer_closure()  # runs training_step, which makes the engine's steps

    def on_train_epoch_end(self):
        self.losses["train"] = self.epoch_loss.mean(self.trainer.strategy)
        finite = self.losses["train"].isfinite()
        if self.members and (finite.to(self.device) & self.chosen).any():
            self.chosen &= finite.to(self.device)
        self.log_epoch({"train/loss": self.losses["train"][finite].mean()})

    def log_epoch(self, metrics):
        """Give the metrics of an epoch, tensors that are equal in all processes, to the callbacks and the loggers.

        `self.log` would take longer than an epoch of a small network. It would also write them only after the epoch's
        checkpoint, so that a run that was killed in between would lack them.
        """
        metrics = {name: value.cpu() for name, value in metrics.items()}
        self.trainer.callback_metrics.update(metrics)
        numbers = {name: value.item() for name, value in metrics.items()}
        for logger in self.trainer.loggers:
            logger.log_metrics({**numbers, "epoch": self.current_epoch}, self.trainer.global_step - 1)

    # evaluation

    def on_validation_epoch_start(self):
        self.evaluation = Evaluation(self)

    on_test_epoch_start = on_validation_epoch_start

    def validation_step(self, batch):
        self.evaluation.add(batch)

    test_step = validation_step

    def on_validation_epoch_end(self):
        self.evaluation.end_validation()

    def on_test_epoch_end(self):
        self.evaluation.end_test()

    def choose(self, members, groups, best):
        """After a validation, let the members of the group `best` answer that are finite, and note each group's best
        epoch. members, groups: as from `Scores.means`."""
        finite = members[0].isfinite()
        if finite[best].any():
            self.chosen.zero_().view(self.groups, -1)[best] = finite[best]
        scores = member_statistics(members, groups).to(self.best_scores.dtype)
        better = scores[0] < self.best_scores[0]
        self.best_scores.copy_(torch.where(better, scores, self.best_scores))
        self.best_epoch.masked_fill_(better, self.current_epoch + 1)

    # checkpoints

    def on_save_checkpoint(self, checkpoint):
        checkpoint["random_state"] = torch.get_rng_state()
        checkpoint["torchbp_version"] = __version__

    def on_load_checkpoint(self, checkpoint):
        self.random_state = checkpoint.get("random_state")
        # Lightning converts the network to another precision only after it has loaded the weights
        self.to(checkpoint["state_dict"]["standardize.mean"].dtype)

    @classmethod
    def load_from_checkpoint(
        cls, path: str | os.PathLike[str], map_location: str | torch.device = "cpu"
    ) -> "Classifier":
        """The trained network of a checkpoint. Only plain values and tensors are loaded; no code of the file runs.

        Raises:
            UserError: a file that is no checkpoint of torchbp, or carries code.
        """
        return load_network(cls, read_checkpoint(path), path).to(map_location)
