"""The ways from the loss to one number: their products add up to the gradient that autograd gives."""

import math
import re

import pytest
import torch

import torchbp
from tests.explanation.lines import evaluated
from tests.explanation.operations import with_layer
from tests.explanation.samples import xor
from torchbp.cli import main
from torchbp.explanation.cli.lessons import LESSONS
from torchbp.explanation.derivation.following import element_of, largest_of_each_row, shares, ways


@pytest.fixture(scope="module")
def network():
    """Two hidden layers, of which one has a norm and an odd activation, and two answers."""
    torch.manual_seed(0)
    layers = [torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3), torch.nn.LayerNorm(3), torch.nn.SiLU()]
    net = torch.nn.Sequential(*layers, torch.nn.Linear(3, 2)).double()
    return torchbp.explain(net, torch.randn(4, 3), torch.rand(4, 2).round())


def quantities(explanation):
    return [step.gives for step in explanation.chain.steps]


def test_all_ways_to_a_unit_add_up_to_its_gradient(network, monkeypatch):
    monkeypatch.setattr("torchbp.explanation.derivation.following.MOST", 1000)
    for quantity in quantities(network):
        gradient = network.values[f"dL/d{quantity.name}"]
        for row, unit in ((0, 0), (2, 1)):
            found, count = ways(network, quantity, row, unit)
            assert len(found) == count
            assert sum(way.value for way in found) == pytest.approx(gradient[row, unit].item(), rel=1e-10, abs=1e-15)
            for way in found:
                assert way.value == pytest.approx(math.prod(value for _, value in way.factors))


def test_the_largest_ways_are_the_largest_of_all(network, monkeypatch):
    shown, count = ways(network, network.chain.steps[0].gives, 1, 2)
    monkeypatch.setattr("torchbp.explanation.derivation.following.MOST", 1000)
    everything, _ = ways(network, network.chain.steps[0].gives, 1, 2)
    sizes = sorted((abs(way.value) for way in everything), reverse=True)
    assert len(shown) == min(5, count)
    assert [abs(way.value) for way in shown] == pytest.approx(sizes[: len(shown)])


@pytest.mark.parametrize("name", ["W1[2,3]", "b1[2]", "w3[1]", "b3[3]", "W2[3,1]", "W4[2,2]"])
def test_the_shares_of_the_rows_add_up_to_the_gradient(network, name):
    element = element_of(network, name)
    gradient = network[f"dL/d{element.quantity.name}"].tensor[element.place].item()
    assert sum(shares(network, element)) == pytest.approx(gradient, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("name", ["W1[2,3]", "b1[2]", "w3[1]", "A1[2,3]", "X[1,2]", "A3[4,1]", "Z4[1,1]"])
def test_every_line_with_numbers_is_true(network, name):
    text = re.sub(r"\n {4,}(?=\S)", " ", network.follow(name))
    lines = [line for line in text.splitlines() if " = " in line and "·" in line and "share is" not in line]
    for line in lines:
        *_, product, result = line.split(" = ")
        assert evaluated(product) == pytest.approx(float(evaluated(result)), rel=5e-3), line
    assert all(len(line) <= 80 for line in network.follow(name).splitlines())


def test_a_weight_of_xor():
    text = xor().follow("W1[2,2]", row=3)
    assert "W1[2,2] = " in text
    assert ", the weight from input 2 to unit 2 of layer 1." in text
    assert "To Z1[3,2] leads one way:" in text
    assert "dL/dZ2[3,1] · W2[1,2] · dA1/dZ1[3,2] = " in text
    assert "row 4: dL/dZ1[4,2] · X[4,2] = " in text
    total = xor()["dL/dW1"].tensor[1, 1].item()
    assert f"dL/dW1[2,2] = {total:.4g}".replace("-", "−") in text


def test_a_unit_behind_a_relu_that_is_off_has_no_way():
    net = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.ReLU(), torch.nn.Linear(1, 1)).double()
    with torch.no_grad():
        net[0].bias.fill_(-9.0)
    text = torchbp.explain(net, [[0.5]], [[1.0]]).follow("W1[1,1]")
    assert "Every way to dL/dZ1[1,1] has a factor of 0, so it is 0." in text


def test_rows_that_mix_are_said_to_mix():
    explanation = torchbp.explain(*with_layer("batch_norm"))
    assert "The rows mix on the way" in explanation.follow("W1[2,1]")
    assert sum(shares(explanation, element_of(explanation, "W1[2,1]"))) == pytest.approx(
        explanation["dL/dW1"].tensor[1, 0].item()
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("W9[1,1]", "'W9[1,1]' is no number of this network; write a name and a place, such as W1[1,1]; the names are"),
        ("W1", "'W1' is no number of this network"),
        ("W1[1,9]", "W1[1,9]: the places of W1 go to W1[4,2], from 1"),
        ("W1[0,1]", "W1[0,1]: the places of W1"),
        ("W1[1 2]", "'W1[1 2]' is no number of this network"),
        ("W1[1,,2]", "'W1[1,,2]' is no number of this network"),
        ("b1[1,1]", "b1[1,1]: the places of b1 go to b1[4], from 1"),
    ],
)
def test_what_is_no_number_is_refused(name, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        xor().follow(name)


@pytest.mark.parametrize(("name", "row"), [("W1[1,1]", 5), ("W1[1,1]", 0), ("W1[1,1]", True), ("A1[2,1]", 1)])
def test_a_row_that_does_not_fit_is_refused(name, row):
    with pytest.raises(ValueError, match=f"row={row}"):
        xor().follow(name, row=row)


def test_the_weight_that_matters_most_for_a_row():
    explanation = xor()
    found = largest_of_each_row(explanation)
    for row, (share, name) in enumerate(found):
        sizes = {}
        for number, below in ((1, "X"), (2, "A1")):
            products = explanation.values[f"dL/dZ{number}"][row].outer(explanation.values[below][row])
            sizes |= {f"W{number}[{i + 1},{j + 1}]": products[i, j].item() for i, j in torch.cartesian_prod(
                torch.arange(products.shape[0]), torch.arange(products.shape[1])).tolist()}  # fmt: skip
        assert abs(share) == pytest.approx(max(map(abs, sizes.values())))
        assert sizes[name] == pytest.approx(share)
    assert f"  row 2  {found[1][1]}" in explanation.to_text()


@pytest.mark.parametrize("name", ["convolution", "attention"])
def test_the_weight_that_matters_most_may_be_of_any_layer(name):
    """A kernel of a convolution and the matrices of an attention head are weights too."""
    explanation = LESSONS[name](0.1, 1)
    weights = [name for name, tensor in explanation.chain.start.items() if tensor.dim() > 1]
    for row, (share, _) in enumerate(largest_of_each_row(explanation)):
        sizes = []
        for weight in weights:
            shape = explanation.chain.start[weight].shape
            for place in torch.cartesian_prod(*map(torch.arange, shape)).tolist():
                text = f"{weight}[{','.join(str(at + 1) for at in place)}]"
                sizes.append(abs(shares(explanation, element_of(explanation, text))[row]))
        assert abs(share) == pytest.approx(max(sizes))


def test_the_input_that_a_weight_multiplies_is_named():
    """Where each weight multiplies one input of a row; a layer of vectors multiplies one of each vector."""
    torch.manual_seed(0)
    net, x = torch.nn.Linear(3, 1), torch.tensor([[0.1, 5.0, 0.2], [4.0, 0.1, 0.2]])
    names = ["age", "month=\x1bapr", "day"]
    one = torchbp.explain(net, x[:1], [[1.0]], features=names)
    assert ", which multiplies month=\\x1bapr: its gradient is" in " ".join(one.to_text().split())
    assert "the largest gradient of a weight, which multiplies month=\\x1bapr" in one.to_html()
    both = torchbp.explain(net, x, [[1.0], [0.0]], features=names).to_text()
    assert re.search(r"row 1  W1\[\d,2\] .* month=\\x1bapr\n", both)
    assert re.search(r"row 2  W1\[\d,1\] .* age$", both)
    of_vectors = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Flatten(), torch.nn.Linear(4, 1))
    six = torchbp.explain(of_vectors, x.unsqueeze(0), [[1.0]], features=[f"number {i}" for i in range(6)])
    assert "multiplies number" not in six.to_text() + six.to_html()
    assert "(number" not in six.follow("W1[1,2]")


def test_waves_of_an_input_do_not_name_another_one():
    """The columns of their frequencies are no inputs, though there be as many."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torchbp.nn.PeriodicEmbedding(2, 2, 1.0), torch.nn.Linear(6, 1))
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[0.0, 0.0, 50.0, 50.0, 50.0, 50.0]]))
    explanation = torchbp.explain(net, [[50.0, 0.1]], [[0.0]], features=["age", "fare"])
    assert "matters most for this row is w1[1,2]" in explanation.to_text()
    assert "which multiplies" not in explanation.to_text() + explanation.to_html()


def test_the_command_follows(capsys):
    assert main(["explain", "--lesson", "xor", "--follow", "W2[1,3]"]) == 0
    printed = capsys.readouterr().out
    assert "── Follow W2[1,3] ──" in printed
    assert "── Forward ──" not in printed
    assert main(["explain", "--lesson", "xor", "--follow", "W7[1,3]"]) == 2
    assert "is no number of this network" in capsys.readouterr().err
    assert main(["explain", "--lesson", "xor", "--follow", "W1[1,1]", "--layer", "1"]) == 2
    assert "--follow and --layer are both given" in capsys.readouterr().err
