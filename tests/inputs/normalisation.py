"""Operations of normalisation and the inputs on which ours and torch's must agree."""

import torch.nn.functional as F

from tests.inputs.operation import PER_CHANNEL, PER_CLASS, Operation
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
    Operation(
        ops.rms_norm,
        F.rms_norm,
        [((4, 3), (3,)), ((3,), (3,)), ((2, 2, 3),), ((0, 3), (3,))],
        [{"normalized_shape": (3,)}, {"normalized_shape": (3,), "eps": 0.1}],
        names=("input", "weight"),
        samples=("nn.functional.rms_norm",),
    ),
    Operation(
        ops.group_norm,
        F.group_norm,
        [((2, 4, 3), (4,), (4,)), ((3, 4), (4,)), ((1, 2, 2, 2),)],
        [{"num_groups": 2}],
        complex=False,
        names=ALL,
        samples=("nn.functional.group_norm",),
    ),
    Operation(
        ops.instance_norm,
        F.instance_norm,
        [((2, 2, 3), (2,), (2,)), ((2, 2, 2, 2),)],
        [{}, {"running_mean": PER_CHANNEL, "running_var": PER_CHANNEL, "use_input_stats": False}],
        complex=False,
        names=ALL,
        samples=("nn.functional.instance_norm",),
    ),
]
