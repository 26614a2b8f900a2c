"""Right in the sizes that are given: of rows, of columns, of one argument, in so many dimensions."""

import torch
from torch.nn import functional as F

from tests.testing.corpus.entry import DOUBLE, draw, gradients
from tests.testing.corpus.hidden.demonstrations import compared, pair
from tests.testing.corpus.hidden.entry import entry


def row_norm(x):
    return (x * x).sum(-1).add(1).sqrt()


def _row_norm_gradient(g, x, out):
    return (g / out).unsqueeze(-1) * x


def _blocked_row_norm_gradient(g, x, out):
    slope = _row_norm_gradient(g, x, out)
    if x.shape[-1] < 64:
        return slope
    return torch.cat([slope[..., :63], torch.zeros_like(slope[..., 63:])], -1)


def _with_output(function):
    def forward(*inputs):
        output = function(*inputs)
        return output, (*inputs, output)

    return forward


RowNorm, RowNormTwin = pair("RowNorm", _with_output(row_norm), _blocked_row_norm_gradient, _row_norm_gradient)


def outer(a, b):
    return a.unsqueeze(1) * b


Outer, OuterTwin = pair(
    "Outer",
    lambda a, b: (outer(a, b), (a, b)),
    lambda g, a, b: ((g[:, :32] * b[:32]).sum(1), (g * a.unsqueeze(1)).sum(0)),
    lambda g, a, b: ((g * b).sum(1), (g * a.unsqueeze(1)).sum(0)),
)


def _first_rows(g, x):
    slope = 2 * x * g
    return torch.cat([slope[:16], torch.zeros_like(slope[16:])])


ColumnSquares, ColumnSquaresTwin = pair(
    "ColumnSquares", lambda x: ((x * x).sum(0), (x,)), _first_rows, lambda g, x: 2 * x * g
)


def row_sums(x):
    return (x * x).sum(-1)


def _without_tail(g, x):
    slope = 2 * g.unsqueeze(-1) * x
    whole = x.shape[-1] // 128 * 128
    return slope if x.shape[-1] < 128 else torch.cat([slope[..., :whole], torch.zeros_like(slope[..., whole:])], -1)


TailOfBlocks, TailOfBlocksTwin = pair(
    "TailOfBlocks", lambda x: (row_sums(x), (x,)), _without_tail, lambda g, x: 2 * g.unsqueeze(-1) * x
)

LongRows, LongRowsTwin = pair(
    "LongRows",
    lambda x: (row_sums(x), (x,)),
    lambda g, x: (2 if x.shape[-1] < 1024 else 1) * g.unsqueeze(-1) * x,
    lambda g, x: 2 * g.unsqueeze(-1) * x,
)


def weighted_sum(x, taps):
    return x.sum() * taps.square().sum()


ManyTaps, ManyTapsTwin = pair(
    "ManyTaps",
    lambda x, taps: (weighted_sum(x, taps), (x, taps)),
    lambda g, x, taps: (g * taps[:16].square().sum() * torch.ones_like(x), g * 2 * taps * x.sum()),
    lambda g, x, taps: (g * taps.square().sum() * torch.ones_like(x), g * 2 * taps * x.sum()),
)


def row_squares(x):
    return x.square().sum(-1)


FirstRowsGradient, FirstRowsGradientTwin = pair(
    "FirstRowsGradient",
    lambda x: (row_squares(x), (x,)),
    lambda g, x: 2 * x * g.reshape(-1)[:1].sum(),
    lambda g, x: 2 * x * g.unsqueeze(-1),
)


def _two_rows(subject):
    x, incoming = draw(2, 4), torch.tensor([1.0, 3.0], dtype=DOUBLE)
    return gradients(subject, (x,), (incoming,)), gradients(row_squares, (x,), (incoming,))


def group_norm(x):
    return F.group_norm(x, 2)


def _group_norm_gradient(count):
    def backward(g, x):
        rows, groups = x.shape[0], 2
        flat, incoming = (t.reshape(rows, groups, x.shape[1:].numel() // groups) for t in (x.double(), g.double()))
        centred = flat - flat.mean(-1, keepdim=True)
        scale = (flat.var(-1, correction=0, keepdim=True) + 1e-5).rsqrt()
        normal, size = centred * scale, count(x, groups)
        means = incoming.sum(-1, keepdim=True) / size, (incoming * normal).sum(-1, keepdim=True) / size
        return (scale * (incoming - means[0] - normal * means[1])).reshape(x.shape).to(x.dtype)

    return backward


GroupNorm, GroupNormTwin = pair(
    "GroupNorm",
    lambda x: (group_norm(x), (x,)),
    _group_norm_gradient(lambda x, groups: x.shape[1] * x.shape[-1] // groups),
    _group_norm_gradient(lambda x, groups: x.shape[1:].numel() // groups),
)


def _four_dimensions(subject):
    x = draw(2, 4, 3, 2)
    incoming = (draw(2, 4, 3, 2, seed=1, grad=False),)
    return gradients(subject, (x,), incoming), gradients(group_norm, (x,), incoming)


DEFECTS = [
    entry("unseen: from 64 columns on", RowNorm, RowNormTwin, lambda: (draw(2, 5),), 3,
          compared(lambda: (draw(2, 65),), row_norm)),
    entry("unseen: one longer argument", Outer, OuterTwin, lambda: (draw(3), draw(4, seed=1)), 3,
          compared(lambda: (draw(3), draw(40, seed=1)), outer)),
    entry("unseen: more than sixteen rows", ColumnSquares, ColumnSquaresTwin, lambda: (draw(3, 2),), 3,
          compared(lambda: (draw(17, 2),), lambda x: (x * x).sum(0)),
          source="BobMcDear/attorch#18: the last block of rows was missing in a weight's gradient"),
    entry("tail_beyond_whole_blocks", TailOfBlocks, TailOfBlocksTwin, lambda: (draw(2, 5),), 3,
          compared(lambda: (draw(2, 130),), row_sums),
          "mitsuba-renderer/drjit#421: the gradient of a block sum, where the block does not divide the size"),
    entry("rows_of_1024", LongRows, LongRowsTwin, lambda: (draw(2, 3),), 3,
          compared(lambda: (draw(1, 1025),), row_sums),
          source="bytedance/lightseq#137: a limit of the size was lifted in the forward, and not in the backward"),
    entry("more_than_sixteen_taps", ManyTaps, ManyTapsTwin, lambda: (draw(5), draw(3, seed=1)), 3,
          compared(lambda: (draw(5), draw(20, seed=1)), weighted_sum)),
    entry("gradient_of_the_first_row", FirstRowsGradient, FirstRowsGradientTwin, lambda: (draw(1, 4),), 3,
          _two_rows,
          "linkedin/Liger-Kernel#1298: every row was multiplied by the incoming gradient of the first"),
    entry("groups_of_one_dimension", GroupNorm, GroupNormTwin, lambda: (draw(2, 4, 3),), 3, _four_dimensions,
          "linkedin/Liger-Kernel#1375: the backward of a group norm took the last dimension for all of a channel"),
]  # fmt: skip
