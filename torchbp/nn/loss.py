"""The losses as modules. Their equations are in `torchbp/ops/`."""

import torch

from torchbp import ops
from torchbp.ops.rules import Loss, implements, rules

LOSSES = rules(Loss)


@implements(LOSSES["binary_cross_entropy"])
class BCELoss(torch.nn.BCELoss):
    """`torch.nn.BCELoss` with its backward written out, of probabilities A: `dA = (A − y) / (A (1 − A)) / N`.

    Arguments and results are those of `torch.nn.BCELoss`, its clamps included.
    """

    def forward(self, input, target):
        return ops.binary_cross_entropy(input, target, self.weight, reduction=self.reduction)


@implements(LOSSES["binary_cross_entropy_with_logits"])
class BCEWithLogitsLoss(torch.nn.BCEWithLogitsLoss):
    """`torch.nn.BCEWithLogitsLoss` with its backward written out, of logits Z: `dZ = (σ(Z) − y) / N`, exact at any Z.

    Arguments and results are those of `torch.nn.BCEWithLogitsLoss`.
    """

    def forward(self, input, target):
        return ops.binary_cross_entropy_with_logits(
            input, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )


@implements(LOSSES["mse_loss"])
class MSELoss(torch.nn.MSELoss):
    """`torch.nn.MSELoss` with its backward written out: `L = (1/N) Σ (X − Y)²`, `dX = 2 (X − Y) / N`, `dY = −dX`.

    Arguments and results are those of `torch.nn.MSELoss`.
    """

    def forward(self, input, target):
        return ops.mse_loss(input, target, reduction=self.reduction)
