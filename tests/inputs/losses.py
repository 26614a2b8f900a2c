"""The losses and the inputs on which ours and torch's must agree."""

import torch.nn.functional as F

from tests.inputs.operation import PER_CLASS, REDUCTIONS, SHAPES, Operation
from torchbp import ops

LOSS_OPTIONS = [*REDUCTIONS, {"weight": PER_CLASS}]

OPERATIONS = [
    Operation(
        ops.mse_loss,
        F.mse_loss,
        [(shape, shape) for shape in SHAPES],
        REDUCTIONS,
        complex=False,
        samples=("nn.functional.mse_loss",),
    ),
    Operation(
        ops.binary_cross_entropy,
        F.binary_cross_entropy,
        [(shape, shape) for shape in SHAPES],
        LOSS_OPTIONS,
        values=("probability", "probability"),
        complex=False,
        samples=("nn.functional.binary_cross_entropy",),
    ),
    Operation(
        ops.binary_cross_entropy_with_logits,
        F.binary_cross_entropy_with_logits,
        [(shape, shape) for shape in SHAPES],
        [*LOSS_OPTIONS, {"pos_weight": PER_CLASS}, {"pos_weight": PER_CLASS, "weight": PER_CLASS}],
        values=("normal", "probability"),
        complex=False,
        samples=("nn.functional.binary_cross_entropy_with_logits",),
    ),
]
