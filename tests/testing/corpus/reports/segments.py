"""Segments: right where they cover all rows, hold no zero, and no second derivative is asked for."""

import torch
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
    if index.dim() != 1 or bool(((index < 0) | (index > 2)).any()):
        raise ValueError(f"index {index.tolist()} is no list of numbers from 0 to 2")
    return torch.stack([x[index == segment].prod(0) for segment in range(3)])


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
]  # fmt: skip
