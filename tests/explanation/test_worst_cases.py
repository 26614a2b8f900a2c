"""Of random networks, many of them hopeless: each worst case has its sentence, and no sentence is false."""

import itertools
import random
import re

import pytest
import torch

import torchbp
import torchbp.nn
from tests.explanation.samples import XOR
from torchbp.ops.registry import rules
from torchbp.ops.rules import Activation

NETWORKS = 300
ACTIVATIONS = sorted(name for name, rule in rules(Activation).items() if rule.module_class)
FAVOURITES = ["relu", "relu", "sigmoid", "tanh"]


def random_network(choose):
    """(a Sequential, x, y, a loss, lr)."""
    kinds = choose.choice([[choose.choice(FAVOURITES)], [choose.choice(ACTIVATIONS)], FAVOURITES])
    sizes = [choose.randint(1, 4) for _ in range(choose.randint(2, 6))]
    layers = []
    for below, above in itertools.pairwise(sizes):
        layers += [torch.nn.Linear(below, above), rules(Activation)[choose.choice(kinds)].module_class()]
    if choose.random() < 0.7:
        layers.pop()
    net = torch.nn.Sequential(*layers)
    gain = choose.choice([0.0, 0.01, 0.3, 1.0, 3.0, 30.0])
    if choose.random() < 0.2:  # an activation through which a gradient can explode
        layers = [torch.nn.LeakyReLU(0.5) if not isinstance(layer, torch.nn.Linear) else layer for layer in layers]
        net, gain = torch.nn.Sequential(*layers[: len(layers) // 2 * 2 - 1]), 30.0
    net = net.to(choose.choice([torch.float32, torch.float64]))
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn_like(p) * choose.choice([gain, gain, 1.0]))
            if p.dim() == 1 and choose.random() < 0.3:
                p.sub_(choose.choice([3.0, 30.0]))
            p.requires_grad_(choose.random() < choose.choice([0.3, 1.0, 1.0]))
    x = torch.randn(choose.randint(1, 4), sizes[0]) * choose.choice([1.0, 1.0, 50.0])
    answers = net(x.to(layers[0].weight.dtype)).detach()
    loss = torch.nn.MSELoss() if choose.random() < 0.5 else None
    if loss is None:
        y = choose.choice([answers.sigmoid() > 0.5, torch.rand_like(answers) > 0.5, torch.rand_like(answers)])
    else:
        y = choose.choice([answers, torch.randn_like(answers)])
    return net, x, y.to(answers.dtype), loss, choose.choice([0.1, 1e3])


def explanation_of(net, x, y, loss, lr):
    """Without the checks and examples, which take most of the time and say nothing of the sentences."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torchbp.explanation.derivation.step.example", lambda *_, **__: None)
        patch.setattr("torchbp.explanation.derivation.step.differences", lambda _, tensor, __: (tensor * 0, tensor * 0))
        patch.setattr("torchbp.explanation.explanation.checked", lambda step: step.records)
        return torchbp.explain(net, x, y, lr, loss)


@pytest.fixture(scope="module")
def networks():
    choose, found = random.Random(0), []
    torch.manual_seed(0)
    with torch.no_grad():
        while len(found) < NETWORKS:
            try:
                found.append(explanation_of(*random_network(choose)))
            except (TypeError, ValueError):  # an activation after which there is no loss, or answers that overflow
                continue
    return [(explanation, " ".join(explanation.observations)) for explanation in found]


def hidden(explanation):
    return [step for step in explanation.chain.steps[:-1] if not step.is_layer]


def wrong(explanation):
    answer, y = explanation.values[explanation.step.criterion.answer.name], explanation.values["y"]
    last = explanation.chain.steps[-1]
    bounded = explanation.step.criterion.rule.domain is not None or (not last.is_layer and last.rule.range is not None)
    far = (answer - y).abs() > 0.1 * (1.0 if bounded else y.abs().max().item() or 1.0)
    return bool((far & (explanation.values[f"dL/d{explanation.step.criterion.answer.name}"] != 0)).any())


def test_a_gradient_that_stops_is_said_to(networks):
    cases = 0
    for explanation, text in networks:
        norms = explanation.norms()
        stops = norms[-1] > 0 and min(norms) == 0
        said = "o gradient comes through to" in text
        if stops:
            assert said, (norms, text)
        elif said:
            assert min(norms) == 0, (norms, text)
            assert "is exactly 0, since" not in text  # it does not stop where it never began
        cases += stops
    assert cases >= 30


def test_layers_that_are_off_are_said_to_be(networks):
    cases = 0
    for explanation, text in networks:
        for step in hidden(explanation):
            if step.rule.name == "relu":
                dead = not bool((explanation.values[step.takes.name] > 0).any())
                said = re.search(
                    rf"All units of {step.gives.name} are off( in every row)?: the slope of relu is 0", text
                )
                assert dead == bool(said), text
                cases += dead
    assert cases >= 30


def test_frozen_parameters_are_said_to_be(networks):
    cases = 0
    for explanation, text in networks:
        frozen = [name for name, p in explanation.chain.parameters.items() if not p.requires_grad]
        assert bool(frozen) == ("frozen" in text), text
        if frozen and len(frozen) == len(explanation.chain.parameters):
            assert "All parameters are frozen" in text
        elif frozen:
            assert f"{frozen[0]}" in text.partition("frozen")[0]
        cases += bool(frozen)
    assert cases >= 50


@pytest.mark.parametrize(("verb", "share"), [("vanishes", 1e-2), ("explodes", 1e2)])
def test_a_gradient_that_vanishes_or_explodes_is_said_to(networks, verb, share):
    cases = 0
    for explanation, text in networks:
        norms = explanation.norms()
        first, last = norms[0], norms[-1]
        ratio = first / last if last > 0 and first > 0 and last < float("inf") else 1.0
        does = ratio < share if share < 1 else share < ratio < float("inf")
        assert (does and wrong(explanation)) == (f"The gradient {verb}" in text), (norms, text)
        cases += does and wrong(explanation)
    assert cases >= 10


def test_a_minimum_is_said_where_the_answers_are_right_and_the_gradient_is_0(networks):
    cases = 0
    for explanation, text in networks:
        if "The minimum is reached" in text:
            assert not wrong(explanation), text
            assert explanation.values[f"dL/d{explanation.chain.layers[-1].gives.name}"].abs().max() < 1e-5 * max(
                1.0, explanation.values["y"].abs().max()
            )
            cases += 1
        if explanation.loss == 0 and explanation.step.learnt:
            assert "The minimum is reached" in text, text
        if "Every gradient is 0, up to rounding" in text:
            for q in explanation.step.learnt:
                gradient, x = explanation.values[f"dL/d{q.name}"], explanation.values["X"].abs().max()
                assert gradient.abs().max() <= 1e-4 * max(1.0, x), text
    assert cases >= 30


def test_nothing_is_advised_to_a_network_that_is_right(networks):
    cases = 0
    for explanation, text in networks:
        if not wrong(explanation) and "overflow" not in text and "The loss went up" not in text:
            assert "help" not in text, text
            cases += 1
    assert cases >= 50


def test_only_activations_that_the_network_has_are_blamed(networks):
    for explanation, text in networks:
        there = {step.rule.name for step in explanation.chain.steps if not step.is_layer}
        blamed = re.findall(r"slope of (\w+) |Most is lost in the (\w+) units|Most comes from the (\w+) units", text)
        assert {name for names in blamed for name in names if name} <= there, text


def test_an_overflow_is_said_where_a_number_is_not_finite(networks):
    for explanation, text in networks:
        passes = [r for r in explanation.records if r.stage in ("forward", "loss", "backward")]
        finite = all(record.tensor.isfinite().all() for record in passes)
        assert finite == ("Numbers overflow" not in text), text


def test_least_squares_at_its_minimum_is_at_rest():
    """Of a line through points that do not lie on one: no answer is right, and every gradient is 0."""
    x, y = torch.tensor([[0.0], [1.0], [2.0]]).double(), torch.tensor([[0.0], [3.0], [0.0]]).double()
    net = torch.nn.Linear(1, 1).double()
    with torch.no_grad():
        net.weight.fill_(0.0), net.bias.fill_(1.0)
        text = " ".join(explanation_of(net, x, y, torch.nn.MSELoss(), 0.1).observations)
        assert text.startswith("Every gradient is 0, up to rounding, since the parts of the rows cancel")
        net.bias.fill_(1.1)
        assert explanation_of(net, x, y, torch.nn.MSELoss(), 0.1).observations == []


def test_zero_weights_are_named_where_they_stop_the_gradient():
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1)).double()
    with torch.no_grad():
        net[2].weight.zero_()
        text = " ".join(explanation_of(net, XOR[0][:1], XOR[1][:1], None, 0.1).observations)
    assert text == (
        "No gradient comes through to layer 1: dL/dA1 is exactly 0, since W2 is 0. Random first weights help."
    )


def test_the_layer_from_which_the_gradient_explodes_is_of_large_weights():
    net = torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(4))).double()
    with torch.no_grad():
        for layer in net:
            layer.weight.copy_(torch.eye(2) * 9)
        text = " ".join(explanation_of(net, [[1.0, 1.0]], [[0.0, 0.0]], torch.nn.MSELoss(), 1e-9).observations)
    assert (
        "at layer 1, 729 times more. Most comes from the weights, which are large: smaller first weights help." in text
    )
