"""Operations of attention and the inputs on which ours and torch's must agree."""

import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from tests.inputs.operation import Operation
from torchbp import ops


def by_the_whole_matrix(query, key, value, attn_mask=None, **options):
    """torch's attention without its fused kernels, which have no second and no forward derivative."""
    with sdpa_kernel(SDPBackend.MATH):
        return F.scaled_dot_product_attention(query, key, value, attn_mask, **options)


OPERATIONS = [
    Operation(
        ops.scaled_dot_product_attention,
        by_the_whole_matrix,
        [
            ((2, 5, 2), (2, 8, 2), (2, 8, 2)),  # query, key, value: a case of torch's kernel for the CPU
            ((1, 2, 5, 2), (1, 1, 7, 2), (1, 1, 7, 1), (2, 1, 7)),  # shared heads, values of another size, a mask
        ],
        [{"enable_gqa": True, "scale": 0.7}],
        complex=False,
        layouts=False,
        samples=("nn.functional.scaled_dot_product_attention",),
    ),
    Operation(
        ops.scaled_dot_product_attention,
        by_the_whole_matrix,
        [((8, 2), (11, 2), (11, 1))],
        [{"is_causal": True}],
        complex=False,
    ),
]
