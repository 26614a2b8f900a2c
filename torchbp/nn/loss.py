"""The losses as modules. Their equations are in `torchbp/ops/`."""

import torch

from torchbp import ops
from torchbp.ops.registry import implements, rules
from torchbp.ops.rules import Loss

LOSSES = rules(Loss)


@implements(LOSSES["binary_cross_entropy"])
class BCELoss(torch.nn.BCELoss):
    """`torch.nn.BCELoss` with its backward written out, of probabilities A: `dA = (A − y) / (A (1 − A)) / N`.

    Arguments and results are those of `torch.nn.BCELoss`, its clamps included.

    Example:
        >>> torchbp.nn.BCELoss()(torch.tensor([0.8]), torch.tensor([1.0]))  # −ln 0.8 = 0.2231
    """

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return ops.binary_cross_entropy(input, target, self.weight, reduction=self.reduction)


@implements(LOSSES["binary_cross_entropy_with_logits"])
class BCEWithLogitsLoss(torch.nn.BCEWithLogitsLoss):
    """`torch.nn.BCEWithLogitsLoss` with its backward written out, of logits Z: `dZ = (σ(Z) − y) / N`, exact at any Z.

    Arguments and results are those of `torch.nn.BCEWithLogitsLoss`.

    Example:
        >>> torchbp.nn.BCEWithLogitsLoss()(torch.zeros(1), torch.ones(1))  # ln 2 = 0.6931
    """

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return ops.binary_cross_entropy_with_logits(
            input, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )


@implements(LOSSES["mse_loss"])
class MSELoss(torch.nn.MSELoss):
    """`torch.nn.MSELoss` with its backward written out: `L = (1/N) Σ (X − Y)²`, `dX = 2 (X − Y) / N`, `dY = −dX`.

    Arguments and results are those of `torch.nn.MSELoss`.

    Example:
        >>> torchbp.nn.MSELoss()(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 1.0]))  # (0 + 4)/2 = 2
    """

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return ops.mse_loss(input, target, reduction=self.reduction)
