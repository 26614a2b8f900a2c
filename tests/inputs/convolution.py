"""Operations of convolution and the inputs on which ours and torch's must agree."""

import torch.nn.functional as F

from tests.inputs.operation import Operation
from torchbp import ops

OPERATIONS = [
    Operation(
        ops.conv1d,
        F.conv1d,
        [((2, 2, 5), (4, 1, 2), (4,)), ((2, 5), (2, 1, 2), (2,))],  # a batch, and no batch
        [{"stride": 2, "groups": 2}],
        layouts=False,
        samples=("nn.functional.conv1d",),
    ),
    Operation(
        ops.conv2d,
        F.conv2d,
        [((2, 2, 5, 4), (2, 2, 3, 2), (2,)), ((0, 2, 5, 4), (2, 2, 3, 2), (2,))],
        [{"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2)}],
        samples=("nn.functional.conv2d",),
    ),
    Operation(
        ops.conv3d,
        F.conv3d,
        [((1, 1, 3, 2, 2), (1, 1, 2, 1, 2), (1,))],
        [{"padding": (1, 0, 2)}],
        layouts=False,
        samples=("nn.functional.conv3d",),
    ),
    Operation(
        ops.conv_transpose1d,
        F.conv_transpose1d,
        [((2, 2, 3), (2, 1, 2), (2,)), ((2, 3), (2, 1, 2), (2,))],
        [{"stride": 2, "groups": 2}],
        layouts=False,
        samples=("nn.functional.conv_transpose1d",),
    ),
    Operation(
        ops.conv_transpose2d,
        F.conv_transpose2d,
        [((2, 2, 3, 2), (2, 2, 3, 2), (2,)), ((0, 2, 3, 2), (2, 2, 3, 2), (2,))],
        [{"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2), "output_padding": (1, 0)}],
        layouts=False,
        samples=("nn.functional.conv_transpose2d",),
    ),
    Operation(
        ops.conv_transpose3d,
        F.conv_transpose3d,
        [((1, 1, 2, 1, 2), (1, 1, 2, 1, 2), (1,))],
        layouts=False,
        samples=("nn.functional.conv_transpose3d",),
    ),
    Operation(
        ops.max_pool1d,
        F.max_pool1d,
        [((2, 5),)],
        [{"kernel_size": 3, "stride": 1}],
        complex=False,
        layouts=False,
    ),
    Operation(
        ops.max_pool2d,
        F.max_pool2d,
        [((2, 1, 5, 4),), ((0, 1, 5, 4),)],
        [{"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}],
        complex=False,
        samples=("nn.functional.max_pool2d",),
    ),
    Operation(ops.max_pool3d, F.max_pool3d, [((1, 2, 3, 4),)], [{"kernel_size": 2}], complex=False, layouts=False),
    Operation(
        ops.avg_pool1d, F.avg_pool1d, [((2, 5),)], [{"kernel_size": 2, "stride": 1}], complex=False, layouts=False
    ),
    Operation(
        ops.avg_pool2d,
        F.avg_pool2d,
        [((2, 1, 5, 4),), ((0, 1, 5, 4),)],
        [{"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": False}],
        complex=False,
        samples=("nn.functional.avg_pool2d",),
    ),
    Operation(
        ops.avg_pool3d,
        F.avg_pool3d,
        [((1, 2, 3, 4),)],
        [{"kernel_size": 2, "divisor_override": 3}],
        complex=False,
        layouts=False,
    ),
    Operation(
        ops.adaptive_avg_pool1d, F.adaptive_avg_pool1d, [((2, 5),)], [{"output_size": 3}], complex=False, layouts=False
    ),
    Operation(
        ops.adaptive_avg_pool2d,
        F.adaptive_avg_pool2d,
        [((2, 1, 5, 4),), ((0, 1, 5, 4),)],
        [{"output_size": (1, 3)}],
        complex=False,
        samples=("nn.functional.adaptive_avg_pool2d",),
    ),
    Operation(
        ops.adaptive_avg_pool3d,
        F.adaptive_avg_pool3d,
        [((1, 2, 3, 4),)],
        [{"output_size": 1}],
        complex=False,
        layouts=False,
    ),
]
