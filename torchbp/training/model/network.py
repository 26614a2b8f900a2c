"""The network with its scaling and its task, as a LightningModule. Its training is in `descent.py`."""

import copy
import os
from typing import Any

import torch

from torchbp import __version__
from torchbp.scaling import make_scaling
from torchbp.training.checkpoints.network import load_network
from torchbp.training.checkpoints.reading import read_checkpoint
from torchbp.training.descent.schedules import Plateau
from torchbp.training.errors import SettingError
from torchbp.training.model.descent import Descent
from torchbp.training.model.hyperparameters import check_hyperparameters
from torchbp.training.model.layers import make_layers
from torchbp.training.model.trainer_settings import check_trainer_settings
from torchbp.training.tasks import make_task


class Network(Descent):
    """A feed-forward network for a table, trained by gradient descent; or E of them.

        L = the loss of Z and y;   V ← μ V + dL/dW + λ W;   W ← W − α V       or Adam, or AdamW

    It takes raw rows: the scaling is part of it, and is fitted to the training rows of the trainer's datamodule.

    Args:
        in_features: columns of x.
        classes: the names of the classes or labels, or of the target columns of a regression.
        columns: the columns of the table, where they are known; a checkpoint keeps them.
        task: "binary", "multiclass", "multilabel" or "regression".
        hidden: units of each hidden layer. [] is a logistic or linear regression.
        activation: activation of the hidden layers: "sigmoid", "tanh", "relu", "gelu", or any other that is registered.
        dropout: the share of the hidden outputs that a training step leaves out, in [0, 1).
        norm: "layer" or "batch", for a norm in front of each activation. A batch norm is for one network.
        scaling: of the features: "standard", "clipped", "robust", "quantile" or "none". The target of a regression is
            scaled to mean 0 and deviation 1 in any case.
        members: E, the size of an ensemble. Its networks have different weights, are trained on the same batches, and
            answer with their mean. None is one network.
        optimizer: "sgd", "adam" or "adamw".
        lr: the learning rate α > 0; or a list of rates, a sweep. It has `members` networks (1) for each rate, with the
            same first weights for each. The members with the best rate answer: their mean had the lowest validation
            loss.
        momentum: momentum μ of sgd, in [0, 1).
        weight_decay: weight decay λ ≥ 0.
        schedule: of the learning rate: "cosine", "one_cycle" or "plateau". The rate changes between groups of
            `data.batches_at_once` batches; of a plateau it is halved where the validation loss no longer falls.
        warmup: epochs in which the learning rate rises from 0.
        clip: the bound of the gradient's norm over all parameters, of each member on its own. None does not clip.
        loss: the loss by its name; by default it is cross-entropy, and mse for a regression, which also has huber, l1
            and smooth_l1.
        label_smoothing: the part ε of a class label that all classes share, in [0, 1).
        class_weight: the weight of the rows of a class in the loss, {class: weight}; or "balanced", by which all
            classes weigh the same.
        engine: "autograd", or "explicit", the same steps in a fraction of the time. "autograd" goes through our
            Functions; "explicit" runs the formulas without a graph, to the same last digits, several steps in one step
            of Lightning's loop.
        compile: whether the explicit engine makes its steps in a program in C, where that is faster. It takes a second
            or two at the start.

    Raises:
        SettingError: a value that the network or gradient descent cannot have.

    Example:
        >>> best = "runs/breast_cancer/version_0/checkpoints/best.ckpt"
        >>> model = torchbp.training.Network.load_from_checkpoint(best)
        >>> p = model.answers(torch.rand(5, 30))  # (5, 1)
    """

    def __init__(
        self,
        in_features: int,
        classes: list[str],
        columns: dict[str, dict[str, Any]] | None = None,
        task: str = "binary",
        hidden: list[int] = [64, 64],  # noqa: B006  (the command line shows it as the default)
        activation: str = "silu",
        dropout: float = 0.0,
        norm: str | None = None,
        scaling: str = "clipped",
        members: int | None = None,
        optimizer: str = "adamw",
        lr: float | list[float] = 0.004,
        momentum: float = 0.0,
        weight_decay: float = 0.01,
        schedule: str | None = None,
        warmup: float = 0.0,
        clip: float | None = None,
        loss: str | None = None,
        label_smoothing: float = 0.0,
        class_weight: dict[str, float] | str | None = None,
        engine: str = "autograd",
        compile: bool = False,
    ):
        super().__init__()
        self.save_hyperparameters()
        self.hparams.pop("_instantiator", None)  # Lightning's: what to call in order to make this object
        check_hyperparameters(self.hparams)
        self.task = make_task(task, classes, loss=loss, label_smoothing=label_smoothing, class_weight=class_weight)
        self.groups = len(lr) if isinstance(lr, list) else 1  # of members, one group for each learning rate
        self.members = self.groups * (members or 1) if isinstance(lr, list) else members
        self.scaling = make_scaling(scaling, in_features)
        self.net = make_layers([in_features, *hidden, self.task.outputs], activation, self.members, dropout, norm)
        self.plateau = Plateau(self.members) if schedule == "plateau" else None
        if self.members:
            self._prepare_members()

    def _prepare_members(self):
        """The same first weights for each learning rate, and what is known of the members.

        chosen: `(E)`, which members answer. best_scores, best_epoch: of the validation where the loss of a group's mean
        answer was lowest: that loss, then mean and standard deviation of its members' losses, and the same of their
        task's score, `(5, groups)`; and the number of the epoch, `(groups)`.
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
        if self.trainer.datamodule is not None:
            # Before a checkpoint is restored, so that a resumed run keeps the statistics of its start.
            self.fit_statistics(*self.trainer.datamodule.rows("train"))

    def fit_statistics(self, x: torch.Tensor, y: torch.Tensor, w: torch.Tensor | None = None) -> None:
        """Fit the scaling of the features, and what the task needs, to the training rows, as batches have them."""
        self.scaling.fit(x)
        self.task.fit(y, w)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs Z, `(N, outputs)` or `(E, N, outputs)`, of raw rows `(N, in_features)`."""
        return self.net(self.scaling(x))

    @torch.no_grad()
    def answers(self, x, spread: bool = False) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Probabilities, or the numbers of a regression, `(N, outputs)`, of raw rows: a tensor or an array
        `(N, in_features)`, or a pandas DataFrame with the columns that the network was trained on, among others and in
        any order.

        An ensemble gives the mean over its members; with `spread`, a pair: the mean and their standard deviation.

        Raises:
            UserError: another shape; a DataFrame without one of the columns, or with a value that cannot be used.
        """
        answers = self.task.answers(self(self.raw_rows(x)))
        if not self.members:
            return answers
        answers = answers[self.chosen]
        return (answers.mean(0), answers.std(0, correction=0)) if spread else answers.mean(0)

    @property
    def gives_spread(self) -> bool:
        return self.members is not None

    # the members that answer together

    @property
    def equation(self) -> str:
        return "{0} = (1/E) Σ_e {0}_e".format("P" if self.task.has_classes else "Ŷ")

    @property
    def numbers(self) -> list[int]:
        return [place + 1 for place in self.chosen.nonzero()[:, 0].tolist()] if self.members else []

    def shares(self) -> list[float]:
        return [1 / len(self.numbers)] * len(self.numbers)

    @torch.no_grad()
    def answers_of_each(self, x: torch.Tensor) -> torch.Tensor:
        return self.task.answers(self(x))[self.chosen]

    @torch.no_grad()
    def member(self, number: int) -> "Network":
        """One member, by its number from 1, as a `Network` with its weights copied, whether it answers or not.

        Raises:
            SettingError: there is no such member.
        """
        if number not in range(1, (self.members or 0) + 1):
            raise SettingError(f"the member {number} is none: they are 1 to {self.members}")
        lr = self.hparams.lr
        lr = lr[(number - 1) * self.groups // self.members] if isinstance(lr, list) else lr
        network = Network(**self.hparams | {"members": None, "lr": lr})
        network.scaling, network.task = copy.deepcopy(self.scaling), copy.deepcopy(self.task)
        for parameter, of_all in zip(network.net.parameters(), self.net.parameters(), strict=True):
            parameter.data = of_all[number - 1].clone()
        return network.eval()

    def made_with(self) -> list[dict[str, str]]:
        return [{}] * len(self.numbers)  # those that answer have the same learning rate

    # checkpoints

    def on_save_checkpoint(self, checkpoint):
        checkpoint["random_state"] = torch.get_rng_state()
        checkpoint["torchbp_version"] = __version__

    def on_load_checkpoint(self, checkpoint):
        self.random_state = checkpoint.get("random_state")
        # Lightning converts the network to another precision only after it has loaded the weights
        self.to(checkpoint["state_dict"]["scaling.median"].dtype)

    @classmethod
    def load_from_checkpoint(cls, path: str | os.PathLike[str], map_location: str | torch.device = "cpu") -> "Network":
        """The trained network of a checkpoint. Only plain values and tensors are loaded; no code of the file runs.

        Raises:
            UserError: a file that is no checkpoint of torchbp, or carries code.
        """
        return load_network(cls, read_checkpoint(path), path).to(map_location)
