"""The linear layer as a module. Its equations are in `torchbp/ops/layers/linear.py`."""

import torch

from torchbp import ops
from torchbp.ops.layers.linear import RULE
from torchbp.ops.registry import implements


@implements(RULE)
class Linear(torch.nn.Linear):
    """`torch.nn.Linear` with the backward formulas written out: `Z = X Wᵀ + b`, `dX = dZ W`, `dW = dZᵀ X`, `db = Σ dZ`.

    Arguments, initialisation, random stream, `state_dict` and results are those of `torch.nn.Linear`.

    Shapes: `(…, in_features)` to `(…, out_features)`.

    Example:
        >>> torchbp.nn.Linear(30, 16)(torch.randn(32, 30)).shape  # (32, 16)
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.linear(input, self.weight, self.bias)
