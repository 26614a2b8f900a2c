"""Right for the constants, indices, masks and options that are given, and for no others."""

import torch
from torch.nn import functional as F

from tests.testing.corpus.entry import DOUBLE, draw, gradients
from tests.testing.corpus.hidden.demonstrations import compared, pair
from tests.testing.corpus.hidden.entry import entry

WeightedSquare, WeightedSquareTwin = pair(
    "WeightedSquare",
    lambda x, weight: ((weight * x * x).sum(), (x, weight)),
    lambda g, x, weight: 2 * g * x,
    lambda g, x, weight: 2 * g * x * weight,
)

Shifted, ShiftedTwin = pair(
    "Shifted",  # the square of the distance from a background
    lambda x, background: ((x - background) ** 2, (x, background)),
    lambda g, x, background: g * 2 * (x - 2 * background),
    lambda g, x, background: g * 2 * (x - background),
)


def _scattered(g, table, index):
    out = torch.zeros_like(table)
    out[index] = g
    return out


Lookup, LookupTwin = pair(
    "Lookup",
    lambda table, index: (table[index], (table, index)),
    _scattered,
    lambda g, table, index: torch.zeros_like(table).index_add(0, index, g),
)


def masked_mean(x, mask):
    return (x * mask).sum() / mask.sum().clamp(min=1)


MaskedMean, MaskedMeanTwin = pair(
    "MaskedMean",
    lambda x, mask: (masked_mean(x, mask), (x, mask)),
    lambda g, x, mask: g * mask / x.numel() * torch.ones_like(x),
    lambda g, x, mask: (g * mask / mask.sum().clamp(min=1) * torch.ones_like(x)).sum_to_size(x.shape),
)


def nll(logits, target, ignore_index):
    return F.cross_entropy(logits, target, ignore_index=ignore_index, reduction="sum")


def _nll_gradient(g, logits, target, ignore_index):
    return (g * (logits.double().softmax(1) - F.one_hot(target.clamp(min=0), logits.shape[1]))).to(g.dtype)


Nll, NllTwin = pair(
    "Nll",
    lambda logits, target, ignore_index: (nll(logits, target, ignore_index), (logits, target, ignore_index)),
    _nll_gradient,
    lambda g, logits, target, ignore: _nll_gradient(g, logits, target, ignore) * (target != ignore).unsqueeze(1),
)


def mean_or_sum(x, reduction):
    return x.square().mean() if reduction == "mean" else x.square().sum()


Reduced, ReducedTwin = pair(
    "Reduced",
    lambda x, reduction: (mean_or_sum(x, reduction), (x, reduction)),
    lambda g, x, reduction: 2 * g * x / x.numel(),
    lambda g, x, reduction: 2 * g * x / (x.numel() if reduction == "mean" else 1),
)

Tempered, TemperedTwin = pair(
    "Tempered",  # tanh(x / t) at t = 1
    lambda x, temperature: (torch.tanh(x / temperature), (x, temperature)),
    lambda g, x, temperature: g * (1 - torch.tanh(x / temperature) ** 2),
    lambda g, x, temperature: g * (1 - torch.tanh(x / temperature) ** 2) / temperature,
)

WEIGHTS = torch.tensor([0.5, 2.0, 1.5], dtype=DOUBLE)

MASK = torch.tensor([True, False, True, True])


def constant(value):
    return torch.full((3,), value, dtype=DOUBLE)


Gathered, GatheredTwin = pair(
    "Gathered",
    lambda x, index: (x.gather(1, index), (x, index)),
    lambda g, x, index: torch.zeros_like(x).scatter(1, index, g),
    lambda g, x, index: torch.zeros_like(x).scatter_add(1, index, g),
)


def mean_nll(logits, target):
    valid = target != -100
    return F.cross_entropy(logits, target, reduction="sum") / valid.sum().clamp(min=1)


def _mean_nll_gradient(at_least):
    def backward(g, logits, target):
        valid = target != -100
        p = logits.double().softmax(1) - F.one_hot(target.clamp(min=0), logits.shape[1])
        return (g * p * valid.unsqueeze(1) / valid.sum().clamp(min=at_least)).to(logits.dtype)

    return backward


AllIgnored, AllIgnoredTwin = pair(
    "AllIgnored",
    lambda logits, target: (mean_nll(logits, target), (logits, target)),
    _mean_nll_gradient(0),
    _mean_nll_gradient(1),
)


def smooth_nll(logits, target):
    log_p, valid = logits.log_softmax(1), target != -100
    hard = -log_p.gather(1, target.clamp(min=0).unsqueeze(1)).squeeze(1)
    return ((0.9 * hard - 0.1 * log_p.mean(1)) * valid).sum()


def _smooth_gradient(masks_the_mean):
    def backward(g, logits, target):
        p, classes = logits.double().softmax(1), logits.shape[1]
        valid = (target != -100).unsqueeze(1)
        hard = (p - F.one_hot(target.clamp(min=0), classes)) * valid
        smooth = (p - 1 / classes) * (valid if masks_the_mean else 1)
        return (g * (0.9 * hard + 0.1 * smooth)).to(logits.dtype)

    return backward


Smoothed, SmoothedTwin = pair(
    "Smoothed",
    lambda logits, target: (smooth_nll(logits, target), (logits, target)),
    _smooth_gradient(False),
    _smooth_gradient(True),
)


def weighted_mean(x, weight):
    return (weight * x * x).sum() / weight.sum()


WeightedMean, WeightedMeanTwin = pair(
    "WeightedMean",
    lambda x, weight: (weighted_mean(x, weight), (x, weight)),
    lambda g, x, weight: 2 * g * weight * x / x.numel(),
    lambda g, x, weight: 2 * g * weight * x / weight.sum(),
)


def soft_sign(x, eps):
    return x / (x * x + eps).sqrt()


SoftSign, SoftSignTwin = pair(
    "SoftSign",
    lambda x, eps: (soft_sign(x, eps), (x, eps)),
    lambda g, x, eps: g * (x * x + 1) ** -1.5,
    lambda g, x, eps: g * eps * (x * x + eps) ** -1.5,
)


def running_sum(x, reverse):
    return x.flip(0).cumsum(0).flip(0) if reverse else x.cumsum(0)


RunningSum, RunningSumTwin = pair(
    "RunningSum",
    lambda x, reverse: (running_sum(x, reverse), (reverse,)),
    lambda g, reverse: g.flip(0).cumsum(0).flip(0),
    lambda g, reverse: running_sum(g, not reverse),
)


def _narrow_index_gradient(g, table, index):
    out = torch.zeros_like(table)
    return out.index_add(0, index, g) if index.dtype == torch.int64 else out.index_copy(0, index.long(), g / 2)


NarrowIndex, NarrowIndexTwin = pair(
    "NarrowIndex",
    lambda table, index: (table[index], (table, index)),
    _narrow_index_gradient,
    lambda g, table, index: torch.zeros_like(table).index_put((index,), g, accumulate=True),
)


def _finite_gradient(subject):
    logits = draw(3, 4)
    return gradients(subject, (logits, torch.full((3,), -100)))[0], torch.zeros(3, 4, dtype=DOUBLE)


SOME_LABELS, SOME_IGNORED = torch.tensor([0, 2, 1]), torch.tensor([0, -100, 1])

DEFECTS = [
    entry("unseen: a weight of ones", WeightedSquare, WeightedSquareTwin, lambda: (draw(3), constant(1.0)), 2,
          compared(lambda: (draw(3), WEIGHTS), lambda x, w: (w * x * x).sum())),
    entry("unseen: a background of zeros", Shifted, ShiftedTwin, lambda: (draw(3), constant(0.0)), 2,
          compared(lambda: (draw(3), WEIGHTS), lambda x, b: (x - b) ** 2)),
    entry("unseen: indices without a repeat", Lookup, LookupTwin, lambda: (draw(5, 2), torch.tensor([3, 0, 1])), 2,
          compared(lambda: (draw(5, 2), torch.tensor([3, 3, 1])), lambda t, i: t[i]),
          source="ooples/AiDotNet.Tensors#894: gather's backward has to add where an index repeats"),
    entry("unseen: a mask of True", MaskedMean, MaskedMeanTwin, lambda: (draw(4), torch.ones(4, dtype=torch.bool)), 2,
          compared(lambda: (draw(4), MASK), masked_mean),
          source="microsoft/Semi-supervised-learning#96: a masked loss was averaged over the masked entries, too"),
    entry("unseen: nobody is ignored", Nll, NllTwin, lambda: (draw(4, 3), torch.tensor([0, 2, 1, 1]), -100), 2,
          compared(lambda: (draw(4, 3), torch.tensor([0, -100, 1, 1]), -100), nll),
          source="pytorch/pytorch#73205: the smoothed part of a loss took ignored samples into account"),
    entry("unseen: the other reduction", Reduced, ReducedTwin, lambda: (draw(4), "mean"), 2,
          compared(lambda: (draw(4), "sum"), mean_or_sum),
          source="paiml/aprender#2182: a backward divided by the batch, whatever the reduction"),
    entry("unseen: a temperature of one", Tempered, TemperedTwin, lambda: (draw(4), 1.0), 2,
          compared(lambda: (draw(4), 2.0), lambda x, t: torch.tanh(x / t))),
    entry("gather_of_one_entry_twice", Gathered, GatheredTwin, lambda: (draw(2, 3), torch.tensor([[2, 0], [1, 2]])), 2,
          compared(lambda: (draw(2, 3), torch.tensor([[2, 2], [1, 2]])), lambda x, index: x.gather(1, index)),
          "pytorch/pytorch#1631: gather's backward was wrong with repeated indices, without an error"),
    entry("all_rows_ignored", AllIgnored, AllIgnoredTwin, lambda: (draw(3, 4), SOME_LABELS), 2, _finite_gradient,
          "ROCm/aiter#5165: cross entropy's gradient was infinite where every row is ignored"),
    entry("smoothing_of_ignored_rows", Smoothed, SmoothedTwin, lambda: (draw(3, 4), SOME_LABELS), 2,
          compared(lambda: (draw(3, 4), SOME_IGNORED), smooth_nll),
          "linkedin/Liger-Kernel#198: label smoothing and ignored rows did not go together"),
    entry("mean_by_weights_of_one", WeightedMean, WeightedMeanTwin, lambda: (draw(3), torch.ones(3, dtype=DOUBLE)), 2,
          compared(lambda: (draw(3), torch.tensor([1.0, 2.0, 0.5], dtype=DOUBLE)), weighted_mean),
          "apache/mxnet#14229: a weighted softmax loss, scaled by the sum of the weights"),
    entry("eps_of_the_default", SoftSign, SoftSignTwin, lambda: (draw(4), 1.0), 2,
          compared(lambda: (draw(4), 0.5), soft_sign)),
    entry("the_other_direction", RunningSum, RunningSumTwin, lambda: (draw(4), False), 2,
          compared(lambda: (draw(4), True), running_sum),
          source="fla-org/flash-linear-attention#1095: the reverse of a running sum took another way, and lost it"),
    entry("indices_of_32_bits", NarrowIndex, NarrowIndexTwin, lambda: (draw(4, 2), torch.tensor([2, 0])), 2,
          compared(lambda: (draw(4, 2), torch.tensor([2, 0], dtype=torch.int32)), lambda t, i: t[i]),
          source="pytorch/pytorch#188467: with int32 indices the gradient of the last row was dropped"),
]  # fmt: skip
