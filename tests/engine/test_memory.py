"""What a step allocates: the activations and one delta, and nothing as large as a weight."""

import pytest
import torch

import torchbp
from torchbp.benchmarks.measure import peak_bytes

SIZES = (256, 192, 224, 40)


def step_of(kind):
    net = torchbp.nn.MLP(*SIZES, activation="tanh")
    if kind == "backprop":
        run = lambda x, y: torchbp.backprop(net, x, y)  # noqa: E731
    else:
        run = torchbp.SGD(net, lr=0.1, momentum=0.9 if kind == "momentum" else 0).backprop_step
    return net, run


@pytest.mark.parametrize("kind", ["plain", "momentum", "backprop"])
def test_the_peak_is_the_activations_and_one_delta(kind):
    rows = 512
    net, run = step_of(kind)
    x, y = torch.randn(rows, SIZES[0]), torch.rand(rows, SIZES[-1])
    run(x, y)  # velocities, or gradients, are there from the first step on
    peak = peak_bytes(lambda: None, lambda: run(x, y))
    activations, delta = 4 * rows * sum(SIZES[1:]), 4 * rows * max(SIZES[1:])
    assert activations < peak <= 1.01 * (activations + delta)
    parameters = 4 * sum(p.numel() for p in net.parameters())
    there = parameters + 4 * x.numel()
    assert there + peak <= 1.1 * (there + activations + delta)


@pytest.mark.parametrize("kind", ["plain", "momentum", "backprop"])
def test_nothing_as_large_as_a_weight_is_allocated(kind):
    net, run = step_of(kind)
    x, y = torch.randn(4, SIZES[0]), torch.rand(4, SIZES[-1])
    run(x, y)
    smallest_weight = 4 * min(p.numel() for p in net.parameters() if p.dim() == 2)
    assert 0 < peak_bytes(lambda: None, lambda: run(x, y)) < smallest_weight
