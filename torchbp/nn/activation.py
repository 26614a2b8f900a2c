"""The activations as modules. Their equations are in `torchbp/ops/`."""

import torch

from torchbp import ops
from torchbp.ops.registry import activation, implements


@implements(activation("sigmoid"))
class Sigmoid(torch.nn.Sigmoid):
    """`torch.nn.Sigmoid` with its backward written out: `A = σ(Z)`, `dZ = dA ∘ A ∘ (1 − A)`. Any shape to the same.

    Example:
        >>> torchbp.nn.Sigmoid()(torch.zeros(2))  # tensor([0.5, 0.5])
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.sigmoid(input)


@implements(activation("tanh"))
class Tanh(torch.nn.Tanh):
    """`torch.nn.Tanh` with its backward written out: `A = tanh(Z)`, `dZ = dA ∘ (1 − A²)`. Any shape to the same.

    Example:
        >>> torchbp.nn.Tanh()(torch.zeros(2))  # tensor([0., 0.])
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.tanh(input)


@implements(activation("relu"))
class ReLU(torch.nn.ReLU):
    """`torch.nn.ReLU` with its backward written out: `A = max(Z, 0)`, `dZ = dA ∘ [A > 0]`. Any shape to the same.

    With `inplace=True` it is torch's own operation; see `torchbp.ops.relu`.

    Example:
        >>> torchbp.nn.ReLU()(torch.tensor([-1.0, 2.0]))  # tensor([0., 2.])
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.relu(input, inplace=self.inplace)
