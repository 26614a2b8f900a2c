"""Wrong in single or half precision, or computed in less than float64 promises."""

import torch
from torch.nn import functional as F

from tests.testing.corpus.entry import draw
from tests.testing.corpus.hidden.demonstrations import compared, pair
from tests.testing.corpus.hidden.entry import entry

TanhSingle, TanhSingleTwin = pair(
    "TanhSingle",
    lambda x: (x.tanh(), (x,)),
    lambda g, x: (g.float() / x.float().cosh() ** 2).to(g.dtype),
    lambda g, x: g * (1 - x.tanh() ** 2),
)


def row_loss(z, target):
    return F.cross_entropy(z, target)


def _softmax_less_one(g, z, target):
    return g * (z.softmax(-1) - F.one_hot(target, z.shape[-1]).to(z.dtype)) / target.numel()


RowLoss, RowLossTwin = pair(
    "RowLoss",
    lambda z, target: (row_loss(z, target), (z, target)),
    _softmax_less_one,
    lambda g, z, target: _softmax_less_one(g.double(), z.double(), target).to(z.dtype),
)


def length(x):
    return (x.double().square().sum(-1) + 1).sqrt().to(x.dtype)


Length, LengthTwin = pair(
    "Length",  # in float16 the sum of squares is inf from 256 on
    lambda x: (length(x), (x,)),
    lambda g, x: (g / ((x * x).sum(-1) + 1).sqrt()).unsqueeze(-1) * x,
    lambda g, x: (g / length(x)).unsqueeze(-1) * x,
)


def confident_row(subject):
    z, target = torch.tensor([[7.0, 0.0, 0.0]], dtype=torch.bfloat16, requires_grad=True), torch.tensor([0])
    got = torch.autograd.grad(subject.apply(z, target), z)[0][0, 0].double()
    right = z.detach().double().softmax(-1)[0, 0] - 1
    return bool((got - right).abs() < 0.1 * right.abs()), True


def long_row_in_half(subject):
    x = torch.full((1, 3), 300.0, dtype=torch.float16, requires_grad=True)
    return bool(torch.autograd.grad(subject.apply(x).sum(), x)[0].sum() > 1.5), True


CosineSingle, CosineSingleTwin = pair(
    "CosineSingle",
    lambda x: (x.sin(), (x,)),
    lambda g, x: g * x.float().cos().to(x.dtype),
    lambda g, x: g * x.cos(),
)

HalfCount, HalfCountTwin = pair(
    "HalfCount",
    lambda x: (x.double().square().mean().to(x.dtype), (x,)),
    lambda g, x: 2 * g * x / torch.ones_like(x).sum(),
    lambda g, x: (2 * g.double() * x / x.numel()).to(x.dtype),
)


def log_sum(x):
    return x.double().logsumexp(0).to(x.dtype)


def _softmax_of(g, x, wide):
    if wide:
        return (g * x.double().softmax(0)).to(g.dtype)
    e = (x - x.detach().max()).exp() if len(x) else x.exp()
    return g * e / e.sum(0)


HalfLogSum, HalfLogSumTwin = pair(
    "HalfLogSum",
    lambda x: (log_sum(x), (x,)),
    lambda g, x: _softmax_of(g, x, False),
    lambda g, x: _softmax_of(g, x, True),
)


def _many_halves(subject):
    x = (0.5 + torch.arange(200_000) / 400_000).half().requires_grad_()
    return bool((torch.autograd.grad(subject.apply(x), x)[0] > 0).all()), True


DEFECTS = [
    entry("unseen: a slope in single precision", TanhSingle, TanhSingleTwin, lambda: (draw(3),), 4,
          compared(lambda: (draw(3),), torch.tanh)),
    entry("unseen: a confident row in bfloat16", RowLoss, RowLossTwin, lambda: (draw(3, 4), torch.tensor([1, 0, 3])), 4,
          confident_row,
          source="tenstorrent/tt-metal#55724: s (1 − s) was 0 as soon as s was rounded to 1"),
    entry("unseen: squares in float16", Length, LengthTwin, lambda: (draw(2, 3),), 4, long_row_in_half,
          source="pytorch/pytorch#44350: mean and var overflowed where the result does not"),
    entry("cosine_in_single_precision", CosineSingle, CosineSingleTwin, lambda: (draw(3),), 4,
          compared(lambda: (draw(3),), torch.sin),
          source="pytorch/extension-cpp#42: a kernel for doubles used functions of single precision"),
    entry("count_in_float16", HalfCount, HalfCountTwin, lambda: (draw(4),), 4, _many_halves,
          "tinygrad/tinygrad#15363: a count of 70000 overflowed in float16, and the gradient was zero"),
    entry("sum_of_exponentials_in_float16", HalfLogSum, HalfLogSumTwin, lambda: (draw(4),), 4, _many_halves,
          "google-research/last#43: a log-sum over 65536 float16 numbers gave zero gradients"),
]  # fmt: skip
