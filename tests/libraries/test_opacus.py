"""Opacus computes the gradient of each sample, by hooks on modules of the classes that it knows."""

import copy

import pytest
import torch
from torch import nn

import torchbp
from tests.libraries.networks import NETWORKS, both

opacus = pytest.importorskip("opacus.grad_sample")
pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook is firing")  # the batch needs no gradient


@pytest.fixture(autouse=True)
def settable_flags():
    """Opacus sets flags of cudnn, which is refused once a test has imported torch's own test utilities."""
    with torch.backends.__allow_nonbracketed_mutation():
        yield


@pytest.mark.parametrize("name", NETWORKS)
def test_the_gradient_of_each_sample(name):
    torchs, ours, x = both(name)
    compare(torchs, ours, x)


def test_of_tokens():
    torchs = nn.Sequential(nn.Embedding(9, 6), nn.LayerNorm(6), nn.GELU(), nn.Flatten(), nn.Linear(24, 3))
    compare(torchs, torchbp.convert(copy.deepcopy(torchs)), torch.randint(9, (5, 4)))


def compare(torchs, ours, x):
    expected, found = (_of_samples(network, x) for network in (torchs, ours))
    torch.testing.assert_close(found, expected)
    assert all(len(of_samples) == len(x) for of_samples in found)


def _of_samples(network, x):
    sampled = opacus.GradSampleModule(network)
    sampled(x).square().sum().backward()
    return [p.grad_sample for p in sampled.parameters()]
