"""“Until the loss reaches its minimum”: when gradient descent stops, and why it did."""

import torch
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason

from torchbp.training.data import ROWS_AT_ONCE
from torchbp.training.errors import SettingError


class UntilMinimum(EarlyStopping):
    """Stops training at a minimum of the loss: where its gradient vanishes, or where it falls no more.

    Whichever comes first; `max_epochs` of the trainer comes before both. `reason` says which it was.

    Args:
        min_grad_norm: stop when ‖∇L‖₂ over all parameters falls under it, at an epoch's end. L is the mean loss over
            the whole training split, weight decay included, at the weights of that moment. 0 never computes it.
        min_delta, patience: stop when `monitor` has not fallen by more than `min_delta` in `patience` epochs (or
            validations, for a `val/…` metric). Of a metric that is nan or infinite, training stops at once.
        monitor: the metric that should fall, `train/loss` or `val/loss`.

    Raises:
        SettingError: a negative number, or a patience under 1.
    """

    def __init__(
        self,
        min_grad_norm: float = 0.0,
        min_delta: float = 1e-4,
        patience: int = 20,
        monitor: str = "train/loss",
    ):
        for name, value in (("min_grad_norm", min_grad_norm), ("min_delta", min_delta)):
            if not value >= 0:
                raise SettingError(f"stopping.{name}={value} must not be negative")
        if patience < 1:
            raise SettingError(f"stopping.patience={patience} must be at least 1")
        if monitor not in ("train/loss", "val/loss"):
            raise SettingError(f"stopping.monitor={monitor!r} must be train/loss or val/loss")
        super().__init__(monitor, min_delta, patience, check_on_train_epoch_end=monitor == "train/loss")
        self.min_grad_norm = min_grad_norm
        self.grad_norm = None

    def on_train_start(self, trainer, pl_module):
        if self.at_minimum() or self.wait_count >= self.patience:  # resumed from where it had stopped
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer, pl_module):
        super().on_train_epoch_end(trainer, pl_module)
        if self.min_grad_norm > 0:
            if trainer.is_global_zero:
                self.grad_norm = full_gradient_norm(pl_module, *trainer.datamodule.rows("train"))
            self.grad_norm = trainer.strategy.broadcast(self.grad_norm)  # so that all processes stop, or none
            if self.at_minimum():
                trainer.should_stop = True

    def at_minimum(self):
        return self.grad_norm is not None and self.grad_norm < self.min_grad_norm

    def reason(self, trainer):
        """One sentence: why this trainer's `fit` ended."""
        if self.stopping_reason is EarlyStoppingReason.NON_FINITE_METRIC:
            return f"{self.monitor} is no longer a finite number; a smaller lr helps"
        if self.at_minimum():
            return f"the gradient vanished: its norm {self.grad_norm:.3g} is under min_grad_norm {self.min_grad_norm:g}"
        if self.wait_count >= self.patience:
            times = "epochs" if self.monitor == "train/loss" else "validations"
            by = f" by {-self.min_delta:g}" if self.min_delta else ""
            return f"{self.monitor} has not fallen{by} in {self.patience} {times} (patience)"
        if trainer.interrupted:
            return "it was interrupted"
        for limit, done in (("max_epochs", trainer.current_epoch), ("max_steps", trainer.global_step)):
            if done == getattr(trainer, limit):
                return f"{limit} {done} is reached"
        return "the trainer's own limit is reached"  # max_time, or a callback of the user's

    def state_dict(self):
        return {**super().state_dict(), "grad_norm": self.grad_norm}

    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict | {"patience": self.patience})  # the user's, and not the checkpoint's
        self.grad_norm = state_dict["grad_norm"]


def full_gradient_norm(classifier, x, y):
    """‖∇L‖₂ over all parameters, L the mean loss of the rows x, y plus ½ λ ‖W‖². It touches no `.grad`."""
    parameters = [p for p in classifier.parameters() if p.requires_grad]
    x, y = x.to(parameters[0].dtype), y.to(parameters[0].dtype)
    total = [classifier.hparams.weight_decay * p.detach() for p in parameters]
    for rows in torch.arange(len(x)).split(ROWS_AT_ONCE):
        loss = classifier.loss(classifier(x[rows].to(classifier.device)), y[rows].to(classifier.device))
        for sum_, gradient in zip(total, torch.autograd.grad(loss, parameters), strict=True):
            sum_.add_(gradient, alpha=len(rows) / len(x))
    return torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in total])).item()
