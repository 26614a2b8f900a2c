"""Gradient descent of a network, and its scores: the hooks that Lightning's loops call.

The formulas are in `torchbp/ops/`, and the update rules in torch.optim and in `torchbp/engine/optimizers/`.
"""

import torch

from torchbp.engine import seed_dropout
from torchbp.training.data.batches import Batches
from torchbp.training.descent.clipping import clip_gradients
from torchbp.training.descent.engine_steps import engine_steps
from torchbp.training.descent.epoch_loss import EpochLoss
from torchbp.training.descent.optimizers import make_optimizer, rates
from torchbp.training.descent.schedules import factor, set_rates
from torchbp.training.model.table_model import TableModel
from torchbp.training.scores.member_statistics import member_statistics


class Descent(TableModel):
    """The training of a `Network`, which has the layers `net`, the `scaling`, the `task` and the hyperparameters.

    train_losses: of the last epoch, on the CPU, `()` or `(E)`. val_scores: of the last validation, {metric: the same}.
    """

    def __init__(self):
        super().__init__()
        self.train_losses, self.val_scores = None, {}

    # training

    def configure_optimizers(self):
        return make_optimizer(self.net, self.hparams, self.members, self.task.criterion)

    def on_train_start(self):
        if getattr(self, "random_state", None) is not None:  # here, since building the run may have drawn numbers
            torch.set_rng_state(self.random_state.cpu())

    def on_train_epoch_start(self):
        self.epoch_loss = EpochLoss(self.members, self.device)
        if self.hparams.dropout:
            self._seed_dropout()

    def _seed_dropout(self):
        """Let the masks of an epoch be a function of the run, the epoch and the process, so that a resumed run has them
        again."""
        order = getattr(self.trainer.datamodule, "order", None)
        seed = (torch.initial_seed() if order is None else order) + 1000003 * (self.current_epoch + 1)
        if self.hparams.engine == "explicit":
            seed_dropout(self.net, seed if not self.members else [seed + e for e in range(self.members)])
        else:
            torch.manual_seed((seed + 7919 * self.trainer.global_rank) % 2**63)

    def training_step(self, batch, batch_idx):
        """One step through autograd, or with the engine one step for each of the batches that come together.

        Lightning counts a step for each call. Its loop costs more than the engine's step, so several share one call.
        """
        x, *target = batch
        self._set_rates(batch_idx)
        sampler = getattr(self.trainer.train_dataloader, "sampler", None)
        if self.hparams.engine == "explicit":
            batch_size, optimizer = (
                sampler.batch_size if isinstance(sampler, Batches) else len(x),
                self.trainer.optimizers[0],
            )
            y, optimizer.loss = self.task.target(*target)
            total = engine_steps(optimizer, self.scaling(x), y, batch_size)
            self.epoch_loss.add(total, len(x))
            return total.mean() / len(x)
        z = self(x)
        if not len(x):  # the last batch has no row for this process
            return z.sum()
        if self.members:
            losses = self.task.losses(z, *target)
        else:
            y, loss = self.task.target(*target)
            losses = loss(z, y)
        # self.log in every step would take a third of its time
        self.epoch_loss.add(losses.detach(), len(x), factor=len(x))
        loss = losses.sum()  # a member's weights are in its loss alone
        if self.trainer.world_size > 1 and isinstance(sampler, Batches):
            return loss * sampler.share(batch_idx)  # DDP averages over processes; L is the mean over rows
        return loss

    def _set_rates(self, batch_idx):
        """Set the learning rate of the batches to come, where there is a schedule."""
        h, trainer, group = self.hparams, self.trainer, 1
        if h.schedule is None and not h.warmup:
            return
        if h.engine == "autograd" and hasattr(trainer.datamodule, "batches_in_a_step"):
            group = trainer.datamodule.batches_in_a_step("explicit")  # so that both engines have the same rates
        if batch_idx % group:
            return
        of_epoch = -(-trainer.num_training_batches // group)
        update = self.current_epoch * of_epoch + batch_idx // group
        now = factor(h.schedule, update, of_epoch * trainer.max_epochs, h.warmup * of_epoch)
        now = now if self.plateau is None else now * self.plateau.factor
        set_rates(trainer.optimizers[0], rates(h, self.members), now)

    def on_before_optimizer_step(self, optimizer):
        if self.hparams.clip is not None:
            clip_gradients(self.net.parameters(), self.hparams.clip, self.members)

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
        self.train_losses = self.epoch_loss.mean(self.trainer.strategy)
        finite = self.train_losses.isfinite()
        if self.members and (finite.to(self.device) & self.chosen).any():
            self.chosen &= finite.to(self.device)
        self.log_epoch({"train/loss": self.train_losses[finite].mean()})

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

    def choose(self, members, groups, best):
        """After a validation, let the members of the group `best` answer that are finite, and note each group's best
        epoch. members, groups: as from `Scores.means`."""
        finite = members["loss"].isfinite()
        if finite[best].any():
            self.chosen.zero_().view(self.groups, -1)[best] = finite[best]
        scores = member_statistics(members, groups, self.task.score).to(self.best_scores.dtype)
        better = scores[0] < self.best_scores[0]
        self.best_scores.copy_(torch.where(better, scores, self.best_scores))
        self.best_epoch.masked_fill_(better, self.current_epoch + 1)
