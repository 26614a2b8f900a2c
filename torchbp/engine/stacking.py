"""Networks of the same layers as one ensemble, layer by layer, and back."""

import copy

import torch

from torchbp.engine.network import Network
from torchbp.nn.dropout import Dropout
from torchbp.nn.embedding import PeriodicEmbedding
from torchbp.nn.ensemble import EnsembleLinear, EnsembleScale
from torchbp.nn.linear import Linear
from torchbp.ops.registry import rule_of
from torchbp.ops.rules import Activation


def signature(network):
    """What networks have in common that can be one ensemble; None where a layer has no form for ensembles."""
    kinds = [network.first_parameter.dtype, network.first_parameter.device]
    for _, layer in network.named:
        if (kind := layer_signature(layer)) is None:
            return None
        kinds.append((kind, layer.training))
    return tuple(kinds)


def layer_signature(layer):
    rule = rule_of(layer)
    if isinstance(layer, torch.nn.Linear):
        return (Linear, layer.in_features, layer.out_features, *learns(layer))
    if isinstance(layer, PeriodicEmbedding):
        return (PeriodicEmbedding, layer.features, layer.waves, *learns(layer))
    if isinstance(layer, torch.nn.Dropout) and not isinstance(layer.p, torch.Tensor):
        return (Dropout,)
    if isinstance(layer, torch.nn.LayerNorm | torch.nn.RMSNorm) and len(layer.normalized_shape) == 1:
        return (rule.name, *rule.options_of(layer).values(), *learns(layer))
    if isinstance(rule, Activation):
        return (rule.name, *rule.options_of(layer).values())
    return None


def learns(layer):
    """Of the weight and the bias, whether it learns; None where the layer has none."""
    of_both = (getattr(layer, name, None) for name in ("weight", "bias"))
    return [None if p is None else p.requires_grad for p in of_both]


def stacked(networks):
    """A Sequential, the ensemble of these networks, of one signature; with copies of their weights and keys."""
    layers = [of_layer(list(alike)) for alike in zip(*(layers_of(network) for network in networks), strict=True)]
    return torch.nn.Sequential(*layers)


def of_layer(alike):
    """The layer of an ensemble for this layer of each member."""
    first, count = alike[0], len(alike)
    if isinstance(first, torch.nn.Linear):
        layer = EnsembleLinear(count, first.in_features, first.out_features, first.bias is not None, "meta")
        layer = with_parameters(layer, alike)
    elif isinstance(first, PeriodicEmbedding):
        layer = PeriodicEmbedding(first.features, first.waves, first.frequency, count, "meta")
        layer = with_parameters(layer, alike)
    elif isinstance(first, torch.nn.LayerNorm | torch.nn.RMSNorm) and first.weight is not None:
        kind, options = type(first), rule_of(first).options_of(first)
        bias = getattr(first, "bias", None) is not None
        scale = with_parameters(EnsembleScale(count, *first.normalized_shape, bias, "meta"), alike)
        layer = torch.nn.Sequential(kind(**options, elementwise_affine=False), scale)
    elif isinstance(first, torch.nn.Dropout):
        layer = Dropout([of_member.p for of_member in alike])
        keys = [of_member._buffers.get("key") for of_member in alike]
        if all(key is not None for key in keys):
            layer.register_buffer("key", torch.stack(keys), persistent=False)
    else:
        layer = copy.deepcopy(first)
    return layer.train(first.training)


def with_parameters(layer, alike):
    """The layer with copies of these members' parameters."""
    for name, _ in list(layer.named_parameters()):
        of_members = [getattr(of_member, name) for of_member in alike]
        together = torch.stack([p.detach() for p in of_members])
        setattr(layer, name, torch.nn.Parameter(together, of_members[0].requires_grad))
    return layer


@torch.no_grad()
def write_back(ensemble, networks):
    """Copy the weights and keys of the ensemble's members into the networks that it was made of."""
    for layer, *alike in zip(ensemble, *(layers_of(network) for network in networks), strict=True):
        for number, of_member in enumerate(alike):
            for name, p in layer.named_parameters():
                getattr(of_member, name.rpartition(".")[2]).copy_(p[number])
            if (key := layer._buffers.get("key")) is not None:
                of_member.register_buffer("key", key[number].clone(), persistent=False)


def layers_of(network):
    return [layer for _, layer in network.named]


def grouped(networks):
    """Lists of the places of networks that can be one ensemble, in the order of their first ones.

    Raises:
        ValueError: an ensemble, or the same network twice.
    """
    groups = {}
    for number, network in enumerate(networks):
        if network.members is not None:
            raise ValueError(f"network {number} is an ensemble of {network.members} members; give single networks")
        kind = signature(network)
        groups.setdefault((number,) if kind is None else kind, []).append(number)
    first = {}
    for number, network in enumerate(networks):
        other = first.setdefault(id(network.first_parameter), number)
        if other != number:
            raise ValueError(f"networks {other} and {number} share their weights; give each its own")
    return list(groups.values())


def networks_of(models):
    return [Network(model) for model in models]
