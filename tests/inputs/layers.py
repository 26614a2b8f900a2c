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
]
