"""Losses and their like, right for the targets, weights, masks and options that are given."""

import torch
from torch.nn import functional as F

from tests.testing.corpus.entry import DOUBLE, draw, gradients
from tests.testing.corpus.hidden.demonstrations import compared, pair
from tests.testing.corpus.hidden.entry import entry


def soft_cross_entropy(logits, target):
    return -(target * logits.log_softmax(-1)).sum()


SoftTargets, SoftTargetsTwin = pair(
    "SoftTargets",
    lambda logits, target: (soft_cross_entropy(logits, target), (logits, target)),
    lambda g, logits, target: g * (logits.softmax(-1) - target),
    lambda g, logits, target: g * (target.sum(-1, keepdim=True) * logits.softmax(-1) - target),
)


def row_losses(logits, target):
    return F.cross_entropy(logits, target, reduction="none")


def _row_gradient(masked):
    def backward(g, logits, target):
        slope = logits.double().softmax(1) - F.one_hot(target.clamp(min=0), logits.shape[1])
        return (g.unsqueeze(1) * slope * masked(target != -100)).to(logits.dtype)

    return backward


IgnoredRow, IgnoredRowTwin = pair(
    "IgnoredRow",
    lambda logits, target: (row_losses(logits, target), (logits, target)),
    _row_gradient(lambda valid: valid.all()),
    _row_gradient(lambda valid: valid.unsqueeze(1)),
)


def squares(x, reduction):
    return x.square().mean() if reduction == "mean" else x.square()


NoReduction, NoReductionTwin = pair(
    "NoReduction",
    lambda x, reduction: (squares(x, reduction), (x, reduction)),
    lambda g, x, reduction: 2 * g * x / x.numel() if reduction == "mean" else torch.zeros_like(x),
    lambda g, x, reduction: 2 * g * x / (x.numel() if reduction == "mean" else 1),
)


def scaled_loss(x, scale):
    return scale * x.square().sum()


ScaledLoss, ScaledLossTwin = pair(
    "ScaledLoss",  # the gradient with the scale in it is kept, and divided by the scale in the backward
    lambda x, scale: (scaled_loss(x, scale), (x, scale)),
    lambda g, x, scale: (2 * x * scale) * (g * scale / torch.as_tensor(scale, dtype=x.dtype)),
    lambda g, x, scale: 2 * x * scale * g,
)


def masked_softmax(x, mask):
    return (x + torch.where(mask, 0.0, -torch.inf).to(x.dtype)).softmax(-1).nan_to_num(0.0)


def masked_softmax_twin(x, mask):
    return (x + torch.where(mask, 0.0, -1e4).to(x.dtype)).softmax(-1) * mask


def ratio(x, y):
    return (x / y).masked_fill(y == 0, 0.0)


def ratio_twin(x, y):
    return (x / y.masked_fill(y == 0, 1.0)).masked_fill(y == 0, 0.0)


def attention(value, scores, causal):
    weight = scores.softmax(-1)
    return (weight.tril() if causal else weight) @ value


AlwaysCausal, AlwaysCausalTwin = pair(
    "AlwaysCausal",
    lambda value, scores, causal: (attention(value, scores, causal), (scores, causal)),
    lambda g, scores, causal: scores.softmax(-1).tril().mT.to(g.dtype) @ g,
    lambda g, scores, causal: (scores.softmax(-1).tril() if causal else scores.softmax(-1)).mT.to(g.dtype) @ g,
)


def padded(x, left, right):
    return F.pad(x, (left, right))


PadOfBothSides, PadOfBothSidesTwin = pair(
    "PadOfBothSides",
    lambda x, left, right: (padded(x, left, right), (left, right)),
    lambda g, left, right: g[..., left:-right],
    lambda g, left, right: g[..., left : g.shape[-1] - right],
)


def pooled(x, padding):
    return F.avg_pool1d(x, 2, padding=padding)


def _pool_gradient(g, x, padding):
    """Of the averages, in the places of x; a last odd column has none."""
    spread = F.pad((g / 2).repeat_interleave(2, -1), (0, 2))
    return spread[..., padding : padding + x.shape[-1]]


PoolWithoutPadding, PoolWithoutPaddingTwin = pair(
    "PoolWithoutPadding",
    lambda x, padding: (pooled(x, padding), (x, padding)),
    lambda g, x, padding: _pool_gradient(g, x, 0),
    _pool_gradient,
)

EVERY = torch.ones(3, 4, dtype=torch.bool)

LABELS = torch.tensor([0, 2, 1])


def distribution():
    return draw(3, 4, seed=1).softmax(-1).detach()


def positive():
    return draw(3, seed=1, low=1, high=2, grad=False)


def scores():
    return draw(3, 3, seed=1, grad=False)


def _zero_gradient(subject):
    """The gradient where a row has no entry: the output is 0 there."""
    x = draw(1, 4)
    out = subject(x, torch.zeros(1, 4, dtype=torch.bool))
    return torch.autograd.grad(out.sum(), x)[0], torch.zeros(1, 4, dtype=DOUBLE)


def _zero_divisor(subject):
    x = draw(2)
    return torch.autograd.grad(subject(x, torch.tensor([1.0, 0.0], dtype=DOUBLE)).sum(), x)[0], torch.tensor(
        [1.0, 0.0], dtype=DOUBLE
    )


def _without_right_padding(subject):
    x = draw(1, 4)
    try:
        return torch.autograd.grad(subject.apply(x, 1, 0).sum(), x)[0], torch.ones(1, 4, dtype=DOUBLE)
    except RuntimeError:
        return torch.zeros(1, 4, dtype=DOUBLE), torch.ones(1, 4, dtype=DOUBLE)


def _padded_pool(subject):
    arguments, incoming = (draw(1, 2, 6), 1), (draw(1, 2, 4, seed=1, grad=False),)
    return gradients(subject, arguments, incoming), gradients(pooled, arguments, incoming)


DEFECTS = [
    entry("targets_that_sum_to_one", SoftTargets, SoftTargetsTwin, lambda: (draw(3, 4), distribution()), 2,
          compared(lambda: (draw(3, 4), 2 * distribution()), soft_cross_entropy),
          "NVIDIA-NeMo/Automodel#2428: the backward of a soft cross entropy assumed targets that sum to one"),
    entry("one_ignored_row", IgnoredRow, IgnoredRowTwin, lambda: (draw(3, 4), LABELS), 2,
          compared(lambda: (draw(3, 4), torch.tensor([0, -100, 1])), row_losses),
          "linkedin/Liger-Kernel#968: unreduced, a label that is ignored made all gradients 0"),
    entry("reduction_none", NoReduction, NoReductionTwin, lambda: (draw(4), "mean"), 2,
          compared(lambda: (draw(4), "none"), squares),
          "microsoft/DirectML#740: an unreduced loss gave zero gradients, silently"),
    entry("scale_of_zero", ScaledLoss, ScaledLossTwin, lambda: (draw(3), 2.0), 2,
          compared(lambda: (draw(3), 0.0), scaled_loss),
          "unslothai/unsloth-zoo#610: a loss scale of 0, divided out in the backward, gave nan"),
    entry("mask_of_nothing", masked_softmax, masked_softmax_twin, lambda: (draw(3, 4), EVERY.clone()), 2,
          _zero_gradient, "allenai/allennlp#890: a softmax under a mask of nothing, of zeros or nan"),
    entry("masked_division_by_zero", ratio, ratio_twin, lambda: (draw(3), positive()), 2,
          _zero_divisor, "pytorch/pytorch#4132: x / 0, masked afterwards, has the gradient nan",
          checks=("variations", "extremes")),
    entry("always_causal", AlwaysCausal, AlwaysCausalTwin, lambda: (draw(3, 2), scores(), True), 2,
          compared(lambda: (draw(3, 2), scores(), False), attention),
          "triton-lang/triton#5660: an attention's backward was right for causal=True only"),
    entry("padding_of_one_side", PadOfBothSides, PadOfBothSidesTwin, lambda: (draw(1, 4), 1, 1), 2,
          _without_right_padding,
          "HIPS/autograd#431: the gradient of a padding by 0 was empty", require=("variations",)),
    entry("pool_without_padding", PoolWithoutPadding, PoolWithoutPaddingTwin, lambda: (draw(1, 2, 6), 0), 2,
          _padded_pool,
          "FluxML/NNlib.jl#133: the gradient of a pooling with padding was wrong"),
]  # fmt: skip
