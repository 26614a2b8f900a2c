"""The verdicts on the records: ok where they are right, OFF where they are not, and a reason where there is none."""

import dataclasses
import json
import math
import re

import pytest
import torch

import torchbp
from tests.explanation.samples import XOR, deep, large, xor
from tests.explanation.variants import variants
from torchbp.explanation.comparison import difference_quotients
from torchbp.explanation.comparison.difference_quotients import DifferenceQuotients, Element
from torchbp.explanation.comparison.references import by_torch
from torchbp.explanation.notation.quantities import Quantity
from torchbp.explanation.notation.records import Check, Record
from torchbp.ops.activations.sigmoid import RULE as SIGMOID
from torchbp.ops.layers.linear import RULE as LINEAR

NAN, INF = math.nan, math.inf


B1, W1, Z1, A1 = (Quantity(letter, 1) for letter in "bWZA")


@pytest.fixture
def replace_formula():
    """Replaces a formula of a rule, which is frozen, until the end of the test."""
    replaced = []

    def replace(rule, name, formula):
        replaced.append((rule, name, getattr(rule, name)))
        object.__setattr__(rule, name, formula)

    yield replace
    for rule, name, formula in reversed(replaced):
        object.__setattr__(rule, name, formula)


def verdicts(explanation, name):
    return [check.ok for check in explanation[name].checks]


@pytest.mark.parametrize("explanation", [xor, deep, large])
def test_right_records_are_ok(explanation):
    explanation = explanation()
    assert {check.ok for record in explanation.records for check in record.checks} == {True}
    counts = [2 if record.stage == "backward" else 1 for record in explanation.records]
    assert [len(record.checks) for record in explanation.records] == counts
    assert f"Checks: {sum(counts)} of {sum(counts)} ok." in explanation.to_text()
    assert "OFF" not in explanation.to_text()


def one_element(dz, a):
    """dW with its largest element 1% too large."""
    dw = dz.T @ a
    place = dw.abs().argmax()
    dw.view(-1)[place] *= 1.01
    return dw


def test_a_wrong_element_is_off_in_the_terminal_on_the_page_and_in_json(replace_formula):
    replace_formula(LINEAR.parameters[0], "gradient", one_element)
    explanation = deep.__wrapped__()  # anew
    assert explanation["dL/dW1"].tensor.abs().max() < 1e-6  # a vanished gradient is held to its own size
    wrong = {record.name for record in explanation.records if False in verdicts(explanation, record.name)}
    weights = {f"dL/dW{number}" for number in range(1, 10)}
    # the update is measured with the rounding of the weights, in which a vanished gradient drowns
    assert weights <= wrong <= weights | {f"W{number}′" for number in range(1, 10)}
    # and the equation with its numbers does not give the wrong element
    assert all(verdicts(explanation, name) == [False, False, False] for name in weights)

    text = explanation.to_text()
    assert text.count("check OFF: autograd differs by ") == text.count("check OFF: measured slope") == 9
    assert max(map(len, text.splitlines())) <= 80
    closing = " ".join(text.split())
    assert re.search(r"Checks: \d+ of \d+ ok; OFF: dL/dW9, dL/dW8, ", closing)

    page = explanation.to_html()
    assert page.count('<p class="check off"><b>check OFF:</b> ') >= 18
    assert "ok; OFF: ∂L/∂W9, ∂L/∂W8, " in page

    written = {record["name"]: record["checks"] for record in json.loads(explanation.to_json())["records"]}
    assert [check["ok"] for check in written["dL/dW1"]] == [False, False, False]
    assert written["dL/dW1"][0]["error"] > written["dL/dW1"][0]["bound"]
    assert [check["ok"] for check in written["dL/dZ1"]] == [True, True]


def test_a_wrong_formula_is_off_in_all_that_follows_from_it(replace_formula):
    replace_formula(LINEAR, "backward", lambda dz, x, w, b: 1.001 * (dz @ w))
    explanation = xor.__wrapped__()
    for name in ("dL/dA1", "dL/dZ1", "dL/dW1", "dL/db1"):
        assert verdicts(explanation, name)[:2] == [False, False]
    for name in ("dL/dA2", "dL/dZ2", "dL/dW2", "dL/db2"):
        assert verdicts(explanation, name) == [True, True]
    assert verdicts(explanation, "W1′") == [True]  # of the gradient as it was computed


def test_right_records_are_ok_on_the_page_too():
    page = xor().to_html()
    assert page.count('<p class="check">') == sum(len(record.checks) for record in xor().records)
    assert "check off" not in page


@pytest.mark.parametrize("error", [math.nan, math.inf, 2.0])
@pytest.mark.parametrize("bound", [math.nan, math.inf, 1.0])
def test_nan_and_inf_are_never_ok(error, bound):
    assert Check("autograd", error, bound).ok is False
    assert Check("autograd", 0.0, bound).ok is (bound == 1.0)


@pytest.mark.parametrize(
    ("value", "reference", "ok"),
    [(NAN, NAN, True), (INF, INF, True), (NAN, 1.0, False), (INF, 1.0, False), (2.5, 1.0, False), (2.0, INF, None)],
)
def test_inf_and_nan_are_ok_where_torch_has_them(value, reference, ok):
    record = Record(A1, "output", "forward", 1, "", (), torch.tensor([1.0, value]))
    assert record.checked(torch.tensor([1.0, reference]), 1.0).checks[0].ok is ok


@variants(size=[1e18, 1e25, 1e160], dtype=[torch.float32, torch.float64], activation=["sigmoid", "tanh", "relu"])
def test_numbers_that_overflow_are_explained_and_never_off(size, dtype, activation):
    """Forward, back, or after the step: whatever becomes inf or nan."""
    if size > torch.finfo(dtype).max:
        size = 1e38
    torch.manual_seed(0)
    net = torchbp.nn.MLP(2, 4, 4, 1, activation=activation, dtype=dtype)
    with torch.no_grad():
        net[2].weight.mul_(1e9)
    for loss in (torch.nn.MSELoss(), torch.nn.BCEWithLogitsLoss()):
        for x, lr in (([size, 2.0], 0.1), ([1.0, 2.0], size)):
            explanation = torchbp.explain(net, x, [1.0], lr=lr, loss=loss)
            assert False not in {check.ok for record in explanation.records for check in record.checks}
            assert max(map(len, explanation.to_text().splitlines())) <= 80
            assert explanation.to_html()
            json.loads(explanation.to_json(), parse_constant=pytest.fail)


@pytest.mark.parametrize("seeds", [range(3), pytest.param(range(3, 8), marks=pytest.mark.exhaustive)])
def test_verdicts_hold_where_quotients_are_delicate(seeds):
    """Tiny weights of large inputs, whose smallest step already bends L; sure logits, in which L is rounded; losses of
    negative weight."""
    for seed in seeds:
        torch.manual_seed(seed)
        for net, x in (
            (torchbp.nn.MLP(4, 7, 5, activation="tanh", dtype=torch.float64), 1e4 * torch.randn(2, 4)),
            (torchbp.nn.MLP(4, 7, 5, activation="relu", dtype=torch.float64), 60 * torch.randn(2, 4)),
            (torchbp.nn.MLP(4, 7, 5, dtype=torch.float32), torch.randn(2, 4)),
        ):
            with torch.no_grad():
                net[0].weight.mul_(1e-8 if x.max() > 1e3 else 1)
            for weight in (1.0, -2.0):
                loss = torch.nn.BCEWithLogitsLoss(weight=torch.full((5,), weight), reduction="sum")
                explanation = torchbp.explain(net, x, torch.rand(2, 5).round(), loss=loss)
                found = [check for record in explanation.records for check in record.checks if check.ok is False]
                assert found == []
                assert explanation["dL/dW2"].checks[1].ok


def reason(explanation, name):
    check = explanation[name].checks[1]
    assert check.ok is None
    line = f"no check: no {check.by}: {check.why}"
    assert line in " ".join(explanation.to_text().split())
    assert f'<p class="check none"><b>no check:</b> {line.removeprefix("no check: ")}</p>' in explanation.to_html()
    return check.why


def test_why_there_is_no_difference_quotient():
    net = torchbp.nn.MLP(2, 3, 1, activation="relu", dtype=torch.float64)
    with torch.no_grad():
        net[0].bias.zero_()
    corner = torchbp.explain(net, [0, 0], [1])  # Z1 = 0
    assert "an activation switches" in reason(corner, "dL/db1")
    assert corner["dL/dW2"].checks[1].ok

    with torch.no_grad():
        net[2].bias.fill_(-40)
    sure = torchbp.explain(net, [1, 1], [1])
    assert "torch bounds the derivative" in reason(sure, "dL/dA2")
    assert sure["dL/dZ2"].checks[1].ok

    net = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Sigmoid()).double()
    with torch.no_grad():
        net[0].bias.fill_(-40)
    assert "torch bounds the derivative" in reason(torchbp.explain(net, [1, 1], [1]), "dL/dW1")

    net = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)).double()
    with torch.no_grad():
        net[1].weight.fill_(1e-14)
    assert "rounding alone" in reason(torchbp.explain(net, [1], [1]), "dL/dW1")


def test_quotients_are_of_the_24_largest_elements():
    by = torchbp.explain(torchbp.nn.MLP(5, 5, 1, dtype=torch.float64), [1, 2, 3, 4, 5], [1])["dL/dW1"].checks[1].by
    assert by == "measured slope of 24 elements"
    by = torchbp.explain(torchbp.nn.MLP(4, 6, 1, dtype=torch.float64), [1, 2, 3, 4], [1])["dL/dW1"].checks[1].by
    assert by == "measured slope"


@pytest.mark.parametrize("error", [1e-9, 1e-6])
def test_an_error_far_above_rounding_is_off(error, replace_formula):
    """100 eps of float64 are 2e−14; a thousandth of a millionth is far above."""
    backward = LINEAR.backward
    replace_formula(LINEAR, "backward", lambda *arguments: (1 + error) * backward(*arguments))
    explanation = xor.__wrapped__()
    assert all(explanation[name].checks[0].ok is False for name in ("dL/dA1", "dL/dZ1", "dL/dW1", "dL/db1"))


@pytest.mark.parametrize("weight", [1.0, 1e6])
def test_bounds_grow_with_the_weights_of_the_loss(weight):
    loss = torch.nn.BCEWithLogitsLoss(weight=torch.tensor([weight]), pos_weight=torch.tensor([2.0]))
    explanation = torchbp.explain(torchbp.nn.MLP(2, 4, 1, dtype=torch.float64), [1, 2], [1], loss=loss)
    bound = explanation["dL/dZ2"].checks[0].bound
    of_answer = abs(explanation["dL/dZ2"].tensor.item())
    assert bound == pytest.approx(100 * torch.finfo(torch.float64).eps * (of_answer + 2 * weight))
    size = max(1, abs(explanation["b2′"].tensor.item()))
    expected = 100 * torch.finfo(torch.float64).eps * size
    assert explanation["b2′"].checks[0].bound == pytest.approx(expected)


def quotients(z):
    """Of one row with the input 2, a weight and a bias whose logit is z, and y = 0."""
    net = torch.nn.Linear(1, 1, dtype=torch.float64)
    with torch.no_grad():
        net.weight.fill_(0.5), net.bias.fill_(z - 1)
    step = torchbp.explain(net, [2.0], [0.0]).step
    return DifferenceQuotients(step, by_torch(step, torch.float64))


def test_steps_of_a_quotient():
    """In the size of what is moved; of a weight also by its input, of a probability by its distance to 0 and 1."""
    found = quotients(1.0)
    assert found.length(B1, 0.5, 1e-3) == found.length(Z1, 1.0, 1e-3) == 1e-3
    assert found.length(B1, -50.0, 1e-3) == pytest.approx(5e-2)
    assert found.length(W1, 1.0, 1e-3) == pytest.approx(5e-4)
    assert [found.length(A1, a, 1e-3) for a in (0.01, 0.99)] == pytest.approx([1e-5, 1e-5])


@pytest.mark.parametrize("z", [1.0, 20.0])
def test_the_rounding_of_the_loss_is_that_of_all_that_it_is_computed_from(z):
    loss, slope = math.log1p(math.exp(z)), 1 / (1 + math.exp(-z))  # ∂L/∂Z1, at y = 0
    eps = torch.finfo(torch.float64).eps
    of_answer, of_all = quotients(z).noises
    assert of_answer == pytest.approx(eps * (loss + slope / (1 - slope)), rel=1e-3)
    assert of_all == pytest.approx(eps * (loss + slope * (abs(z) + 0.5 * 2 + abs(z - 1)) + abs(z)))


@pytest.mark.parametrize(("bend", "found"), [(0.0, 1.0), (0.03, 1.03), (0.04, None), (1.0, None)])
def test_there_is_no_quotient_where_the_loss_bends(bend, found, monkeypatch):
    """L = q + c (q/h)² q: with h the quotient is 1 + c, with 2h it is 1 + 4c, and a tenth is too much between them."""
    of = quotients(1.0)
    h = of.length(B1, 0.0, 1e-3)
    loss = lambda q: q + bend * (q / h) ** 2 * q  # noqa: E731
    losses = lambda changes: (torch.tensor([list(map(loss, c.sides)) for c in changes]), torch.zeros(len(changes)))  # noqa: E731
    monkeypatch.setattr(of.losses, "of", losses)
    element = Element(B1, 0, value=0.0, slope=1.0, rounding=0.0)
    of.add_quotients([element], 1e-3)
    assert element.found == [None if found is None else (pytest.approx(found), pytest.approx(3 * bend, abs=1e-6))]


@pytest.mark.parametrize(
    ("bounds", "found"),
    [
        ({1e-5: 0.009}, 1e-5),  # of a slope of 1: a hundredth is enough
        ({1e-5: 0.011, 1e-4: 0.001}, 1e-4),
        ({1e-5: 0.5, 1e-4: 0.1, 1e-3: 0.05, 1e-2: 0.07}, 1e-3),  # the best of them
        ({1e-5: 0.5}, 1e-5),  # a relu is in the way of a longer one
        ({1e-7: 0.5}, 1e-7),
        ({1e-9: 0.5}, 1e-9),
        ({}, None),
    ],
)
def test_the_step_of_a_quotient_is_the_shortest_that_rounding_does_not_hide(bounds, found, monkeypatch):
    of = quotients(1.0)

    def add(elements, step):
        for element in elements:
            element.found.append((1 + step, bounds[step]) if step in bounds else None)

    monkeypatch.setattr(of, "add_quotients", add)
    element = Element(B1, 0, value=0.0, slope=1.0, rounding=0.0)
    of.measure([element])
    assert element.best() == (None if found is None else (pytest.approx(found), bounds[found]))


class Asks(torch.nn.Module):
    """σ, whose formula asks for a number, which torch.func.vmap refuses."""

    def forward(self, z):
        return z.sigmoid()


def test_a_layer_that_vmap_refuses_is_measured_too(registered):
    def forward(z):
        return z.sigmoid() if z.sum().item() < 1e9 else z

    rule = dataclasses.replace(
        SIGMOID, name="asking_sigmoid", forward=forward, forward_=None, torch_module=None, torch_functions={}
    )
    layers = [torch.nn.Linear(2, 3), registered(rule, Asks)(), torch.nn.Linear(3, 1)]
    explanation = torchbp.explain(torch.nn.Sequential(*layers).double(), *XOR)
    vmapped = torchbp.explain(torch.nn.Sequential(layers[0], torch.nn.Sigmoid(), layers[2]), *XOR)
    for record in explanation.records:
        assert [check.ok for check in record.checks] == [True] * len(record.checks)
        assert [c.bound for c in record.checks] == pytest.approx([c.bound for c in vmapped[record.name].checks])


def test_a_convolution_works_at_each_place_and_a_layer_at_each_vector(monkeypatch):
    """Of the same parameters, fewer slopes are measured where they are used more often."""
    monkeypatch.setattr(difference_quotients, "WORK", 16_000)
    torch.manual_seed(0)
    for layer, few, many in (
        (torch.nn.Conv1d(1, 2, 3), (1, 5), (1, 30)),
        (torch.nn.Linear(3, 2, bias=False), (1, 3), (20, 3)),
    ):
        found = []
        for shape in (few, many):
            net, x = torch.nn.Sequential(layer, torch.nn.Flatten()).double(), torch.randn(2, *shape)
            records = torchbp.explain(net, x, [0, 1], loss=torch.nn.CrossEntropyLoss())
            found.append(records["dL/dW1"].checks[1].by)
        assert found == ["measured slope", "measured slope of 4 elements"]


def test_a_large_network_measures_few_elements_of_each_tensor(monkeypatch):
    monkeypatch.setattr(difference_quotients, "WORK", 1000)  # multiplications
    torch.manual_seed(0)
    net = torchbp.nn.MLP(4, 5, 1, activation="tanh", dtype=torch.float64)
    found = {r.name: r.checks[1] for r in torchbp.explain(net, torch.randn(2, 4), torch.ones(2, 1)).records if r.by}
    assert {name: check.by for name, check in found.items() if name in ("dL/dW1", "dL/db2")} == {
        "dL/dW1": "measured slope of 4 elements",
        "dL/db2": "measured slope",
    }
    assert all(check.ok for check in found.values())
