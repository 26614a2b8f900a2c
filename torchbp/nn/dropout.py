"""Dropout as modules. Its equations are in `torchbp/ops/layers/dropout.py`."""

from collections.abc import Sequence

import torch

from torchbp import ops
from torchbp.ops.layers.dropout import RULE, RULE1D, RULE2D, RULE3D
from torchbp.ops.registry import implements


@implements(RULE)
class Dropout(torch.nn.Dropout):
    """`torch.nn.Dropout` with its backward written out: `Z = X ∘ m`, `dX = dZ ∘ m`; on a CPU m is torch's.

    Args:
        p: the probability of 0; in an ensemble also a list or tensor of one for each member, of inputs (E, N, …).
        inplace: as in torch.

    In the steps of `torchbp.SGD` the masks are a function of a key, which the optimizer draws from torch's random
    stream before the first one; `torchbp.engine.seed_dropout(model, seed)` sets it.

    Raises:
        ValueError: a p that is not in [0, 1].

    Example:
        >>> torchbp.nn.Dropout(0.5)(torch.ones(4))  # zeros and twos
        >>> torchbp.nn.Dropout([0.0, 0.5])(torch.ones(2, 1, 4))  # ones; zeros and twos
    """

    def __init__(self, p: float | Sequence[float] | torch.Tensor = 0.5, inplace: bool = False) -> None:
        if not isinstance(p, (list, tuple)) and not (isinstance(p, torch.Tensor) and p.dim()):
            super().__init__(p, inplace)
            return
        p = torch.as_tensor(p, dtype=torch.double).clone()
        if p.dim() != 1 or not ((p >= 0) & (p <= 1)).all():
            raise ValueError(f"p={p.tolist()}: each member's dropout probability has to be between 0 and 1")
        super().__init__(inplace=inplace)
        del self.p
        self.register_buffer("p", p, persistent=False)
        self.members = len(p)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.dropout(input, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        p = self.p.tolist() if isinstance(self.p, torch.Tensor) else self.p
        return f"p={p}, inplace={self.inplace}"


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
