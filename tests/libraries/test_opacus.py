"""Opacus computes the gradient of each sample, by hooks on modules of the classes that it knows."""

import pytest
import torch
from opacus.grad_sample import GradSampleModule

from tests.libraries.networks import NETWORKS, both


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.filterwarnings("ignore:Full backward hook is firing")  # the batch needs no gradient
def test_the_gradient_of_each_sample(name):
    torchs, ours, x = both(name)
    expected, found = (_of_samples(network, x) for network in (torchs, ours))
    torch.testing.assert_close(found, expected)
    assert all(len(of_samples) == len(x) for of_samples in found)


def _of_samples(network, x):
    sampled = GradSampleModule(network)
    sampled(x).square().sum().backward()
    return [p.grad_sample for p in sampled.parameters()]
