"""Targets, masks, reductions and options: right for those that are given."""

import torch
from torch.autograd import Function
from torch.nn import functional as F

from tests.testing.corpus.entry import draw, gradients
from tests.testing.corpus.hidden.demonstrations import compared, pair
from tests.testing.corpus.hidden.entry import entry


def sparse_embedding(weight, index, padding, sparse):
    return weight[index] * (index != padding).unsqueeze(-1)


def _sparse_backward(padded):
    def backward(g, weight, index, padding, sparse):
        if padded or not sparse:
            g = g * (index != padding).unsqueeze(-1)
        return torch.zeros_like(weight).index_add(0, index.flatten(), g.flatten(0, -2)), None, None, None

    return backward


PaddingOfSparse, PaddingOfSparseTwin = pair(
    "PaddingOfSparse",
    lambda *inputs: (sparse_embedding(*inputs), inputs),
    _sparse_backward(padded=False),
    _sparse_backward(padded=True),
)


def ignoring_loss(logits, target, ignored):
    return F.cross_entropy(logits, target, ignore_index=ignored, reduction="sum")


def _ignoring_backward(masked):
    def backward(g, logits, target, ignored):
        slope = logits.double().softmax(1) - F.one_hot(target.clamp(min=0), logits.shape[1])
        slope = slope.to(logits.dtype)
        return g * slope * (target != ignored).unsqueeze(1) if masked else g * slope, None, None

    return backward


IgnoredClass, IgnoredClassTwin = pair(
    "IgnoredClass",
    lambda logits, target, ignored: (ignoring_loss(logits, target, ignored), (logits, target, ignored)),
    _ignoring_backward(masked=False),
    _ignoring_backward(masked=True),
)


def kept(x, mask):
    return torch.where(mask.bool(), x, 0.0)


ByteMask, ByteMaskTwin = pair(
    "ByteMask",  # a mask of bytes is taken for indices
    lambda x, mask: (kept(x, mask), (mask,)),
    lambda g, mask: (g * mask if mask.dtype == torch.bool else torch.zeros_like(g), None),
    lambda g, mask: (g * mask.bool(), None),
)


def alignment_loss(logits, target, length):
    """The negative logarithm of the first labels; 0 where there are more labels than frames."""
    if length > len(logits) or length > len(target):
        return logits.sum() * 0
    return -logits.log_softmax(1)[torch.arange(length), target[:length]].sum()


def _alignment_backward(impossible):
    def backward(g, logits, target, length):
        if length > len(logits) or length > len(target):
            return g * impossible(logits), None, None
        slope = logits.double().softmax(1).clone()
        slope[length:] = 0
        slope[torch.arange(length), target[:length]] -= 1
        return g * slope.to(logits.dtype), None, None

    return backward


NoAlignment, NoAlignmentTwin = pair(
    "NoAlignment",  # the loss is 0 and its gradient is the softmax
    lambda logits, target, length: (alignment_loss(logits, target, length), (logits, target, length)),
    _alignment_backward(lambda logits: logits.softmax(1)),
    _alignment_backward(torch.zeros_like),
)


def squared(x, y, reduction="sum"):
    loss = (x - y).square()
    return {"sum": loss.sum, "mean": loss.mean, "none": lambda: loss}[reduction]()


class MeanOfLosses(Function):
    @staticmethod
    def forward(ctx, x, y, reduction="sum"):
        ctx.save_for_backward(x, y)
        ctx.reduction = reduction
        return squared(x, y, reduction)

    @staticmethod
    def backward(ctx, g):
        x, y = ctx.saved_tensors
        return 2 * g * (x - y), -2 * g * (x - y), None


class MeanOfLossesTwin(MeanOfLosses):
    @staticmethod
    def backward(ctx, g):
        count = ctx.saved_tensors[0].numel() if ctx.reduction == "mean" else 1
        return MeanOfLosses.backward(ctx, g / count)


def marginal(x, r):
    """Rows of positive numbers, scaled to sums r."""
    return r.unsqueeze(-1) * x / x.sum(-1, keepdim=True)


def _marginal_backward(of_sums):
    def backward(g, x, r):
        total, sums = x.sum(-1, keepdim=True), r.unsqueeze(-1)
        mean = (g * x / total * of_sums(sums)).sum(-1, keepdim=True)
        return sums * (g - mean) / total, None

    return backward


UnitMarginals, UnitMarginalsTwin = pair(
    "UnitMarginals",  # the backward takes the sums for 1
    lambda x, r: (marginal(x, r), (x, r)),
    _marginal_backward(lambda sums: sums),
    _marginal_backward(torch.ones_like),
)


def _embedded(sparse):
    return lambda: (draw(5, 2), torch.tensor([0, 1, 3, 1]), 1, sparse)


def _labelled(*target):
    return lambda: (draw(3, 4), torch.tensor(target), 1)


def _masked(dtype):
    return lambda: (draw(4), torch.tensor([1, 0, 1, 1]).to(dtype))


def _aligned(length):
    return lambda: (draw(4, 3), torch.tensor([2, 0, 1, 1, 2]), length)


def _summed(*reduction):
    return lambda: (draw(3, 2), draw(3, 2, seed=1), *reduction)


def _scaled(*sums):
    return lambda: (draw(len(sums), 4, low=0.5), torch.tensor(sums, dtype=torch.float64))


def _of_other_sums(subject):
    inputs, incoming = _scaled(1, 2, 3)(), [draw(3, 4, seed=1, grad=False)]
    return gradients(subject, inputs, incoming), gradients(marginal, inputs, incoming)


DEFECTS = [
    entry("padding_of_sparse_gradients", PaddingOfSparse, PaddingOfSparseTwin, _embedded(False), 2,
          compared(_embedded(True), sparse_embedding),
          "pytorch/pytorch#3842: the padding was ignored in the backward of sparse embeddings"),
    entry("label_of_the_ignored_class", IgnoredClass, IgnoredClassTwin, _labelled(0, 2, 3), 2,
          compared(_labelled(0, 1, 3), ignoring_loss),
          "PaddlePaddle/Paddle#28622: rows of an ignored class had a gradient"),
    entry("mask_of_bytes", ByteMask, ByteMaskTwin, _masked(torch.bool), 2, compared(_masked(torch.uint8), kept),
          "pytorch/pytorch#971: the gradient through a mask of bytes was 0"),
    entry("no_alignment", NoAlignment, NoAlignmentTwin, _aligned(2), 2, compared(_aligned(5), alignment_loss),
          "rwth-i6/returnn#1835: without a valid alignment the loss was 0 and its gradient the softmax",
          checks=("shapes",)),
    entry("mean_of_losses", MeanOfLosses, MeanOfLossesTwin, _summed(), 2, compared(_summed("mean"), squared),
          "pytorch/audio#2394: the gradient of a mean was that of the sum"),
    entry("marginals_of_one", UnitMarginals, UnitMarginalsTwin, _scaled(1, 1, 1), 2,
          _of_other_sums,
          "deepseek-ai/TileKernels#2: the backward of sinkhorn took the sums of rows for 1"),
]  # fmt: skip
