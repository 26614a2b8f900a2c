"""Watching the gradients: do they reach the first layer, do units still learn, which rows pull hardest?

For rows n with a loss L_n each, and the layers l = 1 … L with Z_l = A_{l−1} W_lᵀ + b_l, A_l = f(Z_l):

    dZ_{l−1} = (dZ_l W_l) ∘ f′(A_{l−1})          of L_n, a row each
    dW_l     = (1/N) dZ_lᵀ A_{l−1}                of the mean loss
    ‖g_n‖²   = Σ_l ‖dz_{n,l}‖² (‖a_{n,l−1}‖² + 1)   the row's own gradient by all W and b, without making it:
               it is dz aᵀ for W and dz for b, and ‖dz aᵀ‖ = ‖dz‖ ‖a‖
               (Goodfellow 2015, Efficient Per-Example Gradient Computations, arXiv:1510.01799)
"""

import math

import torch
import torch.nn.functional as F
from pytorch_lightning.callbacks import Callback

from torchbp.nn import Linear
from torchbp.ops.linear import linear_dweight, linear_dx
from torchbp.ops.mlp import ACTIVATIONS
from torchbp.training.data import ROWS_AT_ONCE
from torchbp.training.errors import SettingError

# of a unit's output a: whether f′(a) is nearly 0, under 4 % of what it can be
SATURATED = {
    "sigmoid": lambda a: a * (1 - a) < 0.01,
    "tanh": lambda a: 1 - a.square() < 0.04,
    "relu": lambda a: a <= 0,
}
PERCENTILES = {
    "sample_gradient/p05": 0.05,
    "sample_gradient/p50": 0.5,
    "sample_gradient/p95": 0.95,
    "sample_gradient/max": 1.0,
}
LEARNT = 0.1  # the loss over that of the best answer that looks at no feature
VANISHED = 1e-3  # dZ of a layer over dZ of the last one
MOSTLY = {"sigmoid": 0.5, "tanh": 0.5, "relu": 0.95}  # the share of saturated units that is worth a word


@torch.no_grad()
def backward_pass(classifier, x, y):
    """A_{l−1} `(N, n_{l−1})` and dZ_l `(N, n_l)` of each layer l = 1 … L, of each row's own loss L_n.

    x, y are raw rows, `(N, in_features)` and `(N, outputs)`, on the classifier's device.
    """
    net, inputs = classifier.net, []
    a = classifier.standardize(x)
    for layer in net:
        if isinstance(layer, Linear):
            inputs.append(a)
        a = layer(a)
    with torch.enable_grad():
        z = a.detach().requires_grad_()
        (dz,) = torch.autograd.grad(classifier.loss(z, y) * len(x), z)
    _, _, f_dz = ACTIVATIONS[net.activation]
    weights = [layer.weight for layer in net if isinstance(layer, Linear)]
    dzs = [dz]
    for weight, a in zip(reversed(weights), reversed(inputs[1:]), strict=False):
        dzs.insert(0, f_dz(linear_dx(dzs[0], weight), a))
    return inputs, dzs


def sample_gradient_norms(inputs, dzs):
    """‖g_n‖, shape `(N,)`: the norm of each row's own gradient by all weights and biases."""
    pairs = zip(inputs, dzs, strict=True)
    return sum(dz.square().sum(1) * (a.square().sum(1) + 1) for a, dz in pairs).sqrt()


@torch.no_grad()
def gradient_flow(classifier, x, y):
    """What the monitor records, name: number; the names end in the number of the layer, from 1.

    dz_rms: root mean square of dZ, over rows and units; dw_rms: of dW; dw_to_w: ‖dW‖/‖W‖; saturated: share of the
    hidden layer's outputs where f′ is nearly 0; sample_gradient: percentiles of ‖g_n‖.
    """
    inputs, dzs = backward_pass(classifier, x, y)
    weights = [layer.weight for layer in classifier.net if isinstance(layer, Linear)]
    norms, is_saturated = torch.linalg.vector_norm, SATURATED[classifier.net.activation]
    found = [norms(dz) for dz in dzs]
    found += [norms(linear_dweight(dz, a)) for dz, a in zip(dzs, inputs, strict=True)]
    found += [norms(weight) for weight in weights]
    found += [is_saturated(a).sum(dtype=dzs[0].dtype) for a in inputs[1:]]
    rows = sample_gradient_norms(inputs, dzs).sort().values
    at = [round(part * (len(rows) - 1)) for part in PERCENTILES.values()]
    found = torch.cat([torch.stack(found), rows[at]]).tolist()  # to numbers in one step, for the sake of a GPU
    dz, dw, w, saturated = (found[start : start + len(dzs)] for start in range(0, 4 * len(dzs), len(dzs)))
    record = {}
    for layer in range(len(dzs)):
        norm = dw[layer] / len(x)  # dW of the mean loss
        record[f"dz_rms/{layer + 1}"] = dz[layer] / math.sqrt(dzs[layer].numel())
        record[f"dw_rms/{layer + 1}"] = norm / math.sqrt(weights[layer].numel())
        record[f"dw_to_w/{layer + 1}"] = norm / w[layer] if w[layer] else math.nan
        if layer + 1 < len(dzs):
            record[f"saturated/{layer + 1}"] = saturated[layer] / inputs[layer + 1].numel()
    return record | dict(zip(PERCENTILES, found[-len(PERCENTILES) :], strict=True))


class GradientMonitor(Callback):
    """Logs each layer's gradient and saturation, and the rows' own gradients, at the end of an epoch.

    They are those of the first training rows of the split, a 32nd of them but between 128 and 1024: one pass forward
    and one back by the formulas, a few per cent of an epoch, which leaves training as it is.

    Args:
        every_n_epochs: how often; 0 is never; None is every epoch of the first fifty, then fewer and fewer.
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
            x, y = trainer.datamodule.rows(rows[: min(max(len(rows) // 32, 128), 1024)])
            dtype = next(pl_module.parameters()).dtype
            self.sample = x.to(pl_module.device, dtype), y.to(pl_module.device, dtype)

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

    def troubles(self, trainer, classifier):
        """A sentence for each layer that has ceased to learn, and what helps; none if the network has learnt."""
        loss, guess = trainer.callback_metrics.get("train/loss", math.nan), trainer.datamodule.rows("train")[1].mean(0)
        if loss < LEARNT * F.binary_cross_entropy(guess, guess):
            return
        f = classifier.net.activation
        for name, value in self.record.items():
            kind, _, layer = name.partition("/")
            if kind == "saturated" and value >= MOSTLY[f]:
                yield (
                    f"{value:.0%} of layer {layer}'s outputs are saturated: its units hardly learn. A smaller lr, more "
                    f"weight_decay or {'tanh' if f == 'sigmoid' else 'a sigmoid'} as model.activation helps"
                )
            last = self.record[f"dz_rms/{len(classifier.hparams.hidden) + 1}"]
            if kind == "dz_rms" and value < VANISHED * last:
                yield (
                    f"layer {layer}'s gradient has vanished: its dZ is {value / last if last else 0:.0e} of the last "
                    "layer's. Fewer hidden layers or model.activation relu helps"
                )


def hardest_rows(classifier, x, y, count):
    """Indices and ‖g_n‖ of the `count` rows with the largest gradient of their own: hard, or mislabelled."""
    dtype = next(classifier.parameters()).dtype
    pieces = zip(x.to(dtype).split(ROWS_AT_ONCE), y.to(dtype).split(ROWS_AT_ONCE), strict=True)
    norms = torch.cat(
        [
            sample_gradient_norms(*backward_pass(classifier, x.to(classifier.device), y.to(classifier.device))).cpu()
            for x, y in pieces
        ]
    )
    norms, rows = norms.sort(descending=True, stable=True)
    return rows[:count], norms[:count]
