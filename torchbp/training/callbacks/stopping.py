"""When gradient descent stops, and why: “until the loss reaches its minimum”."""

import collections

import torch
from pytorch_lightning.callbacks import EarlyStopping

from torchbp.engine.fitting.stopping import DESCENDS, GRADIENT, NOT_FINITE, PATIENCE, Minimum
from torchbp.training.callbacks.gradients import full_gradient_norm
from torchbp.training.checkpoints.saving import METRICS
from torchbp.training.errors import SettingError, UserError

WHY = {DESCENDS: "descending", GRADIENT: "gradient", PATIENCE: "patience", NOT_FINITE: "diverged"}


class UntilMinimum(EarlyStopping):
    """Stops training at a minimum of the loss: when its gradient vanishes or when it no longer falls.

    The first of the two stops it, or the trainer's `max_epochs`; `reason` says which. Each member of an ensemble stops
    by itself: its weights no longer change, and training ends when all members have stopped.

    Args:
        min_grad_norm: stop when ‖∇L‖₂ over all parameters is below it at the end of an epoch. L is the mean loss over
            the whole training split, with weight decay, at the weights of that moment. 0 never computes it.
        min_delta: the least fall of `monitor` that counts.
        patience: stop when `monitor` has not fallen by more than `min_delta` in so many epochs. For a `val/…` metric it
            counts validations. Training stops at once if the metric is nan or infinite.
        monitor: the metric that should fall, `train/loss`, `val/loss` or another score of the validation rows; one that
            is best where it is large, as `val/accuracy`, should rise instead.

    Raises:
        SettingError: a negative number, or a patience under 1.

    Example:
        >>> stopping = torchbp.training.UntilMinimum(min_grad_norm=0.01, patience=5)  # a callback of the Trainer
    """

    def __init__(
        self,
        min_grad_norm: float = 0.0,
        min_delta: float = 1e-3,
        patience: int = 10,
        monitor: str = "val/loss",
    ):
        for name, value in (("min_grad_norm", min_grad_norm), ("min_delta", min_delta)):
            if not value >= 0:
                raise SettingError(f"stopping.{name}={value} must not be negative")
        if patience < 1:
            raise SettingError(f"stopping.patience={patience} must be at least 1")
        if monitor not in METRICS:
            raise SettingError(f"stopping.monitor={monitor!r} is not a metric of training; use {', '.join(METRICS)}")
        # An EarlyStopping only so that Lightning calls it after the callbacks that log; none of its logic is used.
        super().__init__(monitor)
        self.min_grad_norm, self.min_delta, self.patience = min_grad_norm, min_delta, patience
        self.minimum = self.grad_norm = None

    def setup(self, trainer, pl_module, stage):
        if stage == "fit":
            self.minimum = Minimum(self.min_delta, self.patience, self.min_grad_norm, pl_module.members)

    def on_train_start(self, trainer, pl_module):
        self._stop(trainer)  # a resumed run may have stopped before, or some of its members

    def on_validation_end(self, trainer, pl_module):
        if self.monitor != "train/loss" and trainer.state.fn == "fit" and not trainer.sanity_checking:
            name = self.monitor.removeprefix("val/")
            if name not in pl_module.val_scores:
                raise UserError(f"stopping.monitor={self.monitor} has no value: all validation rows have one class")
            self._update(trainer, pl_module.val_scores[name] * (1 if METRICS[self.monitor] == "min" else -1))
            self._stop(trainer)

    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.fast_dev_run:
            return
        if self.min_grad_norm > 0:
            if trainer.is_global_zero:
                self.grad_norm = full_gradient_norm(pl_module, *trainer.datamodule.rows("train"))
            self.grad_norm = trainer.strategy.broadcast(self.grad_norm)  # so that all processes stop, or none
        if self.monitor == "train/loss":
            self._update(trainer, pl_module.train_losses, self.grad_norm)
        elif self.min_grad_norm > 0:
            self.minimum.stop(self.minimum.active & (self.grad_norm < self.min_grad_norm), GRADIENT)
        self._stop(trainer)

    def _update(self, trainer, losses, grad_norm=None):
        were_active = self.minimum.active
        self.minimum.update(losses, grad_norm)
        # epochs of the trainer; the rule has counted validations
        self.minimum.epochs = torch.where(were_active, trainer.current_epoch + 1, self.minimum.epochs)

    def _stop(self, trainer):
        """Stop the members that are at their minimum, and training if all are."""
        active = self.minimum.active
        if active.dim():
            optimizer = trainer.optimizers[0]
            p = optimizer.param_groups[0]["params"][0]
            optimizer.active = None if active.all() else active.to(p.device)
        if not active.any():
            trainer.should_stop = True

    def reason(self, trainer) -> str:
        """One sentence: why this trainer's `fit` ended."""
        minimum = self.minimum
        if minimum.why.dim():
            return self._reason_of_members(trainer)
        if minimum.why == NOT_FINITE:
            return f"{self.monitor} is no longer a finite number; a smaller lr helps"
        if minimum.why == GRADIENT:
            return f"the gradient vanished: its norm {self.grad_norm:.3g} is under min_grad_norm {self.min_grad_norm:g}"
        if minimum.why == PATIENCE:
            times = "epochs" if self.monitor == "train/loss" else "validations"
            by = f" by {self.min_delta:g}" if self.min_delta else ""
            moved = "fallen" if METRICS[self.monitor] == "min" else "risen"
            return f"{self.monitor} has not {moved}{by} in {self.patience} {times} (patience)"
        return _reached_limit(trainer)

    def _reason_of_members(self, trainer):
        counts = self.counts()
        if DESCENDS in self.minimum.why:
            return f"{_reached_limit(trainer)}; members: {counts}"
        return f"all members have stopped: {counts}"

    def counts(self, members=slice(None)) -> str:
        """How many of these members have stopped for each reason."""
        why = collections.Counter(self.minimum.why[members].tolist())
        return ", ".join(f"{why[kind]} {word}" for kind, word in WHY.items() if why[kind])

    def state_dict(self):
        return {**self.minimum.state_dict(), "grad_norm": self.grad_norm}

    def load_state_dict(self, state_dict):
        minimum = self.minimum
        for name, value in minimum.state_dict().items():
            if not isinstance(state_dict[name], torch.Tensor) or state_dict[name].shape != value.shape:
                raise ValueError(f"{name} of UntilMinimum is damaged")
        self.grad_norm = state_dict["grad_norm"]
        minimum.load_state_dict({name: state_dict[name] for name in minimum.state_dict()})
        # Re-evaluate with the patience and min_grad_norm of this command, not of the checkpoint.
        finite = minimum.why != NOT_FINITE
        minimum.stop(finite, DESCENDS)
        minimum.stop(finite & (minimum.waited >= self.patience), PATIENCE)
        if self.grad_norm is not None:
            minimum.stop(finite & (self.grad_norm < self.min_grad_norm), GRADIENT)


def _reached_limit(trainer):
    for name, done in (("max_epochs", trainer.current_epoch), ("max_steps", trainer.global_step)):
        if done == getattr(trainer, name):
            return f"{name} {done} is reached"
    return "the trainer has stopped it"  # max_time, or another callback
