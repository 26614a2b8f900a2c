"""What `explain` takes, and what it refuses in one line that names the value and the remedy."""

import json
import re
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

import torchbp
from tests.explanation.samples import XOR, data_of

X, Y = XOR
NAN = float("nan")


def explain(layers, x=X, y=Y, **arguments):
    return torchbp.explain(nn.Sequential(*layers), x, y, **arguments)


def line(inputs=2, outputs=1, **settings):
    return nn.Linear(inputs, outputs, **settings)


def weighted(**weights):
    """The arguments of a network of one output, and a loss with these weights."""
    return [line()], {"loss": nn.BCEWithLogitsLoss(**weights)}


CLASSES = {"loss": nn.CrossEntropyLoss()}
PROBABILITIES = [line(), nn.Sigmoid()]
BAD = [  # layers, the other arguments, the error, and what it says
    ([line(), nn.RReLU()], {}, TypeError, "RReLU"),
    ([nn.Sigmoid()], {}, TypeError, "no layer with parameters"),
    ([torchbp.nn.MLP(2, 1, members=3)], {}, TypeError, "ensemble of 3 networks; .*: member=1 to 3"),
    ([torchbp.nn.MLP(2, 1, members=3)], {"member": 4}, ValueError, "member=4: the ensemble has the members 1 to 3"),
    ([line()], {"member": 1}, TypeError, "member=1: the model is a single network; leave member out"),
    (
        [line(2, 3), line(4, 1)],
        {},
        ValueError,
        "do not fit: layer '0', a Linear, gives 3 numbers, and layer '1', a Linear, takes 4",
    ),
    ([line(2, 3), line(3, 1).double()], {}, ValueError, r"1.weight is torch.float64 on cpu, and 0.weight .*model.to\("),
    ([line(device="meta")], {}, ValueError, "0.weight is on the device meta"),
    ([line(dtype=torch.cfloat)], {}, TypeError, r"0.weight is torch.complex64; .* model.double\(\)"),
    ([line(3)], {}, ValueError, r"x has the shape \(4, 2\); give a row \(3\)"),
    ([line()], {"x": X[:0], "y": Y[:0]}, ValueError, "at least one"),
    ([line()], {"x": None}, TypeError, "x=None is not read as numbers; give a tensor"),
    ([line()], {"x": [[1, 2], [1]]}, TypeError, r"x=\[\[1, 2\], \[1\]\] is not read as numbers; .* rows of one length"),
    ([line()], {"x": X * 1j}, TypeError, "x is complex64, .*real numbers"),
    ([line()], {"x": X.to("meta")}, TypeError, "x is float32, .* on meta; give"),
    ([line()], {"x": X.to_sparse()}, TypeError, "x is float32, sparse_coo"),
    ([line()], {"x": [1, NAN], "y": [1]}, ValueError, "x holds nan or inf"),
    ([line()], {"y": None}, TypeError, "y=None"),
    ([line()], {"y": Y * 1j}, TypeError, "y is complex64"),
    ([line()], {"y": Y[:, 0]}, ValueError, r"y has the shape \(4,\); give \(4, 1\), a number for each row and output$"),
    (
        [line(2, 3)],
        {"y": [0, 1, 2, 3]},
        ValueError,
        r"give \(4, 3\), .* with loss=torch.nn.CrossEntropyLoss\(\) the class",
    ),
    ([line()], {"y": 2 * Y}, ValueError, "y holds 2; BCEWithLogitsLoss takes 0, 1 or .*MSELoss"),
    (PROBABILITIES, {"y": Y - 1}, ValueError, "y holds -1; BCELoss"),
    (
        [line()],
        {"loss": nn.BCELoss()},
        TypeError,
        "BCELoss takes outputs between 0 and 1, .*add one, or use BCEWithLogitsLoss",
    ),
    ([line(), nn.Tanh()], {"loss": nn.BCELoss()}, TypeError, "does not end with a Hardsigmoid or Sigmoid"),
    ([line()], {"loss": nn.PoissonNLLLoss()}, TypeError, "PoissonNLLLoss"),
    (*weighted(weight=torch.ones(3)), ValueError, r"loss's weight has the shape \(3,\); give \(1\)"),
    (*weighted(weight=torch.ones(2, 4, 1)), ValueError, r"loss's weight has the shape \(2, 4, 1\)"),
    (*weighted(pos_weight=torch.ones(3)), ValueError, r"loss's pos_weight has the shape \(3,\)"),
    (*weighted(pos_weight=torch.ones(1) * 1j), TypeError, "loss's pos_weight is complex64"),
    (*weighted(pos_weight=torch.tensor([NAN])), ValueError, "loss's pos_weight holds nan"),
    ([line()], {"lr": -1}, ValueError, "lr=-1 must be a positive number"),
    ([line()], {"lr": NAN}, ValueError, "lr=nan must be a positive number"),
    ([line()], {"lr": 1e39}, ValueError, r"lr=1e\+39 must be a positive number, of 1e-30 to 3.4e\+38"),
    ([line()], {"lr": "0.1"}, TypeError, "lr='0.1' must be a positive number"),
    ([line()], {"lr": 0.0}, ValueError, "lr=0.0 must be a positive number"),
    ([line()], {"lr": float("inf")}, ValueError, "lr=inf must be a positive number"),
    ([line()], {"lr": torch.tensor(NAN)}, ValueError, "lr=nan must be a positive number"),
    ([line()], {"lr": 10**400}, ValueError, "lr=1000.*… must be a positive number"),
    ([line()], {"lr": True}, TypeError, "lr=True must be a positive number"),
    ([line()], {"lr": np.bool_(True)}, TypeError, "lr=True must be a positive number"),
    ([line()], {"lr": torch.tensor(True)}, TypeError, "lr=True must be a positive number"),
    ([line()], {"lr": 1j}, TypeError, "lr=1j must be a positive number"),
    ([line()], {"lr": torch.tensor(1j)}, TypeError, "lr=1j must be a positive number"),
    ([line()], {"lr": [0.1]}, TypeError, r"lr=\[0.1\] must be a positive number"),
    ([line()], {"lr": torch.ones(1)}, TypeError, r"lr=tensor\(\[1.\]\) must be a positive number"),
    (
        [line(2, 3)],
        CLASSES | {"y": [0, 1, 2]},
        ValueError,
        r"y has the shape \(3,\); give the class of each row, \(4\), 0 to 2",
    ),
    ([line(2, 3)], CLASSES | {"y": [0, 1, 2, 3]}, ValueError, "y holds 3; the classes are 0 to 2"),
    ([line(2, 3)], CLASSES | {"y": [0, 1, 2, -1]}, ValueError, "y holds -1; the classes are 0 to 2"),
    ([line(2, 3)], CLASSES | {"y": [0, 1, 2, 0.5]}, ValueError, "y holds 0.5; the classes are 0 to 2"),
    (
        [line(2, 3)],
        CLASSES | {"y": torch.full((4, 3), 1 / 3)},
        ValueError,
        "other rows than a 1 among zeros; give the class",
    ),
    (
        [line(2, 3)],
        {"y": [0, 1, 2, 1], "loss": nn.CrossEntropyLoss(ignore_index=1)},
        ValueError,
        "y holds 1, which ignore_index says not to count; leave these rows out",
    ),
    (
        [line(2, 3)],
        {"y": [0, 1, 2, 1], "loss": nn.CrossEntropyLoss(weight=torch.ones(2))},
        ValueError,
        r"loss's weight has the shape \(2,\); give \(3\)",
    ),
    ([line()], {"factor": 0}, ValueError, "factor=0 must be a positive number, by which the loss is multiplied"),
    ([line()], {"factor": "2"}, TypeError, "factor='2' must be a positive number"),
    ([line()], {"steps": 0}, ValueError, "steps=0 must be a whole number from 1 on"),
    ([line()], {"steps": 1.5}, ValueError, "steps=1.5 must be a whole number from 1 on"),
    ([line(2, 3000)], {"y": torch.ones(4, 3000), "steps": 10**6}, ValueError, "do not fit memory; give at most 14913"),
    ([line()], {"title": 3}, TypeError, "title=3 must be a text"),
    ([line()], {"title": None}, TypeError, "title=None must be a text"),
    ([line()], {"features": "ab"}, TypeError, "features='ab' must be a list of 2 names"),
    ([line()], {"features": 2}, TypeError, "features=2 must be a list of 2 names"),
    ([line()], {"features": ["a"]}, ValueError, "features has 1 names; give 2, one for each column, or none"),
    ([line()], {"outputs": ["a", "b"]}, ValueError, "outputs has 2 names; give 1"),
    ([line()], {"lr": torch.ones(9, 9)}, TypeError, r"lr=tensor\(\[\[1., .*… must be a positive number"),
]


@pytest.mark.parametrize(("layers", "arguments", "error", "message"), BAD, ids=[message for *_, message in BAD])
def test_bad_arguments(layers, arguments, error, message):
    with pytest.raises(error, match=message) as raised:
        explain(layers, **arguments)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "lr", [1, np.float32(0.25), np.float64(0.25), np.int64(2), np.array(0.5), torch.tensor(0.5), torch.tensor(2)]
)
def test_learning_rates_of_any_kind(lr):
    explanation = explain([line()], lr=lr)
    assert type(explanation.lr) is float
    assert explanation.lr == float(lr)
    assert json.loads(explanation.to_json())["lr"] == float(lr)


@pytest.mark.parametrize("given", [[0, 1], np.array([0, 1]), range(2)])
def test_names_that_are_numbers_are_texts(given):
    explanation = explain([line()], features=given)
    assert explanation.features == ["0", "1"]
    assert json.loads(explanation.to_json())["features"] == ["0", "1"]
    assert data_of(explanation.to_html())["columns"][0]["labels"] == ["0", "1"]


@pytest.mark.parametrize("layer", [0, 2, "1", 1.5, [1]])
def test_layers_that_are_not_there(layer):
    with pytest.raises(ValueError, match=re.escape(f"no layer {layer!r}: the network has layers 1 to 1")):
        explain([line()]).to_text(layer)


def test_names_of_any_length_fit_80_columns():
    layers = OrderedDict([("encoder" * 20, nn.Linear(2, 3)), ("b", nn.Linear(3, 1))])
    text = torchbp.explain(nn.Sequential(layers), X, Y, title="file" * 50).to_text()
    assert max(map(len, text.splitlines())) <= 80
    assert "encoder" * 20 in re.sub(r"\s", "", text)


def test_numbers_of_a_list_reach_a_network_of_double_precision_unrounded():
    net = torchbp.nn.MLP(2, 3, 1, dtype=torch.float64)
    for x, y in (([0.1, 1e300], [0.3]), ([[0.1, 1e300]], np.array([[0.3]])), (np.array([0.1, 1e300]), (0.3,))):
        explanation = torchbp.explain(net, x, y)
        assert explanation.values["X"].tolist() == [[0.1, 1e300]]
        assert explanation.values["y"].tolist() == [[0.3]]


def test_nan_in_a_parameter_is_named_by_its_key():
    net = torchbp.nn.MLP(2, 4, 1)
    nn.init.constant_(net[2].bias, NAN)
    with pytest.raises(ValueError, match=re.escape("2.bias holds nan")):
        torchbp.explain(net, X, Y)


@pytest.mark.parametrize("weight", [torch.tensor([3]), torch.tensor([3.0]).double(), nn.Parameter(torch.tensor([3.0]))])
@pytest.mark.parametrize("loss", [nn.BCEWithLogitsLoss, nn.BCELoss])
def test_weights_of_a_loss_are_taken_in_the_models_dtype(loss, weight):
    layers = [line(), nn.Sigmoid()] if loss is nn.BCELoss else [line()]
    explanation = explain(layers, loss=loss(weight=weight))
    assert explanation.loss == pytest.approx(3 * explain(layers, loss=loss()).loss)
    assert {record.tensor.dtype for record in explanation.records} == {torch.float32}
    assert max(record.error for record in explanation.records) < 1e-6


def test_the_callers_loss_is_left_as_it_is_and_may_change():
    loss = nn.BCEWithLogitsLoss(pos_weight=torch.ones(1).double())
    explanation = explain([line()], loss=loss)
    assert loss.pos_weight.dtype == torch.float64
    loss.pos_weight.fill_(9)
    assert explanation.loss_after(0.1) == explanation.new_loss


def made_and_explained():
    torch.manual_seed(0)
    explanation = torchbp.explain(torchbp.nn.MLP(2, 4, 1), X.clone(), Y.clone())
    return explanation, explanation.to_text(), explanation.to_json(), explanation.to_html()


@pytest.mark.parametrize("mode", [torch.inference_mode(), torch.no_grad(), torch.autocast("cpu", torch.bfloat16)])
def test_the_mode_of_the_caller_changes_nothing(mode):
    plain = made_and_explained()
    with mode:
        explanation, *written = made_and_explained()
    assert max(record.error for record in explanation.records) < 1e-6
    assert (explanation.loss, explanation.new_loss) == (plain[0].loss, plain[0].new_loss)
    assert written == list(plain[1:])


def test_inference_tensors_are_explained():
    with torch.inference_mode():
        net, x, y = torchbp.nn.MLP(2, 4, 1), X.clone(), Y.clone()
    assert max(record.error for record in torchbp.explain(net, x, y).records) < 1e-6


def test_anything_that_holds_numbers_is_taken():
    torch.manual_seed(0)
    net, expected = torchbp.nn.MLP(2, 4, 1), None
    for x, y in ((X, Y), (X.double(), Y.bool()), (X.clone().requires_grad_(), Y.long()), (X.numpy(), Y.tolist())):
        loss = torchbp.explain(net, x, y, lr=np.float32(0.5)).new_loss
        assert expected in (None, loss)
        expected = loss
    assert torchbp.explain(net, X[1], 1, lr=torch.tensor(0.5)).lr == 0.5


@pytest.mark.parametrize(("lr", "dtype"), [(1e38, torch.float32), (6e4, torch.float16), (1e-30, torch.float64)])
def test_rates_at_the_ends_of_a_dtype_have_a_page(lr, dtype):
    assert torchbp.explain(torchbp.nn.MLP(2, 4, 1, dtype=dtype), X, Y, lr=lr).to_html().startswith("<!doctype html>")
