"""The linear layers of E networks as one module. Its equations are in `torchbp/ops/layers/ensemble_linear.py`."""

import math

import torch

from torchbp import ops
from torchbp.ops.layers.ensemble_linear import RULE
from torchbp.ops.registry import implements


@implements(RULE)
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
