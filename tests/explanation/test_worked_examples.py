"""Worked examples that others have published: explain gives the numbers that they print, to the last printed digit.

A circuit whose output f is differentiated itself has the loss |f − y| with a y below f, whose derivative by f is 1.

What is not expressed here, since a product of two quantities of the same pass is no layer: the expressions of
micrograd's README (g = 24.7041), and e = (a + b)(b + 1) of Olah's "Calculus on Computational Graphs"; and the hidden
weights of MacLeod, who propagates the error through the weights that are already updated.
"""

import math

import pytest
import torch

import torchbp
from tests.networks import set_parameters
from tests.published import MAZUR_INPUT, MAZUR_LR, MAZUR_NUMBERS, MAZUR_PARAMETERS, MAZUR_TARGET

HALF_SQUARE = {"loss": torch.nn.MSELoss(reduction="sum"), "factor": 0.5}  # E = ½ Σ (t − o)²
ITSELF = torch.nn.L1Loss(reduction="sum")  # the derivative by an output above y is 1
SIGMOID, TANH, RELU = torch.nn.Sigmoid, torch.nn.Tanh, torch.nn.ReLU


def network(*layers):
    """Of (weight, bias) and activations: a row of the weight for each unit; a bias of None is none."""
    modules, numbers = [], []
    for layer in layers:
        if isinstance(layer, type):
            modules.append(layer())
            continue
        weight, bias = layer
        modules.append(torch.nn.Linear(len(weight[0]), len(weight), bias=bias is not None))
        numbers += [weight] if bias is None else [weight, bias]
    net = torch.nn.Sequential(*modules).double()
    set_parameters(net, numbers)
    return net


def printed(text):
    """(the number, how far a number that rounds to it, or is cut off to it, may be away)."""
    mantissa, _, exponent = text.lower().partition("e")
    digits = len(mantissa.partition(".")[2])
    return float(text), 1.0 * 10.0 ** (int(exponent or 0) - digits)


def check(explanation, published):
    """`published`: name: the numbers of a tensor, as they are printed."""
    for name, texts in published.items():
        found = explanation[name].tensor.flatten().tolist()
        assert len(found) == len(texts.split()), name
        for value, text in zip(found, texts.split(), strict=True):
            number, apart = printed(text)
            assert abs(value - number) < apart, (name, value, text)
    assert not [(r.name, c) for r in explanation.records for c in r.checks if c.ok is False]


EXAMPLES = {
    # CS231n, "Linear classification": the scores of an image of four pixels, and the softmax classifier
    "cs231n softmax": (
        [([[0.01, -0.05, 0.1, 0.05], [0.7, 0.2, 0.05, 0.16], [0.0, -0.45, -0.2, 0.03]], [0.0, 0.2, -0.3])],
        [-15, 22, -44, 56],
        2,
        {"loss": torch.nn.CrossEntropyLoss()},
        {"Z1": "-2.85 0.86 0.28", "A1": "0.016 0.631 0.353", "L": "1.04"},
    ),
    # CS231n, "Backpropagation, Intuitions": a sigmoid neuron, w = (2, −3, −3), x = (−1, −2)
    "cs231n neuron": (
        [([[2.0, -3.0]], [-3.0]), SIGMOID],
        [-1, -2],
        0,
        {"loss": ITSELF},
        {
            "Z1": "1.00",
            "A1": "0.73",
            "dL/dZ1": "0.20",
            "dL/dX": "0.39 -0.59",
            "dL/dW1": "-0.20 -0.39",
            "dL/db1": "0.20",
        },
    ),
    # the same notes: f = (x + y) z at x = −2, y = 5, z = −4
    "cs231n circuit": (
        [([[1.0, 1.0]], None), ([[-4.0]], None)],
        [-2, 5],
        -100,
        {"loss": ITSELF},
        {"Z1": "3", "Z2": "-12", "dL/dZ1": "-4", "dL/dX": "-4 -4", "dL/dW2": "3"},
    ),
    # Karpathy, "The spelled-out intro to neural networks and backpropagation" (micrograd): a tanh neuron
    "micrograd neuron": (
        [([[-3.0, 1.0]], [6.8813735870195432]), TANH],
        [2, 0],
        0,
        {"loss": ITSELF},
        {"Z1": "0.8814", "A1": "0.7071", "dL/dZ1": "0.5", "dL/dX": "-1.5 0.5", "dL/dW1": "1.0 0.0"},
    ),
    # Karpathy, makemore: logits that are all 0, of 27 letters
    "makemore": (
        [([[0.0]] * 27, [0.0] * 27)],
        [1],
        5,
        {"loss": torch.nn.CrossEntropyLoss()},
        {"L": "3.2958"},
    ),
    # Han & Kamber, "Data Mining: Concepts and Techniques", the sample calculations of backpropagation
    "han & kamber": (
        [([[0.2, 0.4, -0.5], [-0.3, 0.1, 0.2]], [-0.4, 0.2]), SIGMOID, ([[-0.3, -0.2]], [0.1]), SIGMOID],
        [1, 0, 1],
        1,
        HALF_SQUARE | {"lr": 0.9},
        {
            "Z1": "-0.7 0.1",
            "A1": "0.332 0.525",
            "Z2": "-0.105",
            "A2": "0.474",
            "dL/dZ2": "-0.1311",
            "dL/dZ1": "0.0087 0.0065",
            "W2′": "-0.261 -0.138",
            "b2′": "0.218",
            "W1′": "0.192 0.4 -0.508 -0.306 0.1 0.194",
            "b1′": "-0.408 0.194",
        },
    ),
    # MacLeod, "An Introduction to Practical Neural Networks and Genetic Algorithms", worked example 3.1; from here on
    # the text goes on with numbers that it has rounded to two digits
    "macleod": (
        [([[0.1, 0.8], [0.4, 0.6]], None), SIGMOID, ([[0.3, 0.9]], None), SIGMOID],
        [0.35, 0.9],
        0.5,
        HALF_SQUARE | {"lr": 1.0},
        {"Z1": "0.755 0.68", "A1": "0.68 0.6637", "A2": "0.69", "dL/dZ2": "0.0406", "W2′": "0.272 0.873"},
    ),
    # Jurafsky & Martin, "Speech and Language Processing", logistic regression: a film review
    "jurafsky & martin sentiment": (
        [([[2.5, -5.0, -1.2, 0.5, 2.0, 0.7]], [0.1])],
        [3, 2, 1, 3, 0, 4.19],
        1,
        {},
        {"Z1": "0.833", "A1": "0.70", "L": "0.36"},
    ),
    "jurafsky & martin wrong": (
        [([[2.5, -5.0, -1.2, 0.5, 2.0, 0.7]], [0.1])],
        [3, 2, 1, 3, 0, 4.19],
        0,
        {},
        {"L": "1.2"},
    ),
    # the same: one step of stochastic gradient descent from zero
    "jurafsky & martin step": (
        [([[0.0, 0.0]], [0.0])],
        [3, 2],
        1,
        {"lr": 0.1},
        {"A1": "0.5", "dL/dW1": "-1.5 -1.0", "dL/db1": "-0.5", "W1′": "0.15 0.1", "b1′": "0.05"},
    ),
    # the same: the graph of L = c (a + 2b) at a = 3, b = 1, c = −2
    "jurafsky & martin graph": (
        [([[1.0, 2.0]], None), ([[-2.0]], None)],
        [3, 1],
        -100,
        {"loss": ITSELF},
        {"Z1": "5", "Z2": "-10", "dL/dX": "-2 -4", "dL/dW2": "5"},
    ),
    # Goodfellow, Bengio & Courville, "Deep Learning", 6.1: the exclusive or by relu units
    "goodfellow xor": (
        [([[1.0, 1.0], [1.0, 1.0]], [0.0, -1.0]), RELU, ([[1.0, -2.0]], [0.0])],
        [[0, 0], [0, 1], [1, 0], [1, 1]],
        [[0], [1], [1], [0]],
        {"loss": torch.nn.MSELoss()},
        {"Z1": "0 -1 1 0 1 0 2 1", "A1": "0 0 1 0 1 0 2 1", "Z2": "0 1 1 0", "L": "0"},
    ),
    # Wikipedia, "Softmax function"
    "wikipedia softmax": (
        [(torch.eye(7).tolist(), None)],
        [1, 2, 3, 4, 1, 2, 3],
        0,
        {"loss": torch.nn.CrossEntropyLoss()},
        {"A1": "0.02364054 0.06426166 0.1746813 0.474833 0.02364054 0.06426166 0.1746813"},
    ),
    # Kinsley & Kukieła, "Neural Networks from Scratch": a layer of three units and three rows, and the softmax
    "from scratch layer": (
        [([[0.2, 0.8, -0.5, 1.0], [0.5, -0.91, 0.26, -0.5], [-0.26, -0.27, 0.17, 0.87]], [2.0, 3.0, 0.5])],
        [[1, 2, 3, 2.5], [2, 5, -1, 2], [-1.5, 2.7, 3.3, -0.8]],
        [0, 0, 0],
        {"loss": torch.nn.CrossEntropyLoss()},
        {"Z1": "4.8 1.21 2.385 8.9 -1.81 0.2 1.41 1.051 0.026"},
    ),
    "from scratch softmax": (
        [(torch.eye(3).tolist(), None)],
        [4.8, 1.21, 2.385],
        0,
        {"loss": torch.nn.CrossEntropyLoss()},
        {"A1": "0.89528266 0.02470831 0.08000903"},
    ),
    "from scratch loss": (
        [(torch.eye(3).tolist(), None)],
        [math.log(p) for p in (0.7, 0.1, 0.2)],
        0,
        {"loss": torch.nn.CrossEntropyLoss()},
        {"A1": "0.7 0.1 0.2", "L": "0.35667494393873"},
    ),
    # the same: a relu neuron, whose output is made smaller
    "from scratch neuron": (
        [([[-3.0, -1.0, 2.0]], [1.0]), RELU],
        [1, -2, 3],
        0,
        {"loss": ITSELF, "lr": 0.001},
        {
            "Z1": "6",
            "dL/dX": "-3 -1 2",
            "dL/dW1": "1 -2 3",
            "dL/db1": "1",
            "W1′": "-3.001 -0.998 1.997",
            "b1′": "0.999",
            "A1′": "5.985",
        },
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_published_numbers(name):
    layers, x, y, settings, published = EXAMPLES[name]
    y = y if isinstance(y, list) else [y]
    check(torchbp.explain(network(*layers), x, y, **settings), published)


def test_mazur_with_half_of_the_squares_added_up():
    """The loss of the article as it is written, E = Σ ½ (t − o)²."""
    first, *second = (MAZUR_PARAMETERS[0], MAZUR_PARAMETERS[1]), (MAZUR_PARAMETERS[2], MAZUR_PARAMETERS[3])
    net = network(first, SIGMOID, *second, SIGMOID)
    net[0].bias.requires_grad_(False), net[2].bias.requires_grad_(False)  # the article keeps its biases
    explanation = torchbp.explain(net, MAZUR_INPUT, MAZUR_TARGET, lr=MAZUR_LR, **HALF_SQUARE)
    for name, numbers in MAZUR_NUMBERS.items():
        assert explanation[name].tensor.flatten().tolist() == pytest.approx(numbers, abs=1e-8), name
    assert explanation["L"].equation == "L = (1/2) Σ (A2 − y)²"
    assert explanation["dL/dA2"].equation == "dL/dA2 = A2 − y"
    assert explanation["dL/dA2"].numbers == "dL/dA2[1,1] = 0.7514 − 0.01 = 0.7414"


# Nielsen, "Neural Networks and Deep Learning", chapter 3: one neuron learns to answer 0 to 1, in 300 steps
NIELSEN = {"good start": (0.6, 0.9, "0.82", "0.09"), "bad start": (2.0, 2.0, "0.98", "0.20")}


@pytest.mark.parametrize("start", NIELSEN)
def test_nielsens_neuron_in_300_steps(start):
    weight, bias, before, after = NIELSEN[start]
    net = network(([[weight]], [bias]), SIGMOID)
    explanation = torchbp.explain(net, [1.0], [0.0], lr=0.15, **HALF_SQUARE, steps=300)
    check(explanation, {"A1": before})
    assert len(explanation.steps) == 300
    check(explanation.steps[-1], {"A1′": after})
