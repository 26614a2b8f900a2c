"""The embedding as a module. Its equations are in `torchbp/ops/layers/embedding.py`."""

import torch

from torchbp import ops
from torchbp.ops.layers.embedding import RULE
from torchbp.ops.registry import implements


@implements(RULE)
class Embedding(torch.nn.Embedding):
    """`torch.nn.Embedding` with its backward written out: `Z_n = W_{i_n}`, `dW_v = Σ_{i_n = v} dZ_n`.

    Example:
        >>> torchbp.nn.Embedding(10, 3)(torch.tensor([[1, 2]])).shape  # (1, 2, 3)
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.embedding(
            input,
            self.weight,
            self.padding_idx,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.sparse,
        )
