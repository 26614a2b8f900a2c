"""What programs ask of a module's class."""

import copy

import torch
from torch import nn

import torchbp
from tests.libraries.networks import convolutional


def test_initialisation_by_class():
    def initialise(module):
        if type(module) is nn.Linear:
            nn.init.constant_(module.weight, 0.5)
        elif isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 0.25)

    network = torchbp.convert(convolutional()).apply(initialise)
    assert [network[i].weight.unique().tolist() for i in (0, 3, 7, 9)] == [[0.25], [0.25], [0.5], [0.5]]


def test_every_class_stays():
    network = convolutional()
    converted = torchbp.convert(copy.deepcopy(network))
    assert [type(module) for module in converted.modules()] == [type(module) for module in network.modules()]
    assert str(converted) == str(network)
    assert isinstance(converted(torch.randn(2, 2, 8, 8)), torch.Tensor)


def test_parameters_without_weight_decay():
    """The groups of most training programs: matrices are decayed; biases, norms and embeddings are not."""
    network = torchbp.convert(nn.Sequential(nn.Embedding(5, 4), nn.LayerNorm(4), nn.Linear(4, 2)))
    not_decayed = [
        f"{i}.{name}"
        for i, module in enumerate(network)
        for name, _ in module.named_parameters()
        if name == "bias" or module.__class__ in (nn.LayerNorm, nn.Embedding)
    ]
    assert not_decayed == ["0.weight", "1.weight", "1.bias", "2.bias"]
