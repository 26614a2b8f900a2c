"""What is said of a step, and, as much as that, where it must not be said."""

import itertools

import pytest
import torch

import torchbp
from tests.explanation.samples import XOR, xor

ALIKE, PROBABILITIES, VANISHES, UP = "they stay equal for ever", "would not learn here", "vanishes", "The loss went up"
SATURATED = "is saturated"


def said(net, x=XOR[0], y=XOR[1], **settings):
    return " ".join(torchbp.explain(net, x, y, **settings).observations)


def alike(layers=1, bias=True):
    """Hidden units that are copies of one another."""
    torch.manual_seed(0)
    sizes = [2, *[3] * layers, 1]
    pairs = [[torch.nn.Linear(*pair, bias=bias), torch.nn.Tanh()] for pair in itertools.pairwise(sizes)]
    net = torch.nn.Sequential(*itertools.chain(*pairs))[:-1].double()
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(p[:1].expand_as(p) if p.dim() == 1 or p.shape[1] == 2 else p[:1, :1].expand_as(p))
    return net


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_copies_stay_equal(layers, bias):
    net = alike(layers, bias)
    assert said(net).count(ALIKE) == layers
    for _ in range(20):
        net.load_state_dict(torchbp.explain(net, *XOR, lr=3.0).updated)
    assert (net[0].weight - net[0].weight[0]).abs().max() < 1e-12


@pytest.mark.parametrize("name", ["0.weight", "0.bias", "2.weight"])
def test_what_differs_in_anything_does_not_stay_equal(name):
    net = alike()
    with torch.no_grad():
        net.get_parameter(name).view(-1)[0] += 0.5
    assert ALIKE not in said(net)
    for _ in range(20):
        net.load_state_dict(torchbp.explain(net, *XOR, lr=3.0).updated)
    assert (net[0].weight - net[0].weight[0]).abs().max() > 1e-3


def test_next_weights_with_opposite_signs_do_not_stay_equal_though_all_gradients_are_0():
    """All hidden gradients are 0 and equal, since the two rows cancel; but the next weights differ."""
    net = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.Tanh(), torch.nn.Linear(2, 1)).double()
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
        net[2].weight.copy_(torch.tensor([[1.0, -1.0]]))
    explanation = torchbp.explain(net, [[1.0], [1.0]], [[0.0], [1.0]])
    assert not explanation["dL/dW1"].tensor.any()
    assert ALIKE not in " ".join(explanation.observations)


def test_units_that_are_off_do_not_stay_equal_where_their_biases_differ():
    net = torchbp.nn.MLP(2, 2, 1, activation="relu", dtype=torch.float64)
    with torch.no_grad():
        net[0].weight.fill_(0.1), net[2].weight.fill_(0.5)
        net[0].bias.fill_(-1)
        assert ALIKE in said(net)
        net[0].bias[1] -= 1
    assert ALIKE not in said(net)


def answer(z, y, **settings):
    net = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
    torch.nn.init.ones_(net.weight)
    return said(net, [z], [y], **settings)


@pytest.mark.parametrize(
    ("z", "y", "expected"),
    [
        (40.0, 0.0, True),
        (-40.0, 1.0, True),
        (40.0, 0.5, True),
        (40.0, 1.0, False),  # right, and so sure that 1 − A is 0
        (-40.0, 0.0, False),
        (30.0, 1.0, False),
        (36.0, 1.0, False),
        (3.0, 0.0, False),  # wrong, and not saturated
        (15.0, 0.0, False),
        (0.0, 1.0, False),
    ],
)
def test_probabilities_would_not_learn_only_where_the_network_is_wrong_and_saturated(z, y, expected):
    assert (PROBABILITIES in answer(z, y)) == expected


def test_the_place_that_is_named_is_the_wrong_row():
    net = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
    torch.nn.init.ones_(net.weight)
    text = said(net, [[40.0], [-40.0], [40.0]], [[1.0], [1.0], [1.0]])
    assert "dL/dZ1[2,1] is −1.416e−06" in text
    assert PROBABILITIES not in said(net, [[40.0], [-40.0], [0.1]], [[1.0], [0.0], [1.0]])


def stack(activation, gain, depth=4):
    torch.manual_seed(0)
    layers = []
    for _ in range(depth):
        layers += [torch.nn.Linear(4, 4), *([activation()] if activation else [])]
    net = torch.nn.Sequential(*layers, torch.nn.Linear(4, 1)).double()
    with torch.no_grad():
        for layer in net:
            if isinstance(layer, torch.nn.Linear):
                torch.nn.init.orthogonal_(layer.weight, gain)
                layer.bias.fill_(0.1)
    return said(net, torch.rand(5, 4, dtype=torch.float64), torch.ones(5, 1))


@pytest.mark.parametrize(
    ("activation", "helps", "not_said"),
    [
        (torch.nn.Sigmoid, "at most ¼", "first weights"),
        (torch.nn.Tanh, "near −1 or 1", "first weights"),
        (torch.nn.ReLU, "units that are off", "ewer layers"),
        (None, "the weights are small", "ewer layers"),
    ],
)
def test_help_against_vanishing_is_the_activations(activation, helps, not_said):
    text = stack(activation, 0.2)
    assert VANISHES in text
    assert helps in text
    assert not_said not in text


@pytest.mark.parametrize("activation", [torch.nn.Tanh, torch.nn.ReLU, None])
def test_a_gradient_that_arrives_has_not_vanished(activation):
    assert VANISHES not in stack(activation, 1.0)


def test_ordinary_units_are_not_saturated_and_an_ordinary_step_goes_down():
    assert xor().observations == []
    assert SATURATED not in stack(torch.nn.Tanh, 1.0)
    assert UP in answer(1.0, 0.0, lr=100.0, loss=torch.nn.MSELoss())
    assert UP in answer(1.0, 0.0, lr=1e300, loss=torch.nn.MSELoss())  # to inf
    net = torch.nn.Sequential(torch.nn.Linear(1, 2, bias=False), torch.nn.Linear(2, 1, bias=False)).double()
    with torch.no_grad():
        net[0].weight.fill_(1), net[1].weight.copy_(torch.tensor([[1.0, -1.0]]))
    assert UP in said(net, [1.0], [5.0], lr=1e300, loss=torch.nn.MSELoss())  # to inf − inf
    assert UP not in answer(1.0, 1.0, lr=1.0, loss=torch.nn.MSELoss())  # it is 0, and stays 0
    assert UP not in answer(1.0, 0.0, lr=0.1, loss=torch.nn.MSELoss())
