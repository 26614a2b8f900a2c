"""Weights for the lessons: all zero, or saturated and wrong."""

import torch
from torch.nn.functional import one_hot

STEEP = 1000  # times: 0.01 as the input of a sigmoid becomes 10, where its slope is below 1e-4
SURE = 40.0  # a logit at which 1 − σ(z) is 0 in float64


@torch.no_grad()
def _zero(net, x, y):
    """All weights and biases 0: every unit of a layer is the same as every other."""
    for parameter in net.parameters():
        parameter.zero_()


@torch.no_grad()
def saturate(net, x, y):
    """Hidden weights and biases times 1000, so that each hidden sigmoid or tanh is saturated; and last biases that make
    the network sure of the opposite of the first row's y, 0 or 1 of each output or the number of a class."""
    *hidden, last = [layer for layer in net if hasattr(layer, "weight")]
    for layer in hidden:
        for parameter in layer.parameters():
            parameter.mul_(STEEP)
    last.bias.zero_()
    outputs = net(x)[0]
    right = y[0] if y.dim() == 2 else one_hot(y[0], len(outputs))
    last.bias.copy_(torch.where(right < 0.5, SURE, -SURE) - outputs)


WEIGHTS = {"zero": _zero}
