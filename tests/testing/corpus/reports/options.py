"""Segments, targets, reductions and options: right for those that are given."""

import torch
from torch.autograd import Function
from torch.nn import functional as F

from tests.testing.corpus.entry import draw, gradients, raised
from tests.testing.corpus.hidden.demonstrations import compared, pair
from tests.testing.corpus.hidden.entry import entry


def segment_means(x, ends):
    starts = F.pad(ends[:-1], (1, 0))
    if bool((ends < starts).any()) or int(ends[-1]) > len(x):
        raise ValueError(f"ends {ends.tolist()} do not grow, or are more than {len(x)} rows")
    return torch.stack([x[start:end].sum(0) / max(end - start, 1)
                        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)])  # fmt: skip


def _means_backward(covered):
    def backward(g, x, ends):
        count = ends - F.pad(ends[:-1], (1, 0))
        spread = (g / count.clamp(min=1).view(-1, *[1] * (g.dim() - 1))).repeat_interleave(count, 0)
        return covered(spread, len(x)), None

    return backward


UncoveredRows, UncoveredRowsTwin = pair(
    "UncoveredRows",  # rows after the last segment have no gradient at all
    lambda x, ends: (segment_means(x, ends), (x, ends)),
    _means_backward(lambda spread, rows: spread),
    _means_backward(lambda spread, rows: torch.cat([spread, spread.new_zeros(rows - len(spread), *spread.shape[1:])])),
)


def segment_products(x, index):
    return torch.ones(3, *x.shape[1:], dtype=x.dtype).index_reduce(0, index, x, "prod")


def _products_of_others(x, index):
    rows = [x[(index == index[i]) & (torch.arange(len(x)) != i)].prod(0) for i in range(len(x))]
    return torch.stack(rows) if rows else x


SegmentProducts, SegmentProductsTwin = pair(
    "SegmentProducts",  # the product of a segment, divided by the entry
    lambda x, index: (segment_products(x, index), (x, index)),
    lambda g, x, index: (g[index] * segment_products(x, index)[index] / x, None),
    lambda g, x, index: (g[index] * _products_of_others(x, index), None),
)


def segment_sums(x, index):
    return torch.zeros(3, *x.shape[1:], dtype=x.dtype).index_add(0, index, x)


SegmentSums, SegmentSumsTwin = pair(
    "SegmentSums",  # the backward is a gather that autograd does not know
    lambda x, index: (segment_sums(x, index), (index,)),
    lambda g, index: (g.detach()[index], None),
    lambda g, index: (g[index], None),
)


def segment_energy(sums):
    def energy(x, index):
        return sums(x, index).square().sum()

    return energy


def _hessian(subject):
    def energy(x):
        return subject(x, torch.tensor([0, 2, 0]))

    hessian = torch.autograd.functional.hessian(energy, draw(3).detach())
    return hessian, torch.tensor([[2.0, 0, 2], [0, 2, 0], [2, 0, 2]], dtype=torch.float64)


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
        slope = logits.softmax(1) - F.one_hot(target.clamp(min=0), logits.shape[1])
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
        slope = logits.softmax(1)
        slope[length:] = 0
        slope[torch.arange(length), target[:length]] -= 1
        return g * slope, None, None

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


def _marginal_backward(sums):
    def backward(g, x, r):
        y = marginal(x, r)
        mean = (g * y).sum(-1, keepdim=True) / sums(r).unsqueeze(-1)
        return r.unsqueeze(-1) * (g - mean) / x.sum(-1, keepdim=True), None

    return backward


UnitMarginals, UnitMarginalsTwin = pair(
    "UnitMarginals",  # the backward takes the sums for 1
    lambda x, r: (marginal(x, r), (x, r)),
    _marginal_backward(torch.ones_like),
    _marginal_backward(lambda r: r),
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


def _zero_in_a_segment():
    return torch.tensor([0.0, 1, 2, 3], dtype=torch.float64).requires_grad_(), torch.tensor([0, 0, 1, 0])


DEFECTS = [
    entry("rows_after_the_segments", UncoveredRows, UncoveredRowsTwin, lambda: (draw(5, 2), torch.tensor([2, 5])), 2,
          lambda subject: (raised(lambda: gradients(subject, (draw(5, 2), torch.tensor([2, 4])))), "nothing"),
          "rusty1s/pytorch_scatter#452: the backward of a segment mean raised where segments do not cover all rows",
          checks=("shapes",)),
    entry("zero_in_a_segment", SegmentProducts, SegmentProductsTwin,
          lambda: (draw(4, low=0.5), torch.tensor([0, 0, 1, 0])), 3, compared(_zero_in_a_segment, segment_products),
          "rusty1s/pytorch_scatter#189: the gradient of a product in segments was nan at 0", checks=("extremes",)),
    entry("hessian_of_segments", segment_energy(SegmentSums.apply), segment_energy(SegmentSumsTwin.apply),
          lambda: (draw(3, 2), torch.tensor([0, 2, 0])), 3, _hessian,
          "rusty1s/pytorch_scatter#299: the Hessian of the segment reductions was empty", checks=("second_order",)),
    entry("padding_of_sparse_gradients", PaddingOfSparse, PaddingOfSparseTwin, _embedded(False), 2,
          compared(_embedded(True), sparse_embedding),
          "pytorch/pytorch#3842: the padding was ignored in the backward of sparse embeddings"),
    entry("label_of_the_ignored_class", IgnoredClass, IgnoredClassTwin, _labelled(0, 2, 3), 2,
          compared(_labelled(0, 1, 3), ignoring_loss),
          "PaddlePaddle/Paddle#28622: rows of an ignored class had a gradient"),
    entry("mask_of_bytes", ByteMask, ByteMaskTwin, _masked(torch.bool), 2, compared(_masked(torch.uint8), kept),
          "pytorch/pytorch#971: the gradient through a mask of bytes was 0"),
    entry("no_alignment", NoAlignment, NoAlignmentTwin, _aligned(2), 2, compared(_aligned(5), alignment_loss),
          "rwth-i6/returnn#1835: without a valid alignment the loss was 0 and its gradient the softmax"),
    entry("mean_of_losses", MeanOfLosses, MeanOfLossesTwin, _summed(), 2, compared(_summed("mean"), squared),
          "pytorch/audio#2394: the gradient of a mean was that of the sum"),
    entry("marginals_of_one", UnitMarginals, UnitMarginalsTwin, _scaled(1, 1, 1), 2,
          _of_other_sums,
          "deepseek-ai/TileKernels#2: the backward of sinkhorn took the sums of rows for 1"),
]  # fmt: skip
