"""The networks that are timed."""

import itertools

import torch


def torch_network(*sizes):
    layers = []
    for in_features, out_features in itertools.pairwise(sizes):
        layers += [torch.nn.Linear(in_features, out_features), torch.nn.Sigmoid()]
    return torch.nn.Sequential(*layers[:-1])


def data_and_peer(sizes, rows):
    """A batch x `(rows, sizes[0])` and y `(rows, sizes[-1])` of zeros and ones, and torch.nn's network for it."""
    torch.manual_seed(0)
    return torch.randn(rows, sizes[0]), torch.rand(rows, sizes[-1]).round(), torch_network(*sizes)


def classes_and_peer(sizes, rows):
    """The same, with a class of each row for y `(rows)`."""
    x, _, net = data_and_peer(sizes, rows)
    return x, torch.randint(sizes[-1], (rows,)), net
