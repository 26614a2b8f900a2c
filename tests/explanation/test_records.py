"""Every record against autograd and against numbers from outside; that the records are the whole step."""

import itertools
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import torchbp
from tests.explanation.lines import check_numbers
from tests.explanation.variants import variants
from tests.networks import set_parameters
from tests.published import MAZUR_INPUT, MAZUR_LR, MAZUR_NUMBERS, MAZUR_PARAMETERS, MAZUR_TARGET
from torchbp.explanation.arguments.loss import fitted_loss, supported_loss
from torchbp.explanation.arguments.rows import rows
from torchbp.explanation.derivation.criterion import Criterion
from torchbp.explanation.derivation.descent import Descent
from torchbp.explanation.derivation.network import Chain
from torchbp.explanation.derivation.step import TrainingStep

ACTIVATIONS = {"sigmoid": torchbp.nn.Sigmoid, "tanh": torch.nn.Tanh, "relu": torchbp.nn.ReLU}
XOR = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]]), torch.tensor([[0.0], [1], [1], [0]])


def xor_net():
    return torchbp.nn.MLP(2, 4, 1, dtype=torch.float64)


@st.composite
def cases(draw):
    """A network of 1 to 6 layers, with up to three activations between two of them, a loss, and rows."""
    depth = draw(st.integers(1, 6))
    sizes = [draw(st.integers(1, 5)) for _ in range(depth + 1)]
    kind = draw(st.sampled_from(["logits", "probabilities", "squared"]))
    reduction = draw(st.sampled_from(["mean", "sum"]))
    rows = draw(st.sampled_from([None, 1, 2, 5]))  # None: a row without its dimension
    torch.manual_seed(draw(st.integers(0, 2**32 - 1)))
    layers, kinds = [], list(ACTIVATIONS.values())
    for number, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        layers.append(torch.nn.Linear(inputs, outputs, bias=draw(st.booleans()), dtype=torch.float64))
        if number < depth - 1:
            layers += [activation() for activation in draw(st.lists(st.sampled_from(kinds), max_size=3))]
    losses = {"logits": torchbp.nn.BCEWithLogitsLoss, "probabilities": torch.nn.BCELoss, "squared": torch.nn.MSELoss}
    if kind == "probabilities":
        layers.append(torch.nn.Sigmoid())
    elif kind == "squared" and draw(st.booleans()):
        layers.append(draw(st.sampled_from([*ACTIVATIONS.values()]))())
    settings = {"reduction": reduction}
    if kind != "squared" and draw(st.booleans()):
        settings["weight"] = torch.rand(sizes[-1], dtype=torch.float64) + 0.5
    if kind == "logits" and draw(st.booleans()):
        settings["pos_weight"] = torch.rand(sizes[-1], dtype=torch.float64) + 0.5
    x = torch.randn(*([] if rows is None else [rows]), sizes[0], dtype=torch.float64)
    y = torch.rand(*([] if rows is None else [rows]), sizes[-1], dtype=torch.float64)
    if draw(st.booleans()):
        y = y.round()
    return torch.nn.Sequential(*layers), losses[kind](**settings), x, y


def autograd(model, loss, x, y):
    """Each quantity and its gradient, by the model's own layers and autograd."""
    number, letters, found = 0, iter(""), {}
    value = x if x.dim() == 2 else x.unsqueeze(0)
    for layer in model:
        value = layer(value)
        if isinstance(layer, torch.nn.Linear):
            number, letters = number + 1, iter("ABC")
            found |= {f"Z{number}": value, f"W{number}": layer.weight}
            found |= {} if layer.bias is None else {f"b{number}": layer.bias}
        else:
            found[f"{next(letters)}{number}"] = value
    found["L"] = loss(value, y if y.dim() == 2 else y.unsqueeze(0))
    names = [name for name in found if name != "L"]
    gradients = torch.autograd.grad(found["L"], [found[name] for name in names])
    return found | {f"dL/d{name}": gradient for name, gradient in zip(names, gradients, strict=True)}


@settings(max_examples=40, deadline=None)
@given(cases())
def test_records_equal_autograd_and_are_the_whole_step(case):
    model, loss, x, y = case
    before = [p.detach().clone() for p in model.parameters()]
    explanation = torchbp.explain(model, x, y, lr=0.3, loss=loss)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    assert all(p.grad is None for p in model.parameters())
    expected = autograd(model, loss, x, y)
    for record in explanation.records:
        if record.stage in ("forward", "loss", "backward") and record.name in expected:
            reference = expected[record.name]
            close = {"rtol": 1e-10, "atol": 1e-10 * reference.abs().max().item()}
            torch.testing.assert_close(record.tensor, reference, **close)
        assert record.error <= 1e-10 * max(record.reference.abs().max().item(), 1e-3)
        assert all(check.ok in (True, None) for check in record.checks), record
        if record.quotient_error is not None:
            assert record.quotient_error <= 1e-6 * max(1, record.tensor.abs().max().item())
    recorded = {record.name for record in explanation.records}
    assert {name for name in expected if name.startswith(("dL/dW", "dL/db", "dL/dZ"))} <= recorded

    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    for name, parameter in zip(explanation.updated, model.parameters(), strict=True):
        quantity = next(key for key, of in explanation.chain.keys.items() if of == name)
        parameter.grad = explanation[f"dL/d{quantity}"].tensor.clone()
    optimizer.step()
    state = model.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in explanation.updated.items())
    z = model(x)
    torch.testing.assert_close(explanation.new_loss, loss(z, y).item(), rtol=1e-12, atol=1e-15)
    assert explanation.loss_after(0.3) == explanation.new_loss


def test_order_is_the_articles():
    names = [record.name for record in torchbp.explain(xor_net(), *XOR).records]
    forward, update = "Z1 A1 Z2 A2 L", "W1′ b1′ W2′ b2′ Z1′ A1′ Z2′ A2′ L′"
    backward = "dL/dA2 dL/dZ2 dL/dW2 dL/db2 dL/dA1 dL/dZ1 dL/dW1 dL/db1 dL/dX"
    assert " ".join(names) == f"{forward} {backward} {update}"


def test_equations_and_sizes_are_the_readers():
    explanation = torchbp.explain(torchbp.nn.MLP(30, 16, 1), torch.randn(7, 30), torch.ones(7, 1))
    written = {record.name: (record.equation, record.sizes) for record in explanation.records}
    assert written["Z1"] == ("Z1 = X W1ᵀ + b1", "(7×16) = (7×30) (30×16) + (16)")
    assert written["dL/dW1"] == ("dL/dW1 = (dL/dZ1)ᵀ X", "(16×30) = (16×7) (7×30)")
    assert written["dL/dZ2"][0] == "dL/dZ2 = dL/dA2 ∘ A2 ∘ (1 − A2) = (A2 − y)/N"
    assert written["dL/dA1"] == ("dL/dA1 = dL/dZ2 W2", "(7×16) = (7×1) (1×16)")
    assert written["W2′"] == ("W2′ = W2 − α dL/dW2", "(1×16) = (1×16) − α (1×16)")


@pytest.mark.parametrize(("outputs", "below"), [(1, "N"), (3, "(NK)")])
def test_n_is_the_number_of_rows_and_k_of_outputs(outputs, below):
    explanation = torchbp.explain(torch.nn.Linear(2, outputs), torch.randn(5, 2), torch.ones(5, outputs))
    assert explanation["L"].equation == f"L = −(1/{below}) Σ [ y ln A1 + (1 − y) ln(1 − A1) ]"
    assert explanation["dL/dA1"].equation == f"dL/dA1 = (1/{below}) (A1 − y)/(A1 ∘ (1 − A1))"
    assert explanation["dL/dZ1"].equation == f"dL/dZ1 = dL/dA1 ∘ A1 ∘ (1 − A1) = (A1 − y)/{below}"
    said = f"BCEWithLogitsLoss, mean; N = 5 rows, K = {outputs} output"
    assert said in explanation.to_text()
    assert said in explanation.to_html()
    z = torch.autograd.functional.jacobian(
        lambda z: explanation.step.loss(z, torch.ones(5, outputs)), explanation["Z1"].tensor
    )
    torch.testing.assert_close(explanation["dL/dZ1"].tensor, (explanation["A1"].tensor - 1) / (5 * outputs))
    torch.testing.assert_close(explanation["dL/dZ1"].tensor, z)


def test_factors_multiply_to_the_derivative():
    explanation = torchbp.explain(xor_net(), *XOR)
    for name, how in {
        "dL/dZ2": lambda da, slope: da * slope,
        "dL/dW2": lambda dz, a: dz.T @ a,
        "dL/db2": lambda dz, one: (dz * one).sum(0),
        "dL/dA1": lambda dz, w: dz @ w,
        "dL/dZ1": lambda da, slope: da * slope,
        "dL/dW1": lambda dz, x: dz.T @ x,
    }.items():
        record = explanation[name]
        torch.testing.assert_close(how(*(f.tensor for f in record.factors)), record.tensor, rtol=1e-12, atol=1e-15)
    assert explanation["dL/dW1"].rule == "dL/dW1 = dL/dZ1 · dZ1/dW1"
    assert [factor.name for factor in explanation["dL/dW1"].factors] == ["dL/dZ1", "dZ1/dW1"]


def test_mazurs_worked_example():
    layers = [torch.nn.Linear(2, 2), torch.nn.Sigmoid(), torch.nn.Linear(2, 2), torch.nn.Sigmoid()]
    net = torch.nn.Sequential(*layers).double()
    set_parameters(net, MAZUR_PARAMETERS)
    net[0].bias.requires_grad_(False), net[2].bias.requires_grad_(False)  # the article keeps its biases
    explanation = torchbp.explain(net, MAZUR_INPUT, MAZUR_TARGET, lr=MAZUR_LR, loss=torch.nn.MSELoss())
    for name, numbers in MAZUR_NUMBERS.items():
        assert explanation[name].tensor.flatten().tolist() == pytest.approx(numbers, abs=1e-8), name
    assert "b1′" not in explanation.by_name
    assert list(explanation.updated) == ["0.weight", "2.weight"]


@torch.no_grad()
def training_step(net, x, y, loss):
    """The records without their checks, which take most of an explanation's time."""
    chain = Chain(net)
    loss = supported_loss(loss, chain)
    x, y = rows(chain, x, y, loss)
    criterion = Criterion(fitted_loss(loss, y, chain), chain, y)
    return TrainingStep(chain, criterion, x, Descent(0.1, None, chain))


BIASES = [0, 3, 6, 9, 14, 25, 33, 40, 120, -4, -7, -12, -18, -34, -45, -110]


@pytest.mark.parametrize("first", [0, pytest.param(1, marks=pytest.mark.exhaustive)])
@variants(activation=ACTIVATIONS, end=["logits", "probabilities", "squared"], rows=[1, 3])
def test_numbers_filled_in_are_true(activation, end, rows, first):
    """The sides of each line are equal as they are printed: of a network without training, of one that is sure and
    right or sure and wrong, more and more, and of one whose hidden units are saturated."""
    for seed, bias in list(enumerate(BIASES))[first::2]:
        torch.manual_seed(seed)
        net = torchbp.nn.MLP(7, 3, 1, activation=activation, dtype=torch.float64)
        with torch.no_grad():
            net[0].weight.mul_(4 ** (seed % 4))
            net[2].bias.add_(bias)
        net = torch.nn.Sequential(*net, torch.nn.Sigmoid()) if end == "probabilities" else net
        loss = torch.nn.MSELoss() if end == "squared" else None
        for y in (0.0, 1.0):
            x, y = torch.randn(rows, 7), torch.tensor([[y], [1 - y], [y]])[:rows]
            check_numbers(training_step(net, x, y, loss).records)


def numbers(z, y, loss=None, dtype=torch.float64):
    """Of a network of one weight, 1, whose last number is z."""
    net = torch.nn.Linear(1, 1, bias=False, dtype=dtype)
    torch.nn.init.ones_(net.weight)
    net = net if loss is None else torch.nn.Sequential(net, torch.nn.Sigmoid())
    explanation = torchbp.explain(net, [z], [y], loss=loss)
    check_numbers(explanation.records)
    return explanation


def test_numbers_of_a_sure_answer():
    right = numbers(12.0, 1.0)
    assert right["dL/dA1"].numbers == "dL/dA1[1,1] = (0.999993856 − 1)/(0.999993856·(1 − 0.999993856)) = −1"
    assert right["dL/dZ1"].numbers == "dL/dZ1[1,1] = 0.999993856 − 1 = −6.144e−06"
    assert right["L"].numbers == "L = −ln(0.999993856) = 6.144e−06"
    assert "ln(1 + exp" not in right["L"].why


def test_the_loss_says_where_it_is_not_computed_by_its_equation():
    for z, y, line in (
        (40.0, 1.0, "ln(1 + exp(−40)) = 4.248e−18"),
        (40.0, 0.0, "40 + ln(1 + exp(−40)) = 40"),
        (-34.0, 0.0, "−34 + ln(1 + exp(34)) = 1.714e−15, which is 0 where it is rounded"),
    ):
        record = numbers(z, y)["L"]
        assert record.numbers == f"L = {line}"
        assert "L is computed from Z1, as (1 − y) Z1 + ln(1 + exp(−Z1))." in record.why
    wrong = numbers(-120.0, 1.0, torch.nn.BCELoss())
    assert wrong["L"].numbers == "L = −max(ln(7.668e−53), −100) = 100"
    assert "no logarithm is below −100" in wrong["L"].why
    assert wrong["dL/dA1"].numbers == "dL/dA1[1,1] = (7.668e−53 − 1)/max(7.668e−53·(1 − 7.668e−53), 1e−12) = −1e+12"
    assert "A1 (1 − A1) is at least 1e−12" in wrong["dL/dA1"].why
    sure = numbers(40.0, 0.0, torch.nn.BCELoss())
    assert sure["L"].numbers == "L = −max(ln(1 − 1), −100) = 100"
    ordinary = numbers(-3.0, 1.0, torch.nn.BCELoss())
    assert ordinary["L"].numbers == "L = −ln(0.04743) = 3.049"
    assert "−100" not in ordinary["L"].why
    assert "1e−12" not in ordinary["dL/dA1"].why


@pytest.mark.parametrize("z", [26.0, 26.5, 27.0, 28.0, 29.5, 31.5, 32.5, -26.5, -29.5, -31.0, -36.0])
def test_numbers_are_true_where_rounding_begins_to_count(z):
    """Where A (1 − A) is 1e−12, and where the loss of logits is no longer that of A."""
    for y in (0.0, 1.0):
        numbers(z, y)
        numbers(z, y, torch.nn.BCELoss())


def test_logarithms_are_bounded_from_minus_100_on():
    for z, bounded in ((-99.5, False), (-100.5, True)):
        record = numbers(z, 1.0, torch.nn.BCELoss())["L"]
        assert ("−max(" in record.numbers) == bounded
        assert ("no logarithm is below −100" in record.why) == bounded


def test_the_answer_of_a_network_that_ends_with_an_activation_has_a_name_of_its_own():
    net = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Tanh())
    explanation = torchbp.explain(net, *XOR)
    assert [record.name for record in explanation.records[:4]] == ["Z1", "A1", "P1", "L"]
    assert explanation["P1"].equation == "P1 = σ(A1)"
    assert explanation["dL/dA1"].equation == "dL/dA1 = dL/dP1 ∘ P1 ∘ (1 − P1) = (P1 − y)/N"


def test_why_names_the_slope_and_the_weights():
    sentences = {
        torch.nn.Sigmoid: "at most ¼, and almost 0 where A1 is near 0 or 1",
        torch.nn.Tanh: "at most 1, and almost 0 where A1 is near −1 or 1",
        torch.nn.ReLU: "1 where the unit is on, and 0 where it is off",
    }
    for activation, sentence in sentences.items():
        net = torch.nn.Sequential(torch.nn.Linear(2, 3), activation(), torch.nn.Linear(3, 1))
        assert torchbp.explain(net, *XOR)["dL/dZ1"].why.endswith(f"the activation's slope dA1/dZ1, {sentence}.")
    for weights, times in (({}, ""), ({"weight": 2}, ", times w"), ({"pos_weight": 2}, ", with y weighted by p")):
        loss = torch.nn.BCEWithLogitsLoss(**{name: torch.tensor([value]) for name, value in weights.items()})
        why = torchbp.explain(xor_net(), *XOR, loss=loss)["dL/dZ2"].why
        assert f"leaves prediction minus target, A2 − y{times}: no factor of it vanishes where A2" in why


def test_names_of_layers_and_arguments_of_any_kind():
    net = torch.nn.Sequential(
        OrderedDict(hidden=torch.nn.Linear(2, 3), squash=torch.nn.Tanh(), answer=torch.nn.Linear(3, 1))
    )
    explanation = torchbp.explain(net, np.array([1, 2]), [1])
    assert [record.layer for record in explanation.records[:4]] == ["hidden", "squash", "answer", "answer"]
    assert set(explanation.updated) == {"hidden.weight", "hidden.bias", "answer.weight", "answer.bias"}
    assert f"Z1 = X W1ᵀ + b1{'hidden':>65}" in explanation.to_text()
    net.load_state_dict(explanation.updated)
    assert torchbp.explain(net, np.array([1, 2]), [1]).loss == pytest.approx(explanation.new_loss, rel=1e-6)


def test_loss_of_probabilities_where_the_model_gives_them():
    net = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Sigmoid())
    explanation = torchbp.explain(net, *XOR)
    assert explanation.loss == pytest.approx(torch.nn.BCELoss()(net(XOR[0]), XOR[1]).item())
    assert explanation["dL/dZ1"].equation == "dL/dZ1 = dL/dA1 ∘ A1 ∘ (1 − A1)"


def test_shared_weights_are_refused():
    layer = torch.nn.Linear(2, 2)
    with pytest.raises(TypeError, match="share their weights"):
        torchbp.explain(torch.nn.Sequential(layer, torch.nn.Tanh(), layer), torch.ones(2), torch.ones(2))


def with_weights(change):
    net = xor_net()
    with torch.no_grad():
        change(net)
    return torchbp.explain(net, *XOR, lr=1.0)


def test_zero_weights_are_seen():
    explanation = with_weights(lambda net: [p.zero_() for p in net.parameters()])
    assert "All 4 units of layer 1 have the same weights and get the same gradient (it is 0)" in str(
        explanation.observations
    )
    assert torchbp.explain(xor_net(), *XOR).observations == []


def test_saturation_is_seen_and_the_logit_form_still_learns():
    explanation = with_weights(lambda net: (net[0].weight.mul_(1000), net[0].bias.mul_(1000), net[2].bias.fill_(40)))
    first, second, *_ = explanation.observations
    assert first.startswith("All of A1 is saturated")
    assert second.startswith("A loss of answers would not learn here")
    record = explanation["dL/dZ2"]
    torch.testing.assert_close(record.tensor, (1 - XOR[1].double()) / 4)
    assert (record.factors[0].tensor * record.factors[1].tensor == 0).all()


def test_vanishing_gradient_is_seen():
    net = torchbp.nn.MLP(2, *[4] * 8, 1, dtype=torch.float64)
    explanation = torchbp.explain(net, *XOR)
    norms = explanation.norms()
    assert norms == sorted(norms)
    assert any("vanishes on its way back" in line for line in explanation.observations)


def test_float32_model_is_explained_in_float32_and_its_quotients_in_float64():
    explanation = torchbp.explain(torchbp.nn.MLP(2, 4, 1), *XOR)
    assert {record.tensor.dtype for record in explanation.records} == {torch.float32}
    assert max(record.quotient_error or 0 for record in explanation.records) < 1e-6


def test_any_device(device):
    explanation = torchbp.explain(torchbp.nn.MLP(2, 4, 1, device=device, dtype=torch.float64), *XOR)
    assert {record.tensor.device.type for record in explanation.records} == {device}
    assert max(record.error for record in explanation.records) < 1e-12
    assert explanation.to_html().startswith("<!doctype html>")


def test_more_activations_than_letters_are_refused():
    layers = [torch.nn.Linear(4, 3), *(torch.nn.Tanh() for _ in range(9)), torch.nn.Linear(3, 1)]
    with pytest.raises(TypeError, match=r"layer '9': more than 8 activations"):
        torchbp.explain(torch.nn.Sequential(*layers), torch.randn(2, 4), torch.ones(2, 1))


@pytest.mark.parametrize(
    ("loss", "rows", "by"),
    [
        (torch.nn.MSELoss(), 4, "NK"),
        (torch.nn.CrossEntropyLoss(), 4, "N"),
        (torch.nn.MSELoss(reduction="sum"), 4, None),
        (torch.nn.CrossEntropyLoss(), 1, None),
    ],
)
def test_it_is_said_where_the_division_of_a_mean_comes_in(loss, rows, by):
    y = torch.rand(rows, 2) if isinstance(loss, torch.nn.MSELoss) else torch.zeros(rows)
    explanation = torchbp.explain(torch.nn.Linear(3, 2), torch.randn(rows, 3), y, loss=loss)
    said = [record.name for record in explanation.records if f"the division by {by} comes in here" in record.why]
    assert said == ([f"dL/d{explanation.step.criterion.answer.name}"] if by else [])
