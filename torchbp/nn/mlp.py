"""The multilayer perceptron: the article's network, of any depth. It holds no formula; its layers do."""

import itertools

import torch
from torch.nn.modules.module import _has_any_global_hook

from torchbp import ops
from torchbp.nn.activation import ReLU, Sigmoid, Tanh
from torchbp.nn.linear import Linear
from torchbp.ops.mlp import network

ACTIVATIONS = {"sigmoid": Sigmoid, "tanh": Tanh, "relu": ReLU}


def is_hooked(module):
    """Whether calling this module does something that its class's forward does not."""
    return (
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or "forward" in module.__dict__
    )


class MLP(torch.nn.Sequential):
    """A feed-forward network that gives logits: `Linear, Sigmoid, …, Linear`.

        Z1 = X W1ᵀ + b1,  A1 = f(Z1),  …,  Z_L = A_{L−1} W_Lᵀ + b_L

    Args:
        *sizes: features of the input, units of each hidden layer, outputs: `MLP(30, 16, 1)`; two sizes at least.
        activation: f, "sigmoid", "tanh" or "relu".
        device, dtype: of the parameters, as in `torch.nn.Linear`.

    Shapes: `(…, sizes[0])` to `(…, sizes[-1])`.

    The `state_dict` is that of `torch.nn.Sequential(torch.nn.Linear, torch.nn.Sigmoid, …, torch.nn.Linear)`.

    Raises:
        ValueError: fewer than two sizes, one that is not a positive integer, or an unknown activation.

    Example:
        >>> net = torchbp.nn.MLP(30, 16, 1)
        >>> net(torch.randn(32, 30)).shape, net.predict_proba(torch.randn(32, 30)).shape  # (32, 1), (32, 1)
    """

    def __init__(self, *sizes, activation="sigmoid", device=None, dtype=None):
        if len(sizes) < 2:
            raise ValueError(f"MLP{sizes} needs at least an input and an output size, for example MLP(30, 16, 1)")
        for size in sizes:
            if not isinstance(size, int) or isinstance(size, bool) or size <= 0:
                raise ValueError(f"MLP{sizes}: the size {size!r} is not a positive integer")
        if activation not in ACTIVATIONS:
            raise ValueError(f"MLP: activation={activation!r} is not known; use {', '.join(ACTIVATIONS)}")
        layers = []
        for in_features, out_features in itertools.pairwise(sizes):
            layers += [Linear(in_features, out_features, device=device, dtype=dtype), ACTIVATIONS[activation]()]
        super().__init__(*layers[:-1])
        self.activation = activation

    def __getitem__(self, index):
        # Sequential makes a slice with its own class, whose arguments here are sizes, not layers
        if isinstance(index, slice):
            return torch.nn.Sequential(*list(self)[index])
        return super().__getitem__(index)

    def predict_proba(self, x):
        """σ(Z) = P(y = 1 | x), shape `(…, sizes[-1])`."""
        return ops.sigmoid(self(x))


class FusedMLP(MLP):
    """An `MLP` whose forward and backward are one node of the autograd graph: several layers for the price of one.

    Arguments, children, initialisation and `state_dict` are those of `MLP`. It uses its children's parameters, and not
    their `forward`; so it refuses a child that is replaced, hooked, pruned or parametrized. Under autocast, torch.func,
    forward-mode AD, torch.compile and torch.jit.trace it runs its layers one by one (see `torchbp.ops.mlp`).

    Raises:
        RuntimeError: in `forward` and `loss`, for a child that it cannot honour; `MLP` can.

    Example:
        >>> net = torchbp.nn.FusedMLP(30, 16, 1)
        >>> net.loss(torch.randn(32, 30), torch.ones(32, 1)).backward()
    """

    def __init__(self, *sizes, activation="sigmoid", device=None, dtype=None):
        super().__init__(*sizes, activation=activation, device=device, dtype=dtype)
        self.kinds = [type(child) for child in self]

    def forward(self, x):
        """Logits Z_L, shape `(…, sizes[-1])`."""
        return network(self.activation, None, x, self.checked_parameters())

    def loss(self, x, y):
        """The mean cross-entropy of σ(Z_L) and y, shape `(…, sizes[-1])`, fused: dZ_L = (σ(Z_L) − y)/N, exact."""
        return network(self.activation, y, x, self.checked_parameters())

    def checked_parameters(self):
        """W_1, b_1, …, W_L, b_L, once every child is known to be as it was made."""
        children = self._modules
        if len(children) != len(self.kinds) or _has_any_global_hook():
            raise RuntimeError(
                "FusedMLP has lost or gained a child, or all modules have a hook; use MLP, which runs them"
            )
        parameters = []
        for (name, child), kind in zip(children.items(), self.kinds, strict=True):
            if type(child) is not kind or is_hooked(child):
                raise RuntimeError(
                    f"FusedMLP does not run its child {name!r}, a {type(child).__name__} that is replaced, hooked, "
                    "pruned or parametrized; use MLP, which does"
                )
            if kind is Linear:
                parameters += child._parameters["weight"], child._parameters["bias"]
        return parameters
