"""Layers and the inputs on which ours and torch's must agree."""

import torch
import torch.nn.functional as F

from tests.inputs.operation import Operation
from torchbp import ops


def members_alone(x, weight, bias=None):
    """torch's linear layer of each member, one after another."""
    xs = x if x.dim() == 3 else [x] * len(weight)
    biases = [None] * len(weight) if bias is None else bias
    return torch.stack([F.linear(*member) for member in zip(xs, weight, biases, strict=True)])


def with_cosines(x, weight, bias):
    """The features and cosines of the first ones, feature by feature."""
    x = x if weight.dim() == 2 or x.dim() == 3 else x.expand(len(weight), -1, -1)
    waves = [x]
    for feature in range(weight.shape[-2]):
        of_feature = [p[..., feature, :] if p.dim() == 2 else p[:, None, feature] for p in (weight, bias)]
        waves.append(torch.cos(x[..., feature : feature + 1] * of_feature[0] + of_feature[1]))
    return torch.cat(waves, -1)


def scaled_members(x, weight, bias=None):
    """The scale and shift of each member, by torch's operations."""
    z = x * weight[:, None]
    return z if bias is None else z + bias[:, None]


SOFTMAX, DIMS = [((3,),), ((4, 3),), ((2, 3, 2),)], [{"dim": 0}, {"dim": -1}]

OPERATIONS = [
    Operation(
        ops.linear,
        F.linear,
        [
            ((3,), (2, 3), (2,)),
            ((4, 3), (2, 3), (2,)),
            ((4, 3), (2, 3)),
            ((2, 3, 4), (5, 4), (5,)),
            ((2, 1, 3, 2, 4), (2, 4), (2,)),
            ((1, 3), (1, 3), (1,)),
            ((0, 3), (2, 3), (2,)),
            ((4, 3), (2, 3), (1,)),  # a bias that broadcasts
            ((4, 3), (3,)),  # a weight of one dimension: one output without its dimension
            ((3,), (3,), ()),
        ],
        samples=("nn.functional.linear",),
    ),
    Operation(
        ops.matmul,
        torch.matmul,
        [
            ((4, 3), (3, 2)),
            ((3,), (3,)),
            ((3,), (3, 2)),
            ((4, 3), (3,)),
            ((2, 4, 3), (3,)),
            ((3,), (2, 3, 4)),
            ((2, 4, 3), (3, 2)),  # one matrix for all rows
            ((4, 3), (2, 3, 2)),
            ((2, 1, 4, 3), (3, 3, 2)),  # both are broadcast
            ((0, 3), (3, 2)),
        ],
        layouts=False,
        samples=("matmul",),
    ),
    Operation(
        ops.addmm,
        torch.addmm,
        [((4, 2), (4, 3), (3, 2)), ((2,), (4, 3), (3, 2)), ((1, 2), (0, 3), (3, 2))],
        [{}, {"beta": 0.5, "alpha": -2}],
        layouts=False,
        samples=("addmm",),
    ),
    Operation(
        ops.baddbmm,
        torch.baddbmm,
        [((2, 4, 2), (2, 4, 3), (2, 3, 2)), ((2,), (2, 4, 3), (2, 3, 2))],
        [{}, {"beta": 0.5, "alpha": -2}],
        layouts=False,
        samples=("baddbmm",),
    ),
    Operation(
        ops.ensemble_linear,
        members_alone,
        [
            ((2, 4, 3), (2, 5, 3), (2, 5)),  # each member's own rows
            ((4, 3), (2, 5, 3), (2, 5)),  # rows that all members share
            ((4, 3), (2, 5, 3)),
            ((2, 1, 3), (2, 1, 3), (2, 1)),
            ((3, 0, 2), (3, 4, 2), (3, 4)),
        ],
    ),
    Operation(
        ops.periodic_embedding,
        with_cosines,
        [  # what it saves is less than torch's for more than a few rows; tests/ops/test_layers.py has fewer
            ((8, 3), (2, 6), (2, 6)),  # the third feature has no waves
            ((2, 6, 2), (2, 3), (2, 3)),
            ((6, 2), (2, 2, 3), (2, 2, 3)),  # rows that all members share
            ((2, 8, 2), (2, 2, 4), (2, 2, 4)),  # each member's own rows
        ],
        complex=False,
    ),
    Operation(
        ops.ensemble_scale,
        scaled_members,
        [
            ((2, 4, 3), (2, 3), (2, 3)),
            ((4, 3), (2, 3), (2, 3)),  # rows that all members share
            ((4, 3), (2, 3)),
            ((2, 1, 3), (2, 3), (2, 3)),
            ((3, 0, 2), (3, 2), (3, 2)),
        ],
    ),
    Operation(ops.softmax, F.softmax, SOFTMAX, DIMS, complex=False, layouts=False, samples=("softmax",)),
    Operation(ops.log_softmax, F.log_softmax, SOFTMAX, DIMS, complex=False, layouts=False, samples=("log_softmax",)),
    Operation(
        ops.glu,
        F.glu,
        [((4,),), ((2, 4),), ((2, 4, 2),)],
        [{"dim": 0}, {"dim": -1}],
        complex=False,
        layouts=False,
        samples=("nn.functional.glu",),
    ),
    Operation(
        ops.prelu,
        F.prelu,
        [((4,), (1,)), ((4, 3), (3,)), ((2, 3, 4), (3,)), ((2, 3), (1,))],
        complex=False,
        samples=("nn.functional.prelu",),
    ),
    Operation(
        ops.embedding,
        F.embedding,
        [((4,), (5, 3)), ((2, 3), (5, 2)), ((), (5, 2)), ((0,), (5, 3))],
        values=("below 5", "normal"),
        layouts=False,
        complex=False,
        samples=("nn.functional.embedding",),
    ),
    # without random numbers; tests/ops/test_layers.py has the others
    Operation(
        ops.dropout,
        F.dropout,
        [((4, 3),)],
        [{"p": 1.0}],
        layouts=False,
        samples=("nn.functional.dropout",),
    ),
    Operation(ops.dropout1d, F.dropout1d, [((2, 3, 4),), ((2, 3),)], [{"p": 1.0}], layouts=False),
    Operation(ops.dropout2d, F.dropout2d, [((2, 2, 2, 2),)], [{"p": 1.0}], layouts=False),
    Operation(ops.dropout3d, F.dropout3d, [((2, 2, 1, 2, 2),)], [{"p": 1.0}], layouts=False),
]
