"""A pack as one model: networks that differ, chosen together, answer with their weighted mean."""

import copy
import os
from typing import Any

import torch

from torchbp import __version__
from torchbp.estimators.pack_training import embedded_network
from torchbp.estimators.scaling import Ranked
from torchbp.scaling import Clipped
from torchbp.training.checkpoints.network import load_network
from torchbp.training.checkpoints.reading import read_checkpoint
from torchbp.training.data.batches import ROWS_AT_ONCE
from torchbp.training.errors import SettingError
from torchbp.training.model.network import Network
from torchbp.training.model.table_model import TableModel
from torchbp.training.tasks import make_task

SCALINGS = {"clipped": Clipped, "ranked": Ranked}
OF_MEMBER = ("in_features", "classes", "columns", "task", "activation", "loss", "label_smoothing", "class_weight")


class PackNetwork(TableModel):
    """The chosen networks of `torchbp fit --recipe pack`, in float64.

        P = Σ_c share_c (1/K) Σ_k P_ck        of the configurations c, each trained without each of the K folds

    Args:
        in_features, classes, columns, task, loss, label_smoothing, class_weight: as of `Network`.
        activation: of the hidden layers.
        scaling: of the features, "clipped" or "ranked"; inputs: how many numbers it makes of them.
        configurations: all that were trained, by their numbers: `number, hidden, lr, weight_decay, dropout`, the
            `frequency` of a periodic embedding of the ranks, 0 without one, the `loss` of their answers to the rows
            that they were not trained on, and the `share`, 0 of those that are not chosen.
        fold_sizes: how many validation rows each of the K folds has. They are the validation rows of the table, one
            fold after the other. The network k of each configuration was not trained on those of the fold k.
        seed: of all that is drawn.

    Network k of the configuration c is the member (c − 1) K + k; all are numbered from 1.

    Raises:
        SettingError, TypeError: values that no pack has.

    Example:
        >>> one = {"number": 1, "hidden": [8], "dropout": 0.0, "share": 1.0}
        >>> model = torchbp.training.PackNetwork(5, ["no", "yes"], None, "binary", [one], fold_sizes=[20, 20], inputs=5)
        >>> p, spread = model.answers(torch.rand(3, 5), spread=True)  # (3, 1) each
    """

    gives_spread = True

    def __init__(
        self,
        in_features: int,
        classes: list[str],
        columns: dict[str, dict[str, Any]] | None,
        task: str,
        configurations: list[dict[str, Any]],
        fold_sizes: list[int],
        inputs: int,
        activation: str = "silu",
        scaling: str = "clipped",
        loss: str | None = None,
        label_smoothing: float = 0.0,
        class_weight: dict[str, float] | str | None = None,
        seed: int = 0,
    ):
        super().__init__()
        self.save_hyperparameters()
        if scaling not in SCALINGS:
            raise SettingError(f"scaling={scaling!r} of a pack is not known; use {', '.join(SCALINGS)}")
        self.task = make_task(task, classes, loss=loss, label_smoothing=label_smoothing, class_weight=class_weight)
        self.scaling = SCALINGS[scaling](in_features)
        self.chosen = [one for one in configurations if one["share"] > 0]
        self.nets = torch.nn.ModuleList(
            embedded_network(
                [inputs, *one["hidden"], self.task.outputs],
                activation,
                one["dropout"],
                one.get("frequency", 0.0),
                inputs - in_features,  # ranks
            )
            for one in self.chosen
            for _ in fold_sizes
        )
        self.double()

    @property
    def fold_sizes(self) -> list[int]:
        return self.hparams.fold_sizes

    @property
    def numbers(self) -> list[int]:
        """Of the members that answer."""
        folds = len(self.fold_sizes)
        return [(one["number"] - 1) * folds + fold + 1 for one in self.chosen for fold in range(folds)]

    def configuration_of(self, number: int) -> dict[str, Any]:
        """What a member was trained with."""
        return self.chosen[self.numbers.index(number) // len(self.fold_sizes)]

    def forward(self, x: torch.Tensor, fold: int | None = None) -> torch.Tensor:
        """Outputs Z, `(N, outputs)`, of raw rows `(N, in_features)`: those whose answer is the mean of the members', or
        of those that were not trained on this fold."""
        return self.task.outputs_for(self._mean(x.to(self.scaling.median), fold)[0])

    @torch.no_grad()
    def answers(self, x, spread: bool = False, fold: int | None = None):
        """As `Network.answers`: the mean over the members by their shares, and with `spread` also the standard
        deviation around it. fold: only by the members that were not trained on this fold."""
        mean, deviation = self._mean(self.raw_rows(x), fold)
        return (mean, deviation) if spread else mean

    def _mean(self, x, fold=None):
        """The mean and the standard deviation of the members' answers, each `(N, outputs)`."""
        scaled, total, folds = self.scaling(x), 0.0, len(self.fold_sizes)
        mean = squares = x.new_zeros(len(x), self.task.outputs)
        for place, (net, share) in enumerate(zip(self.nets, self.shares(), strict=True)):
            if fold in (None, place % folds):
                answers = self.task.answers(net(scaled))
                total += share
                step = answers - mean
                mean = mean + share / total * step
                squares = squares + share * step * (answers - mean)
        return mean, (squares / total).clamp(min=0).sqrt()

    # the networks, one by one, as `TableModel` says

    @property
    def equation(self) -> str:
        return "{0} = Σ_c share_c (1/K) Σ_k {0}_ck".format("P" if self.task.has_classes else "Ŷ")

    def shares(self) -> list[float]:
        folds = len(self.fold_sizes)
        return [one["share"] / folds for one in self.chosen for _ in range(folds)]

    @torch.no_grad()
    def answers_of_each(self, x: torch.Tensor) -> torch.Tensor:
        scaled = self.scaling(x)
        return torch.stack([self.task.answers(net(scaled)) for net in self.nets])

    def made_with(self) -> list[dict[str, str]]:
        return [
            {
                "configuration": str(one["number"]),
                "fold": str(fold + 1),
                "hidden": "-".join(map(str, one["hidden"])),
                "lr": f"{one['lr']:.2g}",
            }
            for one in self.chosen
            for fold in range(len(self.fold_sizes))
        ]

    def member(self, number: int) -> Network:
        """One of the networks, `number` as in `numbers`, as a `Network` in float64 with the pack's scaling and task.

        Raises:
            SettingError: a number of none that answers.
        """
        if number not in self.numbers:
            known = ", ".join(map(str, self.numbers))
            raise SettingError(f"the member {number} is none of those that answer; they are {known}")
        place, one = self.numbers.index(number), self.configuration_of(number)
        same = {name: self.hparams[name] for name in OF_MEMBER}
        network = Network(**same, **{name: one[name] for name in ("hidden", "lr", "weight_decay")})
        network.hparams.scaling = self.hparams.scaling
        network.scaling, network.task = copy.deepcopy(self.scaling), copy.deepcopy(self.task)
        layers = [layer for layer in copy.deepcopy(self.nets[place]) if not isinstance(layer, torch.nn.Dropout)]
        network.net = torch.nn.Sequential(*layers)
        return network.double().eval()

    @torch.no_grad()
    def held_out_answers(self, x: torch.Tensor) -> torch.Tensor:
        """The answers, `(N, outputs)`, to the validation rows, x as `TabularData.rows` has them: to each row by the
        members that were not trained on it."""
        pieces = [
            (fold, piece) for fold, part in enumerate(x.split(self.fold_sizes)) for piece in part.split(ROWS_AT_ONCE)
        ]
        return torch.cat([self.answers(piece, fold=fold) for fold, piece in pieces])

    def validation_outputs(self, x, places):
        """As `TableModel`: of each row by the members that were not trained on it."""
        ends = torch.tensor(self.fold_sizes).cumsum(0)
        folds = torch.bucketize(places, ends, right=True).to(x.device)
        z = x.new_empty(len(x), self.task.outputs)
        for fold in folds.unique().tolist():
            z[folds == fold] = self(x[folds == fold], fold)
        return z[None, None]

    def validation_step(self, batch, batch_idx=0, dataloader_idx=None):
        self.evaluation.add(batch, fold=dataloader_idx)  # which loader it is, where there is one for each fold

    @classmethod
    def load_from_checkpoint(
        cls, path: str | os.PathLike[str], map_location: str | torch.device = "cpu"
    ) -> "PackNetwork":
        """The pack of a checkpoint; as `Network.load_from_checkpoint`."""
        return load_network(cls, read_checkpoint(path), path).to(map_location)

    def on_save_checkpoint(self, checkpoint):
        checkpoint["torchbp_version"] = __version__
