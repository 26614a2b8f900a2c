"""The whole of a trained network, raw features in and answers out, in operations that every format has."""

import copy
import math

import torch

from torchbp.estimators.scaling import Ranked
from torchbp.scaling import FARTHEST, Quantile, smoothly_clipped
from torchbp.training.model.pack_network import PackNetwork


def answering(network):
    """The module that is exported: `Answering`, or `PackAnswering`."""
    return PackAnswering(network) if isinstance(network, PackNetwork) else Answering(network)


class PackAnswering(torch.nn.Module):
    """The same of a `PackNetwork`, in float32: the mean of its members' answers by their shares."""

    def __init__(self, pack):
        super().__init__()
        pack = copy.deepcopy(pack).float()
        self.scaling, self.nets, self.task = _scaling_of_basics(pack.scaling), pack.nets, pack.task
        self.shares = pack.shares()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        scaled = self.scaling(features)
        return sum(share * self.task.answers(net(scaled)) for net, share in zip(self.nets, self.shares, strict=True))


class Answering(torch.nn.Module):
    """Raw features `(N, in_features)`, nan for a missing value, to the answers `(N, outputs)` of a `Network`:
    probabilities, or numbers in the units of the target. An ensemble answers with the mean of its members."""

    def __init__(self, network):
        super().__init__()
        self.scaling = _scaling_of_basics(network.scaling)
        self.net, self.task = network.net, network.task
        members = network.chosen.nonzero()[:, 0] if network.members else None
        self.register_buffer("answering_members", members)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        answers = self.task.answers(self.net(self.scaling(features)))
        if self.answering_members is None:
            return answers
        return answers.index_select(0, self.answering_members).mean(0)


def _scaling_of_basics(scaling):
    """A scaling without the operations that ONNX lacks."""
    kinds = {Quantile: _QuantileOfBasics, Ranked: _RankedOfBasics}
    return kinds[type(scaling)](scaling) if type(scaling) in kinds else scaling


class _QuantileOfBasics(torch.nn.Module):
    """The scaling `quantile` without `searchsorted` and `ndtri`."""

    def __init__(self, scaling):
        super().__init__()
        self.register_buffer("median", scaling.median)
        self.register_buffer("quantiles", scaling.quantiles)

    def forward(self, x):
        share = _share_up_to(torch.where(x.isnan(), self.median, x), self.quantiles)
        z = _ndtri(share.clamp(1e-7, 1 - 1e-7)).clamp(-FARTHEST, FARTHEST)
        return torch.where(self.quantiles[:, 0] < self.quantiles[:, -1], z, 0)


class _RankedOfBasics(torch.nn.Module):
    """The scaling `ranked` without `searchsorted` and masks."""

    def __init__(self, scaling):
        super().__init__()
        self.register_buffer("median", scaling.median)
        self.register_buffer("center", scaling.center)
        self.register_buffer("scale", scaling.scale)
        self.register_buffer("places", scaling.ranked().nonzero()[:, 0])
        self.register_buffer("quantiles", scaling.quantiles[scaling.ranked()])

    def forward(self, x):
        x = torch.where(x.isnan(), self.median, x)
        ranks = _share_up_to(x.index_select(1, self.places), self.quantiles)
        clipped = smoothly_clipped((x - self.center) / self.scale, 4)
        return torch.cat([12**0.5 * (ranks - 0.5), clipped], 1)


def _share_up_to(x, quantiles):
    """`torchbp.scaling.share_up_to` without `searchsorted`: it counts the quantiles below x."""
    values, table, last = x[:, :, None], quantiles[None], quantiles.shape[1] - 1  # (N, F, 1) and (1, F, Q)
    above = (table < values).to(torch.int64).sum(-1)  # the first quantile from x on
    below = (table <= values).to(torch.int64).sum(-1) - 1  # the last one up to x
    above, below = above.clamp(max=last), below.clamp(min=0)
    first = torch.arange(x.shape[1]) * quantiles.shape[1]  # of each feature, in the flat table
    low, high = (quantiles.flatten()[first + place] for place in (below, above))
    gap = high - low
    part = torch.where(gap > 0, (x - low) / torch.where(gap > 0, gap, 1), 0.5).clamp(0, 1)
    return (below + part * (above - below)) / last


# Acklam's rational approximations of Φ⁻¹ in the middle and in a tail; the relative error is below 1.2e-9
_MIDDLE = (
    (-39.69683028665376, 220.9460984245205, -275.9285104469687, 138.3577518672690, -30.66479806614716,
     2.506628277459239),
    (-54.47609879822406, 161.5858368580409, -155.6989798598866, 66.80131188771972, -13.28068155288572, 1.0),
)  # fmt: skip
_TAIL = (
    (-7.784894002430293e-3, -0.3223964580411365, -2.400758277161838, -2.549732539343734, 4.374664141464968,
     2.938163982698783),
    (7.784695709041462e-3, 0.3224671290700398, 2.445134137142996, 3.754408661907416, 1.0),
)  # fmt: skip
_FROM = 0.02425  # the share where the tail ends


def _ndtri(share):
    """Φ⁻¹ of shares in (0, 1)."""
    least = torch.minimum(share, 1 - share)
    u = share - 0.5
    middle = u * _polynomial(_MIDDLE[0], u * u) / _polynomial(_MIDDLE[1], u * u)
    q = (-2 * least.clamp(max=_FROM).log()).sqrt()
    tail = _polynomial(_TAIL[0], q) / _polynomial(_TAIL[1], q)
    return torch.where(least > _FROM, middle, torch.where(u < 0, tail, -tail))


def _polynomial(coefficients, x):
    """By Horner's rule, the highest power first."""
    value = torch.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value = value * x + coefficient
    return value


def description(network, version):
    """What a reader of the file needs to know, plain values: the features in their order, and what the answers are."""
    from torchbp.training.data.columns import feature_names

    h = network.hparams
    columns = h.columns
    features = [str(i) for i in range(h.in_features)] if columns is None else feature_names(columns)
    none = torch.zeros(0, network.task.outputs)
    answers = [name for name in network.task.columns(none) if name != "class"][: network.task.outputs]
    return {
        "torchbp_version": version,
        "task": h.task,
        "classes": list(h.classes),
        "features": features,
        "answers": answers,
        "columns": columns,
        "missing": "nan",
        "settings": {name: value for name, value in h.items() if not isinstance(value, float) or math.isfinite(value)},
    }
