"""Embeddings of indices and of numbers as modules. Their equations are in `torchbp/ops/layers/embedding.py` and
`periodic_embedding.py`."""

import math

import torch

from torchbp import ops
from torchbp.ops.layers.embedding import RULE
from torchbp.ops.layers.periodic_embedding import RULE as PERIODIC
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


@implements(PERIODIC)
class PeriodicEmbedding(torch.nn.Module):
    """The features, and cosines of the first ones at frequencies that are learnt: `Z = [X, cos(X ∘ w + b)]`.

    Args:
        features: F, how many of the features have waves: the first ones. The others only pass.
        waves: K, how many cosines of each.
        frequency: the standard deviation of the frequencies w/2π at the beginning, in periods for a change of the
            feature by 1. The phases b are uniform.
        members: E, for an ensemble; None is one network.
        device, dtype: as in `torch.nn.Linear`.

    Shapes: `(…, M)`, M at least F, to `(…, M + F K)`; of an ensemble `(N, M)` or `(E, N, M)` to `(E, N, M + F K)`. The
    parameters `weight` and `bias` are `(F, K)`, or `(E, F, K)`.

    Example:
        >>> torchbp.nn.PeriodicEmbedding(30, 8)(torch.randn(32, 30)).shape  # (32, 270)
    """

    def __init__(
        self,
        features: int,
        waves: int = 8,
        frequency: float = 0.1,
        members: int | None = None,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.features, self.waves, self.frequency, self.members = features, waves, frequency, members
        shape = (features, waves) if members is None else (members, features, waves)
        self.weight = torch.nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.bias = torch.nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """w/2π from N(0, frequency²), and b from U(−π, π)."""
        torch.nn.init.normal_(self.weight, std=2 * math.pi * self.frequency)
        torch.nn.init.uniform_(self.bias, -math.pi, math.pi)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.periodic_embedding(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        members = "" if self.members is None else f", members={self.members}"
        return f"features={self.features}, waves={self.waves}, frequency={self.frequency}{members}"
