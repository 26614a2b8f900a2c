"""The network, its loss and gradient descent, as a LightningModule. The formulas are in `torchbp/ops/`."""

import math
import textwrap

import pytorch_lightning as pl
import torch
from torchmetrics.classification import BinaryAUROC

from torchbp.nn import MLP, BCEWithLogitsLoss
from torchbp.ops.rules import Activation, rules
from torchbp.training.checkpoints.reading import read_checkpoint
from torchbp.training.checkpoints.tensors import check_numbers, check_shapes
from torchbp.training.data.columns import encode, feature_names
from torchbp.training.errors import SettingError, UserError
from torchbp.training.model.descent import Descent
from torchbp.training.model.evaluation import Evaluation
from torchbp.training.model.standardize import Standardize
from torchbp.training.model.trainer_settings import ENGINES, check_engine

LARGEST = torch.finfo(torch.float32).max


class Classifier(Descent, Evaluation, pl.LightningModule):
    """An `MLP` with one sigmoid output per class (one for two classes), trained by gradient descent; or E of them.

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
        members: E, for an ensemble: networks with weights of their own, trained on the same batches, which answer with
            their mean probability. None is one network.
        lr: the learning rate α > 0. A list of them is a sweep: `members` networks (1) for each, with the same first
            weights for each, of which those of the best lr answer: its mean P had the lowest validation loss.
        momentum: μ, in [0, 1).
        weight_decay: λ ≥ 0.
        engine: "autograd", through our Functions; or "explicit", the formulas without a graph: the same steps, to the
            last digits, in a fraction of the time, several of them in one step of Lightning's loop.
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
        members: int | None = None,
        lr: float | list[float] = 0.1,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        pos_weight: float | str | None = None,
        engine: str = "autograd",
    ):
        super().__init__()
        if not hidden or min(hidden) < 1:
            raise SettingError(f"model.hidden={hidden} must list the units of at least one hidden layer, each ≥ 1")
        if activation not in rules(Activation):
            raise SettingError(f"model.activation={activation!r} is not known; use {', '.join(rules(Activation))}")
        if engine not in ENGINES:
            raise SettingError(f"model.engine={engine!r} is not known; use {', '.join(ENGINES)}")
        rates = lr if isinstance(lr, list) else [lr]
        if not rates or len(set(rates)) < len(rates) or not all(0 < rate <= LARGEST for rate in rates):
            raise SettingError(f"model.lr={lr} must be a positive number, or a list of different ones")
        if members is not None and members < 1:
            raise SettingError(f"model.members={members} must be at least 1")
        if not 0 <= momentum < 1:
            raise SettingError(f"model.momentum={momentum} must lie in [0, 1)")
        if not 0 <= weight_decay < math.inf:
            raise SettingError(f"model.weight_decay={weight_decay} must not be negative")
        if columns is not None and len(feature_names(columns)) != in_features:
            raise SettingError(
                f"the columns make {len(feature_names(columns))} features, and in_features={in_features}"
            )
        if missing not in ("refuse", "mean"):
            raise SettingError(f"missing={missing!r} must be refuse or mean")
        if pos_weight not in (None, "balanced") and (isinstance(pos_weight, str) or not 0 < pos_weight < math.inf):
            raise SettingError(f"model.pos_weight={pos_weight} must be balanced or a positive number")
        self.save_hyperparameters()
        self.hparams.pop("_instantiator", None)  # Lightning's: what to call in order to make this object
        self.standardize = Standardize(in_features, impute=missing == "mean")
        self.binary = len(classes) == 2 and not multilabel
        outputs = 1 if self.binary else len(classes)
        self.groups = len(rates)
        self.members = members if not isinstance(lr, list) else len(rates) * (members or 1)
        self.net = MLP(in_features, *hidden, outputs, activation=activation, members=self.members)
        self.losses = {}  # of the last epoch and the last validation, on the CPU: () or, of each member, (E)
        if self.members:
            self.register_buffer("chosen", torch.ones(self.members, dtype=torch.bool))
            self.register_buffer("best_scores", torch.full((5, self.groups), torch.inf))
            self.register_buffer("best_epoch", torch.zeros(self.groups, dtype=torch.long))
            for p in self.net.parameters():  # of each lr the same
                starts = p.detach().unflatten(0, (self.groups, -1))
                starts.copy_(starts[0].clone())
        weight = 1.0 if pos_weight in (None, "balanced") else pos_weight
        self.loss = BCEWithLogitsLoss(pos_weight=None if pos_weight is None else torch.full((outputs,), weight))
        self.auroc = BinaryAUROC() if self.binary else None

    def setup(self, stage):
        if stage == "fit":
            check_engine(self.trainer, self.trainer.datamodule, self)
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
    def predict_proba(self, x, spread=False):
        """σ(Z), shape `(N, outputs)`, of raw rows: a tensor or an array `(N, in_features)`, or a pandas frame with the
        columns that the network was trained on, among others and in any order.

        Of an ensemble it is the mean of its members' or, with `spread`, that and their standard deviation, a pair.

        Raises:
            UserError: another shape; a frame that lacks a column, or holds something that the network does not know.
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

    def named_columns(self):
        if self.hparams.columns is None:
            raise UserError("this network was trained without names of columns; give it a tensor")
        return self.hparams.columns

    def predicted(self, probabilities):
        """Name of the class of each row: the second of two from ½ on, otherwise the most probable."""
        of = (probabilities[:, 0] >= 0.5).long() if self.binary else probabilities.argmax(dim=1)
        return [self.hparams.classes[i] for i in of]

    def predict_step(self, batch):
        return self.predict_proba(batch, spread=self.members is not None)

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
        """The network of what `read_checkpoint` has read. Nothing is allocated before its tensors' shapes are compared.

        Raises:
            UserError: settings or tensors of another program, or weights that are not finite real numbers.
        """
        settings, state = checkpoint["hyper_parameters"], checkpoint["state_dict"]
        try:
            check_settings(settings, state)
            with torch.device("meta"):
                empty = cls(**settings)
            check_shapes(empty, state)
        except Exception as error:  # what settings of a foreign program raise depends on them
            raise UserError(f"{path} is a checkpoint of another program: {shortened(error)}") from None
        check_numbers(empty, state, path)
        model = cls(**settings)
        model.load_state_dict(state)
        return model.eval()


def check_settings(settings, state):
    """Raises a ValueError where names of a checkpoint's settings are no texts, or describe more layers than it has."""
    classes, columns, hidden = (settings.get(name) for name in ("classes", "columns", "hidden"))
    if not is_list_of(classes, str) or not 2 <= len(set(classes)) == len(classes):
        raise ValueError("its classes are not a list of different texts, at least two")
    if columns is not None:
        kinds = columns.values() if isinstance(columns, dict) and is_list_of(list(columns), str) else [()]
        if not all(kind is None or (is_list_of(kind, str) and 0 < len(set(kind)) == len(kind)) for kind in kinds):
            raise ValueError("its columns are not texts, each with the list of its categories, all different, or null")
    if is_list_of(hidden, int) and 2 * len(hidden) >= len(state):
        raise ValueError(f"it names {len(hidden)} hidden layers, and has {len(state)} tensors")


def shortened(error):
    """The first line of an error, without the middle of a long one: it may hold what a file holds."""
    return textwrap.shorten(str(error).partition("\n")[0], 200, placeholder=" …") or type(error).__name__


def is_list_of(value, kind):
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)
