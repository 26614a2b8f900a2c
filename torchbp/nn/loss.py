"""The losses as modules. Their equations are in `torchbp/ops/losses/`."""

import torch

from torchbp import ops
from torchbp.ops.registry import implements, rules
from torchbp.ops.rules import Loss

LOSSES = rules(Loss)


@implements(LOSSES["cross_entropy"])
class CrossEntropyLoss(torch.nn.CrossEntropyLoss):
    """`torch.nn.CrossEntropyLoss` with its backward written out, of logits Z: `dZ = (softmax(Z) − onehot(y)) / N`.

    Arguments and results are those of `torch.nn.CrossEntropyLoss`. Without label smoothing the gradient of a class that
    is nearly sure keeps its leading digits, where torch's rounds to 0; its relative error is that of ln P.

    Example:
        >>> torchbp.nn.CrossEntropyLoss()(torch.zeros(1, 4), torch.tensor([2]))  # ln 4 = 1.3863
    """

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return ops.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


@implements(LOSSES["nll_loss"])
class NLLLoss(torch.nn.NLLLoss):
    """`torch.nn.NLLLoss` with its backward written out, of log-probabilities X: `dX = −onehot(y) / N`.

    Arguments and results are those of `torch.nn.NLLLoss`.

    Example:
        >>> torchbp.nn.NLLLoss()(torch.tensor([[0.7, 0.3]]).log(), torch.tensor([0]))  # −ln 0.7 = 0.3567
    """

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return ops.nll_loss(input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction)


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
    """`torch.nn.BCEWithLogitsLoss` with its backward written out, of logits Z: `dZ = (σ(Z) − y) / N`.

    Arguments and results are those of `torch.nn.BCEWithLogitsLoss`, but for the gradient of y = 0 or 1 at large logits:
    it is exact, where torch's rounds to 0.

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


@implements(LOSSES["l1_loss"])
class L1Loss(torch.nn.L1Loss):
    """`torch.nn.L1Loss` with its backward written out: `L = (1/N) Σ |X − Y|`, `dX = sgn(X − Y) / N`, `dY = −dX`.

    Arguments and results are those of `torch.nn.L1Loss`.

    Example:
        >>> torchbp.nn.L1Loss()(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 1.0]))  # (0 + 2)/2 = 1
    """

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return ops.l1_loss(input, target, reduction=self.reduction)


@implements(LOSSES["huber_loss"])
class HuberLoss(torch.nn.HuberLoss):
    """`torch.nn.HuberLoss` with its backward written out: `dX = max(min(X − Y, δ), −δ) / N`, `dY = −dX`.

    Arguments and results are those of `torch.nn.HuberLoss`.

    Example:
        >>> torchbp.nn.HuberLoss()(torch.tensor([0.5, 3.0]), torch.zeros(2))  # (0.125 + 2.5)/2 = 1.3125
    """

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return ops.huber_loss(input, target, reduction=self.reduction, delta=self.delta)


@implements(LOSSES["smooth_l1_loss"])
class SmoothL1Loss(torch.nn.SmoothL1Loss):
    """`torch.nn.SmoothL1Loss` with its backward written out: `dX = max(min((X − Y)/β, 1), −1) / N`, `dY = −dX`.

    Arguments and results are those of `torch.nn.SmoothL1Loss`.

    Example:
        >>> torchbp.nn.SmoothL1Loss()(torch.tensor([0.5, 3.0]), torch.zeros(2))  # (0.125 + 2.5)/2 = 1.3125
    """

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return ops.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


@implements(LOSSES["kl_div"])
class KLDivLoss(torch.nn.KLDivLoss):
    """`torch.nn.KLDivLoss` with its backward written out: `dX = −Y / N`, `dY = (ln Y − X + 1) / N`; X is ln P.

    Arguments and results are those of `torch.nn.KLDivLoss`.

    Example:
        >>> x, y = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[1.0, 0.0]])
        >>> torchbp.nn.KLDivLoss(reduction="batchmean")(x, y)  # ln 2 = 0.6931
    """

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return ops.kl_div(input, target, reduction=self.reduction, log_target=self.log_target)
