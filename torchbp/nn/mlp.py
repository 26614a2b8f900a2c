"""The multilayer perceptron: the article's network, of any depth. It holds no formula; its layers do."""

import itertools

import torch

from torchbp import ops
from torchbp.nn.activation import Sigmoid
from torchbp.nn.linear import Linear


class MLP(torch.nn.Sequential):
    """A feed-forward network that gives logits: `Linear, Sigmoid, …, Linear`.

        Z1 = X W1ᵀ + b1,  A1 = σ(Z1),  …,  Z_L = A_{L−1} W_Lᵀ + b_L

    Args:
        *sizes: features of the input, units of each hidden layer, outputs: `MLP(30, 16, 1)`; two sizes at least.
        device, dtype: of the parameters, as in `torch.nn.Linear`.

    Shapes: `(…, sizes[0])` to `(…, sizes[-1])`.

    The `state_dict` is that of `torch.nn.Sequential(torch.nn.Linear, torch.nn.Sigmoid, …, torch.nn.Linear)`.

    Raises:
        ValueError: fewer than two sizes, or one that is not a positive integer.

    Example:
        >>> net = torchbp.nn.MLP(30, 16, 1)
        >>> net(torch.randn(32, 30)).shape, net.predict_proba(torch.randn(32, 30)).shape  # (32, 1), (32, 1)
    """

    def __init__(self, *sizes, device=None, dtype=None):
        if len(sizes) < 2:
            raise ValueError(f"MLP{sizes} needs at least an input and an output size, for example MLP(30, 16, 1)")
        for size in sizes:
            if not isinstance(size, int) or isinstance(size, bool) or size <= 0:
                raise ValueError(f"MLP{sizes}: the size {size!r} is not a positive integer")
        layers = []
        for in_features, out_features in itertools.pairwise(sizes):
            layers += [Linear(in_features, out_features, device=device, dtype=dtype), Sigmoid()]
        super().__init__(*layers[:-1])

    def __getitem__(self, index):
        # Sequential makes a slice with its own class, whose arguments here are sizes, not layers
        if isinstance(index, slice):
            return torch.nn.Sequential(*list(self)[index])
        return super().__getitem__(index)

    def predict_proba(self, x):
        """σ(Z) = P(y = 1 | x), shape `(…, sizes[-1])`."""
        return ops.sigmoid(self(x))
