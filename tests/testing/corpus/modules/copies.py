"""Modules that cannot be copied, moved, saved or called with other parameters."""

import copy
import pickle

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import linear

from tests.testing.corpus.entry import DOUBLE, draw, raised
from tests.testing.corpus.modules.linear import Linear, entry


class LinearKeepsOutput(Linear):
    def forward(self, x):
        self.output = super().forward(x)
        return self.output


class LinearThroughClosure(Linear):
    def __init__(self):
        super().__init__()
        self.compute = lambda x: linear(x, self.weight, self.bias)

    def forward(self, x):
        return self.compute(x)


class LinearFlatList(Linear):
    def __init__(self):
        super().__init__()
        self.flat = [self.weight, self.bias]

    def _apply(self, fn, recurse=True):
        super()._apply(fn, recurse)
        self.flat = [self.weight, self.bias]
        return self

    def forward(self, x):
        return linear(x, *self.flat)


class LinearRenamedState(Linear):
    def _save_to_state_dict(self, destination, prefix, keep_vars):
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "kernel"] = destination.pop(prefix + "weight")


class Whiten(nn.Module):
    """A fixed rotation."""

    def __init__(self):
        super().__init__()
        self.register_buffer("rotation", torch.randn(3, 3))

    def forward(self, x):
        return x @ self.rotation


class WhitenPlainTensor(nn.Module):
    def __init__(self):
        super().__init__()
        self.rotation = torch.randn(3, 3, dtype=DOUBLE)

    def forward(self, x):
        return x @ self.rotation


def deepcopied_after_call(subject):
    subject(draw(4, 3))
    return raised(lambda: copy.deepcopy(subject)), "nothing"


def copy_of_its_own(subject):
    """What a copy computes once its own parameters are 0."""
    twin = copy.deepcopy(subject)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    return (twin(draw(4, 3)).abs().sum().item(), raised(lambda: pickle.dumps(subject))), (0.0, "nothing")


def called_with_zeros(subject):
    zeros = {name: torch.zeros_like(parameter) for name, parameter in subject.named_parameters()}
    return functional_call(subject, zeros, (draw(4, 3),)).abs().sum().item(), 0.0


def state_round_trip(subject):
    return raised(lambda: copy.deepcopy(subject).load_state_dict(subject.state_dict())), "nothing"


def in_float32(subject):
    subject = subject.to(torch.float32)
    return raised(lambda: subject(draw(4, 3, dtype=torch.float32))), "nothing"


DEFECTS = [
    # the last output is kept: deepcopy refuses it, and its graph lives on
    entry(
        "keeps_its_output",
        LinearKeepsOutput,
        Linear,
        deepcopied_after_call,
        "module",
        "memory",
        source="pytorch/pytorch#54580: deepcopy of a model raised because it kept an output as an attribute",
    ),
    # a closure over self: a copy computes with the original's weights
    entry("closure_over_self", LinearThroughClosure, Linear, copy_of_its_own),
    # the parameters are used through a list of its own: functional_call has no effect
    entry(
        "parameters_through_a_list",
        LinearFlatList,
        Linear,
        called_with_zeros,
        source="pytorch/pytorch#90500: nn.LSTM used its flat list of weights, and functional_call changed nothing",
    ),
    # the state_dict has another name for the weight than it loads
    entry(
        "state_dict_renamed",
        LinearRenamedState,
        Linear,
        state_round_trip,
        source="huggingface/trl#865: a model could not load its own state_dict, whose keys had other names",
    ),
    # a constant that is no buffer: .to leaves it behind
    entry(
        "constant_is_no_buffer",
        WhitenPlainTensor,
        Whiten,
        in_float32,
        "module",
        "dtypes",
        "extremes",
        "meta",
        source="norse/norse#397: weights that were no buffers were not moved with their module",
    ),
]
