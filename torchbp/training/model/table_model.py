"""What every trained model of a table can do: answer raw rows, and be scored in Lightning's validation and test."""

import pytorch_lightning as pl
import torch

from torchbp.training.data.columns import Columns, encode
from torchbp.training.errors import UserError
from torchbp.training.scores.evaluation import Evaluation


class TableModel(pl.LightningModule):
    """A subclass has the `task`, the `scaling` of raw features, the hyperparameters `in_features` and `columns`, and

    members         how many networks are scored one by one too; None is none of them
    gives_spread    whether `answers` can say how far its networks are apart
    forward(x)      outputs Z of raw rows, `(N, outputs)` or `(E, N, outputs)`

    and of several networks that answer together

    equation        of their answer
    numbers         of those that answer, as `torchbp explain --member` takes them
    shares()        of each of these in the answer
    made_with()     {name: value in words} of each of these: what it was trained with, where they differ
    answers_of_each(x)   of raw rows, `(M, N, outputs)`
    member(number)  one of them, as a `Network`
    """

    members: int | None = None
    gives_spread = False
    equation = ""
    numbers: list[int] = []  # noqa: RUF012  (of one network)

    def answers(self, x, spread: bool = False) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Probabilities, or the numbers of a regression, `(N, outputs)`, of raw rows; see `Network.answers`."""
        raise NotImplementedError

    def validation_outputs(self, x: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """Outputs Z, `(1, E, N, outputs)`, of the members that answer, of raw rows: x are the validation rows at these
        places, as `TabularData.rows` has them."""
        z = self(x)
        return z[self.chosen][None] if self.members else z[None, None]

    def raw_rows(self, x) -> torch.Tensor:
        """Rows as `answers` takes them, as a tensor of the model's dtype, on its device."""
        if hasattr(x, "columns"):
            x = torch.from_numpy(encode(x, self.named_columns()))
        x = torch.as_tensor(x).to(self.scaling.median)
        if x.dim() != 2 or x.shape[1] != self.hparams.in_features:
            raise UserError(f"rows of the shape {tuple(x.shape)} must be (N, {self.hparams.in_features}), raw features")
        return x

    def predict_proba(self, x, spread: bool = False) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """`answers`, which are probabilities. UserError for a regression, whose answers are none."""
        if not self.task.has_classes:
            raise UserError("the answers of a regression are no probabilities; use answers")
        return self.answers(x, spread)

    def named_columns(self) -> Columns:
        """The columns of the training table. UserError if there are none."""
        if self.hparams.columns is None:
            raise UserError("this network was trained without names of columns; give it a tensor")
        return self.hparams.columns

    # the hooks of Lightning's loops over validation rows, test rows, and rows without labels

    def predict_step(self, batch):
        return self.answers(batch, spread=self.gives_spread)

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
