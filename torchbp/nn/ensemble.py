"""The layers of E networks as one module. Their equations are in `torchbp/ops/layers/ensemble_linear.py` and
`ensemble_scale.py` there."""

import math

import torch

from torchbp import ops
from torchbp.ops.layers import ensemble_linear, ensemble_scale
from torchbp.ops.registry import implements


@implements(ensemble_linear.RULE)
class EnsembleLinear(torch.nn.Module):
    """`Linear` of each of E networks, `Z_e = X_e W_eᵀ + b_e`, in one batched product.

    Args:
        members: E. in_features, out_features, bias, device, dtype: as in `torch.nn.Linear`.

    Shapes: `(N, in_features)`, rows that all members share, or `(E, N, in_features)`, to `(E, N, out_features)`;
    the parameters `weight` `(E, out_features, in_features)` and `bias` `(E, out_features)`. Each member is drawn from
    the distribution of `torch.nn.Linear`.

    Example:
        >>> torchbp.nn.EnsembleLinear(64, 30, 16)(torch.randn(32, 30)).shape  # (64, 32, 16)
    """

    def __init__(
        self,
        members: int,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.members, self.in_features, self.out_features = members, in_features, out_features
        factory = {"device": device, "dtype": dtype}
        self.weight = torch.nn.Parameter(torch.empty(members, out_features, in_features, **factory))
        if bias:
            self.bias = torch.nn.Parameter(torch.empty(members, out_features, **factory))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """W and b from U(−1/√in, 1/√in), as torch.nn.Linear draws them."""
        bound = 1 / math.sqrt(self.in_features) if self.in_features else 0
        for parameter in self.parameters():
            torch.nn.init.uniform_(parameter, -bound, bound)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.ensemble_linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"members={self.members}, in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


@implements(ensemble_scale.RULE)
class EnsembleScale(torch.nn.Module):
    """A scale and a shift of each feature of each of E networks, `Z_e = X_e ∘ w_e + b_e`.

    After a `LayerNorm` or an `RMSNorm` without weights, which is the same for all members, it has the weights of each.

    Args:
        members: E. features: n. bias, device, dtype: as in `torch.nn.LayerNorm`.

    Shapes: `(N, features)`, rows that all members share, or `(E, N, features)`, to `(E, N, features)`; the parameters
    `weight`, at first 1, and `bias`, at first 0, `(E, features)`.

    Example:
        >>> torchbp.nn.EnsembleScale(64, 30)(torch.randn(32, 30)).shape  # (64, 32, 30)
    """

    def __init__(
        self,
        members: int,
        features: int,
        bias: bool = True,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.members, self.features = members, features
        self.weight = torch.nn.Parameter(torch.empty(members, features, device=device, dtype=dtype))
        self.register_parameter("bias", torch.nn.Parameter(torch.empty_like(self.weight)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """w = 1 and b = 0."""
        torch.nn.init.ones_(self.weight)
        if self.bias is not None:
            torch.nn.init.zeros_(self.bias)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.ensemble_scale(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"members={self.members}, features={self.features}, bias={self.bias is not None}"
