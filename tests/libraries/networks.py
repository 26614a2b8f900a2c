"""The networks that the tests of other libraries use, converted and not."""

import copy

import torch
from torch import nn

import torchbp


def convolutional():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3),
        nn.Tanh(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 8),
        nn.Sigmoid(),
        nn.Linear(8, 3),
    )


def dense():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.Sigmoid(), nn.Linear(8, 3))


NETWORKS = {"convolutional": (convolutional, (2, 8, 8)), "dense": (dense, (6,))}


def both(name, rows=5):
    """The network, a converted copy of it, and a batch."""
    make, shape = NETWORKS[name]
    network = make()
    return network, torchbp.convert(copy.deepcopy(network)), torch.randn(rows, *shape)
