"""Gradient descent, as the training hooks of Lightning: a step through autograd, or several of the engine's at once."""

import torch

from torchbp import ops
from torchbp.engine import SGD
from torchbp.training.data.batches import Batches
from torchbp.training.errors import UserError


class Descent:
    """The part of `Classifier` that trains: it has `net`, `loss`, `standardize`, `members` and `groups`.

    Lightning counts a step for each call of `training_step`; the engine makes one of descent for each of the batches
    that the loader handed over at once, so that Lightning's loop, which costs more than they do, is run once for all.
    """

    def configure_optimizers(self):
        h = self.hparams
        numbers = {"lr": h.lr, "momentum": h.momentum, "weight_decay": h.weight_decay}
        if isinstance(h.lr, list):
            numbers["lr"] = torch.tensor(h.lr, dtype=torch.float64).repeat_interleave(self.members // self.groups)
        if h.engine == "autograd" and not self.members:
            return torch.optim.SGD(self.parameters(), **numbers)
        return SGD(self.net, **numbers, loss=self.loss)

    def on_train_epoch_start(self):
        exact = torch.float32 if self.device.type == "mps" else torch.float64
        self.loss_sum = torch.zeros(self.members or (), dtype=exact, device=self.device)  # of each member
        self.rows = 0

    def training_step(self, batch, batch_idx):
        x, y = batch
        sampler = getattr(self.trainer.train_dataloader, "sampler", None)
        ours = isinstance(sampler, Batches)
        if self.hparams.engine == "explicit":
            return self.steps(x, y, sampler.batch_size if ours else len(x))
        z = self(x)
        if not len(y):  # a process without a row of the last batch
            return z.sum()
        if self.members:
            losses = ops.binary_cross_entropy_with_logits(
                z, y.expand_as(z), reduction="none", pos_weight=self.loss.pos_weight
            )
            losses = losses.mean((1, 2))
        else:
            losses = self.loss(z, y)
        self.loss_sum.add_(losses.detach(), alpha=len(x))  # self.log at every step would be a third of its time
        self.rows += len(x)
        loss = losses.sum()  # whose gradient by the weights of a member is that of its own
        if self.trainer.world_size > 1 and ours:
            return loss * sampler.share(batch_idx)  # DDP averages over processes, and L is the mean over rows
        return loss

    def steps(self, x, y, batch_size):
        """A step of the engine on each batch of so many rows. Returns the mean loss."""
        optimizer = self.trainer.optimizers[0]
        batches = zip(self.standardize(x).split(batch_size), y.split(batch_size), strict=True)
        try:
            losses = [optimizer.backprop_step(*rows) for rows in batches]
        except FloatingPointError as error:
            raise UserError(f"trainer.detect_anomaly: {error}") from None
        losses = torch.stack(losses)
        last = len(x) - batch_size * (len(losses) - 1)  # rows of the last batch
        loss_sum = losses[:-1].sum(0).mul_(batch_size).add_(losses[-1], alpha=last)
        self.loss_sum.add_(loss_sum)
        self.rows += len(x)
        return loss_sum.mean() / len(x)

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
            optimizer_closure()  # the training step, which makes the steps of descent

    def on_train_epoch_end(self):
        sums = torch.cat([self.loss_sum.flatten(), self.loss_sum.new_tensor([self.rows])])
        sums = self.trainer.strategy.reduce(sums, reduce_op="sum").cpu()  # over the processes
        self.losses["train"] = (sums[:-1] / sums[-1]).view(self.loss_sum.shape)
        finite = self.losses["train"].isfinite()
        if self.members and (finite.to(self.device) & self.chosen).any():
            self.chosen &= finite.to(self.device)
        self.record({"train/loss": self.losses["train"][finite].mean()})

    def record(self, metrics):
        """Metrics of an epoch, tensors that are the same in all processes, for the callbacks, on the CPU, and loggers.

        `self.log` would take longer than the steps of a small network's epoch, and write them only after the epoch's
        checkpoint: a run that was cut off in between would lack them.
        """
        metrics = {name: value.cpu() for name, value in metrics.items()}
        self.trainer.callback_metrics.update(metrics)
        numbers = {name: value.item() for name, value in metrics.items()}
        for logger in self.trainer.loggers:
            logger.log_metrics({**numbers, "epoch": self.current_epoch}, self.trainer.global_step - 1)
