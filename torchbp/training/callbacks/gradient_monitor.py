"""The callback that records the gradients of a run, and names the layers that do not learn."""

import math

from pytorch_lightning.callbacks import Callback

from torchbp.ops import registry
from torchbp.training.callbacks.gradients import gradient_flow, of_rows
from torchbp.training.callbacks.saturation import TOO_MANY, saturation_trouble
from torchbp.training.errors import SettingError

LEARNT = 0.1  # the training loss over that of the best constant answer: below it, no trouble is reported
VANISHED = 1e-3  # dZ of a layer over dZ of the last one


class GradientMonitor(Callback):
    """Logs the gradient and the saturation of each layer, and the gradients of single rows, at the end of an epoch.

    They are those of the first rows of the training split: a 32nd of them, but between 128 and 1024. It takes one pass
    forward and one back by the formulas, a few per cent of an epoch, and does not change the training.

    Args:
        every_n_epochs: how many epochs lie between two records; 0 is never. None is every epoch of the first fifty,
            then fewer and fewer.
    """

    def __init__(self, every_n_epochs: int | None = None):
        if every_n_epochs is not None and every_n_epochs < 0:
            raise SettingError(f"gradients.every_n_epochs={every_n_epochs} must not be negative")
        self.every_n_epochs = every_n_epochs
        self.record = {}

    def on_train_start(self, trainer, pl_module):
        self.sample = None
        if self.every_n_epochs != 0 and trainer.is_global_zero and trainer.datamodule is not None:
            rows = trainer.datamodule.splits["train"]
            sample = trainer.datamodule.rows(rows[: min(max(len(rows) // 32, 128), 1024)])
            p = next(pl_module.parameters())
            self.sample = [of_rows(t, p).to(p.device) for t in sample]

    def on_train_epoch_end(self, trainer, pl_module):
        epoch = trainer.current_epoch
        if self.sample is None or epoch % (self.every_n_epochs or max(1, epoch // 25)):
            return
        self.record = gradient_flow(pl_module, *self.sample)
        for logger in trainer.loggers:
            logger.log_metrics({"epoch": epoch, **self.record}, trainer.global_step)

    def state_dict(self):
        return {"record": self.record}

    def load_state_dict(self, state_dict):
        self.record = state_dict["record"]

    def troubles(self, trainer, model):
        """A sentence for each layer that no longer learns, and what helps; none if the network has learnt."""
        loss = trainer.callback_metrics.get("train/loss", math.nan)
        _, *target = trainer.datamodule.rows("train")
        if loss < LEARNT * model.task.constant_loss(*target):
            return
        rule = registry.activation(model.hparams.activation)
        for name, value in self.record.items():
            kind, _, layer = name.partition("/")
            if kind == "saturated" and value >= TOO_MANY:
                yield f"{value:.0%} of layer {layer}'s {saturation_trouble(rule.name)}"
            last = self.record[f"dz_rms/{len(model.hparams.hidden) + 1}"]
            if kind == "dz_rms" and value < VANISHED * last:
                remedy = " or model.activation relu" if rule.flat == "both sides" else ""
                yield (
                    f"layer {layer}'s gradient has vanished: its dZ is {value / last if last else 0:.0e} of the last "
                    f"layer's. Fewer hidden layers{remedy} helps"
                )
