"""Operations of normalisation and the inputs on which ours and torch's must agree."""

import torch.nn.functional as F

from tests.inputs.operation import PER_CLASS, Operation
from torchbp import ops

ALL = "input", "weight", "bias"

OPERATIONS = [
    Operation(
        ops.layer_norm,
        F.layer_norm,
        [((4, 3), (3,), (3,)), ((3,), (3,)), ((2, 2, 3),), ((0, 3), (3,), (3,))],
        [{"normalized_shape": (3,)}],
        complex=False,
        names=ALL,
        samples=("nn.functional.layer_norm",),
    ),
    Operation(
        ops.batch_norm,
        F.batch_norm,
        [((4, 3), (3,), (3,)), ((2, 3, 3), (3,)), ((2, 2, 2, 2),)],
        [
            {"running_mean": None, "running_var": None, "training": True},
            {"running_mean": PER_CLASS, "running_var": PER_CLASS},
        ],
        complex=False,
        names=ALL,
        samples=("nn.functional.batch_norm",),
    ),
]
