"""An equation of a rule that is wrong for some elements only, or for all: a check of its record fails. Right ones agree
in every dtype, where numbers cancel, vanish or are bounded."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import leaky_relu

import torchbp
from tests.explanation.variants import variants
from torchbp.ops.expressions import A, Indicator, Number, SumOver, Symbol, X, Z, dZ, maximum, y
from torchbp.ops.losses.binary_cross_entropy import RULE as BCE
from torchbp.ops.losses.binary_cross_entropy_with_logits import RULE as BCE_WITH_LOGITS
from torchbp.ops.losses.mse_loss import RULE as MSE
from torchbp.ops.rules import Activation, Layer, Loss, Parameter

ZERO = Number(0)


def network(*activations, outputs=2, dtype=torch.float64):
    torch.manual_seed(0)
    layers = torch.nn.Linear(3, 4), *activations, torch.nn.Linear(4, outputs)
    return torch.nn.Sequential(*layers).to(dtype)


def rows(count=5, outputs=2):
    torch.manual_seed(1)
    return torch.randn(count, 3), torch.rand(count, outputs).round()


def off(explanation):
    """The records that have a check that fails."""
    return {record.name for record in explanation.records if False in [check.ok for check in record.checks]}


LEAKY = {
    "name": "leaky",
    "apply": lambda z: leaky_relu(z, 0.1),
    "forward": lambda z: leaky_relu(z, 0.1),
    "backward": lambda da, z: torch.where(z > 0, da, 0.1 * da),
    "saves": "input",
    "equation": maximum(Z, 0) - 0.1 * maximum(-Z, 0),
    "slope": Indicator(Z, ">", ZERO) + 0.1 * Indicator(Z, "≤", ZERO),
    "description": "",
    "slope_description": "",
    "steepest": 1.0,
    "flat": "nowhere",
}


class Leaky(torch.nn.Module):
    def forward(self, z):
        return leaky_relu(z, 0.1)


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({}, set()),
        ({"equation": maximum(Z, 0)}, {"A1", "A1′"}),
        ({"slope": Indicator(Z, ">", ZERO)}, {"dL/dZ1"}),
    ],
)
def test_an_equation_is_compared_in_every_element(wrong, names, registered):
    """The largest A1, and the largest dL/dZ1, have a positive Z1: the wrong equations are right there."""
    module = registered(Activation(**LEAKY | wrong), Leaky)()
    explanation = torchbp.explain(network(module), *rows(), loss=torch.nn.MSELoss())
    z = explanation["Z1"].tensor
    for name in ("A1", "dL/dZ1"):
        assert z.flatten()[explanation[name].tensor.abs().argmax()] > 0 > z.min()
    assert off(explanation) == names
    for name in names:
        assert [check.ok for check in explanation[name].checks].count(False) == 1
        assert z[explanation[name].example.place] < 0  # the line shows an element that differs
        assert " and not " in explanation[name].numbers


class Shift(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.shift = torch.nn.Parameter(torch.arange(4.0))

    def forward(self, x):
        return x + self.shift


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({}, set()),
        ({"equation": maximum(X, 0) + Symbol("s")}, {"Z2", "Z2′"}),
        ({"backward_equation": maximum(dZ, 0)}, {"dL/dZ1"}),
        ({"gradient": SumOver(maximum(dZ, 0), rows=True)}, {"dL/ds2"}),
    ],
)
def test_the_equations_of_a_layer_too(wrong, names, registered):
    gradient = wrong.pop("gradient", SumOver(dZ, rows=True))
    parts = {"equation": X + Symbol("s"), "backward_equation": dZ} | wrong
    rule = Layer(
        name="shift",
        apply=lambda x, s: x + s,
        forward=lambda x, s: x + s,
        backward=lambda dz, x, s: dz.clone(),
        saves="input",
        parameters=(Parameter("shift", "s", gradient=lambda dz, x: dz.sum(-2), equation=gradient),),
        description="",
        **parts,
    )
    module = registered(rule, Shift)()
    assert off(torchbp.explain(network(module), *rows(), loss=torch.nn.MSELoss())) == names


@pytest.fixture
def bent():
    """Puts another equation into a rule of ours, which is frozen, until the end of the test."""
    found = []

    def put(rule, name, change):
        right = getattr(rule, name)
        found.append((rule, name, right))
        object.__setattr__(rule, name, (lambda given: change(right(given))) if callable(right) else change(right))

    yield put
    for rule, name, right in reversed(found):
        object.__setattr__(rule, name, right)


CROSS_ENTROPIES = (BCE, torch.nn.BCELoss(), [torch.nn.Sigmoid()]), (BCE_WITH_LOGITS, torch.nn.BCEWithLogitsLoss(), [])


@pytest.mark.parametrize("size", [(1, 1), (5, 1), (5, 2)])
@pytest.mark.parametrize(("rule", "loss", "last"), [(MSE, torch.nn.MSELoss(), []), *CROSS_ENTROPIES])
@pytest.mark.parametrize(("name", "record"), [("equation", "L"), ("slope", "dL/d{}")])
def test_a_wrong_equation_of_a_loss_is_off(size, rule, loss, last, name, record, bent):
    """Also of a loss that is computed otherwise where an answer is almost 0 or 1."""
    net = torch.nn.Sequential(*network(torch.nn.Tanh(), outputs=size[1]), *last)
    right = torchbp.explain(net, *rows(*size), loss=loss)
    assert off(right) == set()
    bent(rule, name, lambda tree: 7 * tree)
    wrong = torchbp.explain(net, *rows(*size), loss=loss)
    record = record.format(right.step.criterion.answer.name)
    assert record in off(wrong)
    assert " and not " in wrong[record].numbers
    assert " OFF: " in wrong.to_text()


class QuarterHuber(torch.nn.modules.loss._Loss):
    def forward(self, a, y):
        return torch.nn.functional.huber_loss(a, y) / 4


def test_an_equation_of_a_loss_that_is_wrong_for_one_element_is_off(registered):
    rule = Loss(
        name="quarter_huber",
        apply=torch.nn.functional.huber_loss,
        each=lambda a, y: torch.nn.functional.huber_loss(a, y, reduction="none") / 4,
        derivative=lambda a, y: (a - y).clamp(-1, 1) / 4,
        equation=(A - y) ** 2 / 8,
        slope=(A - y) / 4,
        description="",
    )
    loss, net = registered(rule, QuarterHuber)(), network(torch.nn.Tanh())
    x, _ = rows()
    target = net(x.double()).detach() + 0.25
    assert off(torchbp.explain(net, x, target, loss=loss)) == set()
    target[3, 1] += 3
    explanation = torchbp.explain(net, x, target, loss=loss)
    assert off(explanation) >= {"L", "dL/dZ2", "L′"}
    assert explanation["dL/dZ2"].example.place == (3, 1)


@variants(
    dtype=[torch.float32, torch.float64],
    scale=[1e-12, 1.0, 1e3],
    activation=[torch.nn.Sigmoid, torch.nn.Tanh, torch.nn.ReLU],
    weighted=[False, True],
)
def test_right_equations_agree_however_numbers_are_rounded(dtype, scale, activation, weighted):
    net, (x, target) = network(activation(), dtype=dtype), rows()
    with torch.no_grad():
        net[0].weight *= scale
        net[2].weight *= scale
    options = {"weight": torch.tensor([0.5, 2.0]), "pos_weight": torch.tensor([3.0, 0.1])} if weighted else {}
    losses = torch.nn.MSELoss(reduction="sum"), torch.nn.BCEWithLogitsLoss(**options)
    for loss in losses:
        assert off(torchbp.explain(net, x, target, loss=loss)) == set()
    of_answers = torch.nn.Sequential(*net, torch.nn.Sigmoid())
    assert off(torchbp.explain(of_answers, x, target, loss=torch.nn.BCELoss(weight=options.get("weight")))) == set()


@pytest.mark.parametrize(("name", "record"), [("equation_computed", "L"), ("slope_computed", "dL/dA2")])
@pytest.mark.parametrize("wrong", [False, True])
def test_what_is_computed_otherwise_is_compared_too(name, record, wrong):
    """Where an answer is 0 in all digits that its logarithm needs, and y is 1."""
    right = getattr(BCE, name)
    net = torch.nn.Sequential(*network(torch.nn.Tanh()), torch.nn.Sigmoid())
    with torch.no_grad():
        net[2].bias.fill_(-300)
    x, target = rows()
    computed = replace(right, expression=lambda given: (2 if wrong else 1) * right.expression(given))
    object.__setattr__(BCE, name, computed)
    try:
        explanation = torchbp.explain(net, x, target, loss=torch.nn.BCELoss())
    finally:
        object.__setattr__(BCE, name, right)
    assert (record in off(explanation)) == wrong


def test_a_slope_that_differs_by_rounding_is_not_said_to_be_bounded():
    """With pos_weight the bounded slope has another form, which differs in the last bits."""
    loss = torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor([3.0, 0.7]))
    record = torchbp.explain(network(torch.nn.Tanh()), *rows(), loss=loss)["dL/dA2"]
    assert "1e−12" not in record.why
    assert [check.ok for check in record.checks] == [True, True]
