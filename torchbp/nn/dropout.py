"""Dropout as modules. Its equations are in `torchbp/ops/layers/dropout.py`."""

import torch

from torchbp import ops
from torchbp.ops.layers.dropout import RULE, RULE1D, RULE2D, RULE3D
from torchbp.ops.registry import implements


@implements(RULE)
class Dropout(torch.nn.Dropout):
    """`torch.nn.Dropout` with its backward written out: `Z = X ∘ m`, `dX = dZ ∘ m`; on a CPU m is torch's.

    Example:
        >>> torchbp.nn.Dropout(0.5)(torch.ones(4))  # zeros and twos
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.dropout(input, self.p, self.training, self.inplace)


@implements(RULE1D)
class Dropout1d(torch.nn.Dropout1d):
    """`torch.nn.Dropout1d`, `Z = X ∘ m` and `dX = dZ ∘ m`: one m for each channel of (N, C, L) or (C, L).

    Example:
        >>> torchbp.nn.Dropout1d(0.5)(torch.ones(2, 3, 5)).shape  # (2, 3, 5)
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.dropout1d(input, self.p, self.training, self.inplace)


@implements(RULE2D)
class Dropout2d(torch.nn.Dropout2d):
    """`torch.nn.Dropout2d`, `Z = X ∘ m` and `dX = dZ ∘ m`: one m for each channel of (N, C, H, W).

    Example:
        >>> torchbp.nn.Dropout2d(0.5)(torch.ones(2, 3, 4, 4)).shape  # (2, 3, 4, 4)
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.dropout2d(input, self.p, self.training, self.inplace)


@implements(RULE3D)
class Dropout3d(torch.nn.Dropout3d):
    """`torch.nn.Dropout3d`, `Z = X ∘ m` and `dX = dZ ∘ m`: one m for each channel of (N, C, D, H, W).

    Example:
        >>> torchbp.nn.Dropout3d(0.5)(torch.ones(2, 3, 2, 2, 2)).shape  # (2, 3, 2, 2, 2)
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.dropout3d(input, self.p, self.training, self.inplace)
