"""The multilayer perceptron: the article's network, of any depth, or E of them. It holds no formula; its layers do."""

import functools
import itertools
from collections.abc import Iterable
from typing import Any

import torch
from torch.nn.modules.module import _has_any_global_hook

from torchbp import ops
from torchbp.nn._validation import is_positive_int
from torchbp.nn.ensemble import EnsembleLinear
from torchbp.nn.linear import Linear
from torchbp.ops import registry
from torchbp.ops.mlp import perceptron
from torchbp.printing import with_article


def is_hooked(module):
    """Whether calling this module does more than the forward of its class."""
    return (
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or ("forward" in module.__dict__ and not registry.is_converted(module))
    )


class MLP(torch.nn.Sequential):
    """A feed-forward network that gives logits: `Linear, Sigmoid, …, Linear`; or E such networks, `members`, in one.

        Z1 = X W1ᵀ + b1,  A1 = f(Z1),  …,  Z_L = A_{L−1} W_Lᵀ + b_L

    Args:
        *sizes: features of the input, units of each hidden layer, outputs: `MLP(30, 16, 1)`; two sizes at least.
        activation: f by the name of its rule: "sigmoid", "tanh", "relu", or one that was registered.
        members: E, for an ensemble: each layer is an `EnsembleLinear`. None is one network.
        device, dtype: of the parameters, as in `torch.nn.Linear`.

    Shapes: `(…, sizes[0])` to `(…, sizes[-1])`. Of an ensemble: `(N, sizes[0])`, rows that all members share, or
    `(E, N, sizes[0])`, to `(E, N, sizes[-1])`.

    The `state_dict` is that of `torch.nn.Sequential(torch.nn.Linear, torch.nn.Sigmoid, …, torch.nn.Linear)`; that of an
    ensemble has the same keys, and a dimension of members before the others.

    Raises:
        ValueError: fewer than two sizes, one or `members` that is not a positive integer, or an unknown activation.

    Example:
        >>> net = torchbp.nn.MLP(30, 16, 1)
        >>> net(torch.randn(32, 30)).shape, net.predict_proba(torch.randn(32, 30)).shape  # (32, 1), (32, 1)
        >>> mean, spread = torchbp.nn.MLP(30, 16, 1, members=64).predict_proba(torch.randn(32, 30))  # (32, 1) each
    """

    def __init__(
        self,
        *sizes: int,
        activation: str = "sigmoid",
        members: int | None = None,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if len(sizes) < 2:
            raise ValueError(f"MLP{sizes} needs at least an input and an output size, for example MLP(30, 16, 1)")
        for size in sizes:
            if not is_positive_int(size):
                raise ValueError(f"MLP{sizes}: the size {size!r} is not a positive integer")
        if members is not None and not is_positive_int(members):
            raise ValueError(f"MLP: members={members!r} is not a positive integer")
        rule = registry.activation(activation)
        linear = Linear if members is None else functools.partial(EnsembleLinear, members)
        layers = []
        for in_features, out_features in itertools.pairwise(sizes):
            layers += [linear(in_features, out_features, device=device, dtype=dtype), rule.module_class()]
        super().__init__(*layers[:-1])
        self.sizes, self.activation, self.members = sizes, activation, members

    def __getitem__(self, index: int | slice) -> Any:
        # Sequential makes a slice with its own class, whose arguments here are sizes, not layers
        if isinstance(index, slice):
            return torch.nn.Sequential(*list(self)[index])
        return super().__getitem__(index)

    def predict_proba(self, x: torch.Tensor) -> Any:
        """σ(Z) = P(y = 1 | x), shape `(…, sizes[-1])`; of an ensemble (mean, spread): the mean over its members and the
        standard deviation, each of the shape `(N, sizes[-1])`."""
        a = ops.sigmoid(self(x))
        return a if self.members is None else (a.mean(0), a.std(0, correction=0))


def stack(nets: Iterable[MLP]) -> MLP:
    """One ensemble with the weights of these networks, copied: the inverse of `unstack`.

    Args:
        nets: networks of the class `MLP`, of the same sizes and activation, on one device and of one dtype.

    Returns:
        `MLP(*sizes, members=len(nets))`. A parameter requires a gradient where it does in any of the networks.

    Raises:
        TypeError: something else than an `MLP`.
        ValueError: no network, an ensemble, networks that differ, or one whose layers were exchanged.

    Example:
        >>> nets = [torchbp.nn.MLP(30, 16, 1) for _ in range(64)]
        >>> torchbp.unstack(torchbp.stack(nets))[3]  # has the weights of nets[3]
    """
    nets = list(nets)
    if not nets:
        raise ValueError("stack: there is no network in the list")
    for number, net in enumerate(nets):
        if type(net) is not MLP:
            raise TypeError(f"stack: number {number} is {with_article(type(net).__name__)}; each must be an MLP")
        if net.members is not None or signature(net) != signature(nets[0]):
            found = f"number {number} is {signature(net)}, and number 0 {signature(nets[0])}"
            raise ValueError(f"stack: {found}; all must be alike")
        check_layers(net, f"stack: number {number}")
    ensemble = empty_like(nets[0], members=len(nets))
    for parameter, *of_nets in zip(ensemble.parameters(), *(net.parameters() for net in nets), strict=True):
        parameter.data.copy_(torch.stack([p.detach() for p in of_nets]))
        parameter.requires_grad_(any(p.requires_grad for p in of_nets))
    return ensemble


def unstack(ensemble: MLP) -> list[MLP]:
    """The members as single networks, with a copy of their weights: the inverse of `stack`.

    Args:
        ensemble: an `MLP` with members.

    Returns:
        A list of E networks of the class `MLP`. A parameter requires a gradient where the ensemble's does.

    Raises:
        TypeError: something else than an `MLP`.
        ValueError: one network, or an ensemble whose layers were exchanged.

    Example:
        >>> nets = torchbp.unstack(torchbp.nn.MLP(30, 16, 1, members=64))
        >>> nets[3](torch.randn(32, 30))  # (32, 1)
    """
    if not isinstance(ensemble, MLP):
        raise TypeError(f"unstack: this is {with_article(type(ensemble).__name__)}; give an MLP with members")
    if ensemble.members is None:
        raise ValueError("unstack: this MLP is one network; give one made with members=E, or by torchbp.stack")
    check_layers(ensemble, "unstack")
    nets = [empty_like(ensemble, members=None) for _ in range(ensemble.members)]
    for parameter, *copies in zip(ensemble.parameters(), *(net.parameters() for net in nets), strict=True):
        for p, member in zip(copies, parameter.detach(), strict=True):
            p.data.copy_(member)
            p.requires_grad_(parameter.requires_grad)
    return nets


def empty_like(net, members):
    """An MLP of the same sizes and activation, with uninitialised parameters; no random number is drawn."""
    p = next(net.parameters())
    net = MLP(*net.sizes, activation=net.activation, members=members, device="meta", dtype=p.dtype)
    return net.to_empty(device=p.device)


def check_layers(net, what):
    """Raises a ValueError for a layer that was exchanged, added or removed."""
    expected = [type(layer) for layer in MLP(*net.sizes, activation=net.activation, members=net.members, device="meta")]
    found = [type(layer) for layer in net]
    if found != expected:
        names = " → ".join(", ".join(cls.__name__ for cls in of) for of in (expected, found))
        raise ValueError(f"{what} has other layers than it was made with: {names}")


def signature(net):
    p = next(net.parameters())
    of = "" if net.members is None else f", members={net.members}"
    return f"MLP{net.sizes}, {net.activation}{of}, {p.dtype}, {p.device}"


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

    def __init__(
        self,
        *sizes: int,
        activation: str = "sigmoid",
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(*sizes, activation=activation, device=device, dtype=dtype)
        self.layer_types = [type(child) for child in self]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits Z_L, shape `(…, sizes[-1])`."""
        return self._network(None, x)

    def loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The mean cross-entropy of σ(Z_L) and y, shape `(…, sizes[-1])`, fused: dZ_L = (σ(Z_L) − y)/N."""
        return self._network(y, x)

    def _network(self, y, x):
        rule = registry.activation(self.activation)
        return perceptron(rule, self._options(rule), y, x, self.checked_parameters())

    def _options(self, rule):
        """The constants of the activations.

        Raises:
            RuntimeError: they differ from layer to layer.
        """
        if not rule.options:
            return {}
        first, *others = [rule.options_of(child) for child in list(self)[1::2]] or [{}]
        if any(options != first for options in others):
            raise RuntimeError(f"FusedMLP has activations with different {', '.join(rule.options)}; use MLP")
        return first

    def checked_parameters(self) -> list[torch.Tensor | None]:
        """W_1, b_1, …, W_L, b_L, once every child is known to be as it was made."""
        children = self._modules
        if len(children) != len(self.layer_types) or _has_any_global_hook():
            raise RuntimeError(
                "FusedMLP has lost or gained a child, or all modules have a hook; use MLP, which runs them"
            )
        parameters = []
        for (name, child), layer_type in zip(children.items(), self.layer_types, strict=True):
            if type(child) is not layer_type or is_hooked(child):
                raise RuntimeError(
                    f"FusedMLP does not run its child {name!r}, {with_article(type(child).__name__)} that is replaced, "
                    "hooked, pruned or parametrized; use MLP, which does"
                )
            if layer_type is Linear:
                parameters += child._parameters["weight"], child._parameters["bias"]
        return parameters
