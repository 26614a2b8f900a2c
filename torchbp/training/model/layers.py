"""The layers of a network: an `MLP`, or with a norm or dropout a Sequential."""

import functools
import itertools

import torch

from torchbp.nn import MLP, BatchNorm1d, Dropout, EnsembleLinear, LayerNorm, Linear
from torchbp.ops import registry

NORMS = ("layer", "batch")


def make_layers(sizes, activation, members=None, dropout=0.0, norm=None):
    """`Linear, [norm,] activation, [dropout,] …, Linear`, of these sizes.

    A layer norm has no scale and shift of its own, so that it is the same for each member of an ensemble. A batch norm
    has them, and serves for one network alone.

    Args:
        sizes: features, units of each hidden layer, outputs.
        activation: the name of its rule.
        members: E, for an ensemble; None is one network.
        dropout: the share of the hidden outputs that a training step leaves out.
        norm: "layer", "batch" or None.
    """
    if not dropout and norm is None:
        return MLP(*sizes, activation=activation, members=members)
    linear = Linear if members is None else functools.partial(EnsembleLinear, members)
    layers = []
    for in_features, out_features in itertools.pairwise(sizes):
        layers.append(linear(in_features, out_features))
        if norm == "layer":
            layers.append(LayerNorm(out_features, elementwise_affine=False))
        elif norm == "batch":
            layers.append(BatchNorm1d(out_features))
        layers.append(registry.activation(activation).module_class())
        if dropout:
            layers.append(Dropout(dropout))
    last = max(i for i, layer in enumerate(layers) if is_linear(layer))
    return torch.nn.Sequential(*layers[: last + 1])


def is_linear(layer):
    """Whether a layer is one of the products with weights."""
    return isinstance(layer, torch.nn.Linear | EnsembleLinear)
