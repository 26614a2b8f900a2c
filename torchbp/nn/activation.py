"""The activations as modules. Their equations are in `torchbp/ops/`."""

import torch

from torchbp import ops


class Sigmoid(torch.nn.Sigmoid):
    """`torch.nn.Sigmoid` with its backward written out: `A = σ(Z)`, `dZ = dA ∘ A ∘ (1 − A)`. Any shape to the same."""

    def forward(self, input):
        return ops.sigmoid(input)
