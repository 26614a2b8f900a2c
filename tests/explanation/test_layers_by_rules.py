"""Every layer whose rule has equations: each number is autograd's, each line is true as printed, and nothing of the
model changes."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import torchbp
from tests.explanation.lines import check_numbers
from tests.explanation.operations import IMAGES, VECTORS, with_images, with_layer
from torchbp.explanation.render.html.network_data import network
from torchbp.explanation.render.html.program import NoProgramError, program
from torchbp.explanation.render.numpy_code import name_of
from torchbp.ops.registry import rules
from torchbp.ops.rules import Layer

VECTOR_NAMES = [(with_layer, name) for name in VECTORS]
OF_NOTEBOOKS = "linear", "softmax_of_channels", "conv_transpose", "avg_pool_at_the_edges", "max_pool_of_ties"


def check(net, x, y, **options):
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    explanation = torchbp.explain(net, x, y, **options)
    assert [(r.name, c.by) for r in explanation.records for c in r.checks if c.ok is False] == []
    check_numbers(explanation.records)
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name])
    return explanation


@pytest.mark.parametrize("name", VECTORS)
def test_a_layer_of_vectors(name):
    check(*with_layer(name))


@pytest.mark.parametrize("name", IMAGES)
def test_a_layer_of_images(name):
    """Its rows stand in one dimension in the equations."""
    net, x, y = with_images(name)
    explanation = check(net, x, y)
    assert explanation.values["X"].shape == (3, 24)


@pytest.mark.parametrize("name", ["batch_norm", "group_norm", "prelu_of_channels", "periodic_embedding"])
def test_the_gradients_are_those_of_autograd(name):
    net, x, y = with_layer(name)
    explanation = torchbp.explain(net, x, y)
    nn.BCEWithLogitsLoss()(net(x), y).backward()
    for quantity, key in explanation.chain.keys.items():
        expected = net.get_parameter(key).grad
        torch.testing.assert_close(explanation.values[f"dL/d{quantity}"], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("made", "name"), [*VECTOR_NAMES, *((with_images, name) for name in IMAGES)])
def test_a_layer_in_float32(made, name):
    """The checks compute in float64, also by the statistics of a batch norm, which are in float32."""
    net, x, y = made(name)
    explanation = torchbp.explain(net.float(), x, y)
    assert [(r.name, c.by) for r in explanation.records for c in r.checks if c.ok is False] == []


@pytest.mark.parametrize(("made", "name"), [*VECTOR_NAMES, *((with_images, name) for name in OF_NOTEBOOKS)])
def test_the_notebook_runs_and_its_grades_are_right(made, name, capsys):
    """Of a norm with the statistics of a training, which no cell gives, there is no cell that grades."""
    explanation, names = torchbp.explain(*made(name)), {}
    cells = json.loads(explanation.to_notebook())["cells"]
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    for record in explanation.records:
        np.testing.assert_allclose(names[name_of(record.quantity)], record.tensor.numpy(), rtol=1e-8, atol=1e-12)
    assert "wrong" not in capsys.readouterr().out


@pytest.mark.parametrize("waves", [1, 4])
def test_the_page_draws_all_inputs_of_a_periodic_embedding(waves):
    """Its frequencies have a column for each wave, and none for an input."""
    net = nn.Sequential(torchbp.nn.PeriodicEmbedding(3, waves, 1.0), nn.Linear(3 + 3 * waves, 1))
    columns = network(torchbp.explain(net, torch.randn(2, 3), torch.ones(2, 1)), False)["columns"]
    assert columns[0]["units"] == [0, 1, 2]


@pytest.mark.parametrize("slopes", [1, 3])
def test_a_prelu_has_no_slope_at_0(slopes):
    """Where a number is exactly 0 the loss has a corner, and no difference quotient says that the gradient is wrong."""
    torch.manual_seed(1)
    net = nn.Sequential(nn.PReLU(slopes), nn.Linear(3, 1)).double()
    explanation = check(net, torch.tensor([[0.0, 1, -1], [0, -1, 2]]), torch.ones(2, 1))
    assert explanation["dL/dX"].checks[1].ok


def test_the_parts_on_the_way_back_are_records():
    net, x, y = with_layer("periodic_embedding")
    explanation = torchbp.explain(net, x, y)
    names = [record.name for record in explanation.records]
    assert names.index("dL/dZ2") < names.index("dL/dU2") < names.index("dL/dw2") < names.index("dL/dZ1")
    assert explanation["dL/dU2"].equation == "dL/dU2 = −sin(U2) ∘ dL/dZ2[waves]"
    assert explanation["dL/dw2"].rule == "dL/dw2 = dL/dU2 · dU2/dw2"
    assert explanation["dL/dZ1"].equation == "dL/dZ1 = dL/dZ2[numbers] + Σₖ dL/dU2 ∘ w2"


def test_a_batch_norm_in_evaluation_is_given_the_statistics_of_the_training():
    net, x, y = with_layer("batch_norm_in_evaluation")
    explanation = torchbp.explain(net, x, y)
    assert torch.equal(explanation.step.given["m2"], net[1].running_mean)
    assert torch.equal(explanation.step.given["v2"], net[1].running_var)
    assert "m2 (6)" in explanation.to_text()


def test_vectors_in_a_row_go_through_a_linear_layer_alone():
    net, x, y = with_images("linear")
    explanation = torchbp.explain(net, x, y)
    assert explanation["Z1"].equation == "Z1 = X[vectors] W1ᵀ + b1"
    assert explanation["Z1"].sizes == "(3×36) = (36×2) (2×3) + (3)"
    assert explanation["dL/dW1"].equation == "dL/dW1 = (dL/dZ1[vectors])ᵀ X[vectors]"
    assert explanation["dL/dW1"].sizes == "(3×2) = (3×36) (36×2)"
    assert explanation["dL/dX"].equation == "dL/dX = dL/dZ1[vectors] W1"


def test_the_windows_of_a_pooling():
    x = torch.tensor([[[3.0, 1, 3, 2, 5]]], dtype=torch.float64)
    largest = nn.Sequential(nn.MaxPool1d(2, ceil_mode=True), nn.Flatten(), nn.Linear(3, 1)).double()
    explanation = check(largest, x, torch.ones(1, 1))
    assert explanation["M1"].equation == "M1 = [X[windows] is largest]"
    assert explanation["M1"].tensor.tolist() == [[1, 0, 1, 0, 1]]
    assert explanation["dL/dX"].equation == "dL/dX = Σₖ M1 ∘ dL/dZ1[windows]"
    mean = nn.Sequential(nn.AvgPool1d(2, ceil_mode=True), nn.Flatten(), nn.Linear(3, 1)).double()
    explanation = check(mean, x, torch.ones(1, 1))
    assert explanation["Z1"].equation == "Z1 = Σₖ X[windows of 2]/2 + Σₖ X[windows of 1]"
    assert explanation["Z1"].numbers == "Z1[1,3] = 5"


def test_of_several_largest_numbers_the_first_one_counts():
    """So torch's derivative does; a quotient of such a number has a corner."""
    net = nn.Sequential(nn.MaxPool1d(3), nn.Flatten(), nn.Linear(1, 1)).double()
    explanation = check(net, torch.tensor([[[2.0, 2, 2]]]), torch.ones(1, 1))
    assert explanation["M1"].tensor.tolist() == [[1, 0, 0]]
    assert explanation["dL/dX"].tensor[0, 1:].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("layer", "count"),
    [
        (lambda: nn.Conv1d(10, 10, 5), "up to 120,000 are shown"),
        (lambda: nn.ConvTranspose1d(10, 10, 5), "200,000 products"),
        (lambda: nn.MaxPool1d(5, 1), "up to 120,000 are shown"),
    ],
)
def test_a_layer_of_too_many_products_names_the_limit(layer, count):
    rows = 10, (7000 if isinstance(layer(), nn.MaxPool1d) else 400)
    net = nn.Sequential(layer(), nn.Flatten(), nn.Linear(2, 1))
    with pytest.raises(TypeError, match=f"has no equations in its rule for rows of the shape .*: they would .*{count}"):
        torchbp.explain(net, torch.zeros(1, *rows), torch.ones(1, 1))


@pytest.mark.filterwarnings("ignore:softmax without dim")
@pytest.mark.parametrize("layer", [nn.Softmax(0), nn.LogSoftmax(-3), nn.Softmax(None)])
def test_a_layer_along_the_rows_has_no_equations(layer):
    net = nn.Sequential(nn.PReLU(), layer, nn.Flatten(), nn.Linear(6, 1))
    with pytest.raises(TypeError, match=f"{type(layer).__name__}.* has no equations"):
        torchbp.explain(net, torch.randn(4, 2, 3), torch.ones(4, 1))


@pytest.mark.parametrize("layer", [nn.Conv1d(4, 4, 1), nn.MaxPool1d(1), nn.AvgPool1d(1), nn.ConvTranspose1d(4, 4, 1)])
def test_rows_without_channels_have_no_equations(layer):
    """Torch takes four rows of three numbers as one row of four channels."""
    with pytest.raises(TypeError, match=r"of the shape \(3,\): give rows of 2 dimensions, the first one the channels"):
        torchbp.explain(nn.Sequential(layer, nn.Linear(3, 1)), torch.randn(4, 3), torch.ones(4, 1))


def test_a_window_without_numbers_has_no_largest():
    """Its places, before and behind the two numbers, are zeros of the padding."""
    net = nn.Sequential(nn.MaxPool1d(2, 1, padding=1, dilation=3), nn.Flatten(), nn.Linear(1, 1))
    with pytest.raises(TypeError, match=r"a MaxPool1d, has no equations .*: a window holds none of their numbers"):
        torchbp.explain(net, torch.ones(3, 1, 2), torch.ones(3, 1))


def test_an_image_is_no_batch():
    with pytest.raises(TypeError, match=r"a Conv2d, makes of .* the shape \(2, 3, 3\).*of a single row give x\[None\]"):
        torchbp.explain(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(18, 1)), torch.randn(1, 5, 5), [1.0])


def test_a_convolution_of_many_products():
    """The page does not train it, and the notebook does not list them."""
    net = nn.Sequential(nn.Conv1d(1, 40, 30), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(40, 3))
    explanation = torchbp.explain(net, torch.rand(1, 1, 60), [2], loss=nn.CrossEntropyLoss())
    assert {check.ok for record in explanation.records for check in record.checks} == {True}
    assert "a sum of 37,200 products has no code in NumPy" in explanation.to_notebook()
    with pytest.raises(NoProgramError, match="The page trains convolutions of up to "):
        program(explanation)


def test_the_layers_without_equations_are_these():
    """The chapter says so: a new one must be told there."""
    without = {
        rule.name
        for rule in rules(Layer).values()
        if None in (rule.tree("equation"), *(parameter.tree() for parameter in rule.parameters))
    }
    assert without == {"embedding"}
