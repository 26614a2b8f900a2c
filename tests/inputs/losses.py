"""The losses and the inputs on which ours and torch's must agree."""

import torch.nn.functional as F

from tests.inputs.operation import PER_CHANNEL, PER_CLASS, REDUCTIONS, SHAPES, Operation
from torchbp import ops

LOSS_OPTIONS = [*REDUCTIONS, {"weight": PER_CLASS}]

CLASS_OPTIONS = [
    *REDUCTIONS,
    {"weight": PER_CHANNEL},
    {"weight": PER_CHANNEL, "ignore_index": 1},
]
SMOOTHING = [{"label_smoothing": 0.2}, {"label_smoothing": 0.2, "weight": PER_CHANNEL, "ignore_index": 1}]

OPERATIONS = [
    Operation(
        ops.cross_entropy,
        F.cross_entropy,
        [((3,), ()), ((5, 3), (5,)), ((2, 3, 2), (2, 2)), ((0, 3), (0,))],
        [*CLASS_OPTIONS, *SMOOTHING],
        values=("normal", "below 3"),
        complex=False,
        samples=("nn.functional.cross_entropy",),
    ),
    Operation(
        ops.cross_entropy,
        F.cross_entropy,
        [((3,), (3,)), ((5, 3), (5, 3)), ((2, 3, 2), (2, 3, 2))],
        [*REDUCTIONS, {"weight": PER_CHANNEL, "label_smoothing": 0.2}],
        values=("normal", "probability"),
        complex=False,
    ),
    Operation(
        ops.nll_loss,
        F.nll_loss,
        [((3,), ()), ((5, 3), (5,)), ((2, 3, 2), (2, 2)), ((0, 3), (0,))],
        CLASS_OPTIONS,
        values=("normal", "below 3"),
        complex=False,
        samples=("nn.functional.nll_loss",),
        layouts=False,
    ),
    Operation(
        ops.mse_loss,
        F.mse_loss,
        [(shape, shape) for shape in SHAPES],
        REDUCTIONS,
        complex=False,
        samples=("nn.functional.mse_loss",),
    ),
    Operation(
        ops.l1_loss,
        F.l1_loss,
        [((), ()), ((4, 3), (4, 3)), ((0, 3), (0, 3))],
        REDUCTIONS,
        samples=("nn.functional.l1_loss",),
    ),
    Operation(
        ops.huber_loss,
        F.huber_loss,
        [((), ()), ((4, 3), (4, 3)), ((0, 3), (0, 3))],
        [{"delta": 0.7}, *REDUCTIONS[1:]],
        complex=False,
        samples=("nn.functional.huber_loss",),
    ),
    Operation(
        ops.smooth_l1_loss,
        F.smooth_l1_loss,
        [((), ()), ((4, 3), (4, 3)), ((0, 3), (0, 3))],
        [{"beta": 0.7}, {"beta": 0.0}, *REDUCTIONS[1:]],
        complex=False,
        samples=("nn.functional.smooth_l1_loss",),
    ),
    Operation(
        ops.kl_div,
        F.kl_div,
        [((), ()), ((4, 3), (4, 3)), ((0, 3), (0, 3))],
        [{"reduction": "batchmean"}, *REDUCTIONS[1:], {"reduction": "sum", "log_target": True}],
        values=("normal", "probability"),
        complex=False,
        samples=("nn.functional.kl_div",),
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
