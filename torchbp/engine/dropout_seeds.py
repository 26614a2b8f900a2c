"""The seeds of the masks of dropout in the engine."""

from collections.abc import Sequence

import torch

from torchbp.engine.network import Network
from torchbp.ops._counter_random import key_of


def seed_dropout(model: torch.nn.Module, seed: int | Sequence[int]) -> None:
    """Let the masks of dropout, in the steps that follow, be those of this seed.

    A mask is a function of the seed, the number of steps since then, the layer, and the place of the element in the
    layer's output. So a member of an ensemble has the masks of the network alone with the same seed.

    Args:
        model: as `torchbp.SGD` takes it.
        seed: an integer; of an ensemble a sequence of one for each member.

    Raises:
        ValueError: as many seeds as there are not members.
        TypeError: a model that the engine does not run.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Linear(30, 16), torch.nn.Dropout(0.1), torch.nn.Linear(16, 1))
        >>> torchbp.engine.seed_dropout(net, 7)
        >>> loss = torchbp.SGD(net, lr=0.1).backprop_step(torch.randn(8, 30), torch.ones(8, 1))
    """
    network = Network(model)
    seeds = [int(seed)] if network.members is None else [int(number) for number in seed]
    if len(seeds) != (network.members or 1):
        raise ValueError(f"there are {len(seeds)} seeds; the model is of {network.members} members, give one for each")
    for number, layer in enumerate(network.keyed):
        keys = torch.stack([key_of(of_member, number) for of_member in seeds])
        key = keys[0] if network.members is None else keys
        layer.register_buffer("key", key.to(network.first_parameter.device), persistent=False)
