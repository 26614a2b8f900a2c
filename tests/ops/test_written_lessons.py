"""The lessons: each network learns by our formulas, and every gradient by hand is autograd's."""

import pytest
import torch

import torchbp
from tests.graphs import is_ours, nodes_of
from torchbp.ops.lessons import gpt2_block, makemore
from torchbp.ops.lessons._comparison import Comparison


@pytest.fixture
def network():
    torch.manual_seed(0)
    return makemore.Network(torchbp.nn, makemore.at_once)


@pytest.fixture
def block():
    torch.manual_seed(0)
    return gpt2_block.Block(torchbp.nn, gpt2_block.at_once)


def test_makemore(network):
    x, y = makemore.letters_in_names()
    losses = makemore.train(network, x, y, steps=60)
    assert losses[-1] < 0.8 * losses[0]
    comparison = makemore.compared(network, x[:50], y[:50])
    assert len(comparison.rows) == 17
    assert comparison.largest < 1e-14


def test_gpt2_block(block):
    losses = gpt2_block.train(block, steps=30, rows=4)
    assert losses[-1] < 0.8 * losses[0]
    comparison = gpt2_block.compared(block, *gpt2_block.letters_of_poem(2))
    assert len(comparison.rows) == 32
    assert comparison.largest < 1e-14


def test_every_gradient_is_from_our_formulas(network, block):
    x, _ = makemore.letters_in_names()
    tensors = network(x)["Z2"], block(gpt2_block.letters_of_poem(2)[0])["Z"]
    names = {node.name().split("::")[-1] for tensor in tensors for node in nodes_of(tensor) if not is_ours(node)}
    sums_and_views = {"AccumulateGrad", "AddBackward0", "SplitBackward0", "TransposeBackward0", "ViewBackward0"}
    assert names <= sums_and_views | {"CloneBackward0", "UnsafeViewBackward0", "ReshapeAliasBackward0"}


def test_a_wrong_formula_is_seen(network, monkeypatch):
    x, y = makemore.letters_in_names()
    monkeypatch.setattr(makemore, "tanh_dz", lambda da, a: da * (1 - a))
    comparison = makemore.compared(network, x[:50], y[:50])
    assert comparison.largest > 1e-4
    wrong = {name for name, *_, difference in comparison.rows if difference > 1e-12}
    assert wrong == {"dB", "dγ", "dβ", "dx̂", "dr", "dσ²", "dμ", "dZ1", "dW1", "dX", "dE", "dC"}


def test_a_forgotten_gradient_is_an_error():
    x = torch.ones(2, requires_grad=True)
    comparison = Comparison(x.square().sum(), {"x": x})
    with pytest.raises(LookupError, match="no gradient by hand of x"):
        str(comparison)
    assert comparison("x", "2 x", 2 * x) is not None
    assert str(comparison).splitlines()[1].split() == ["dx", "2", "x", "2e+00", "0e+00"]


@pytest.mark.parametrize("lesson", [makemore, gpt2_block], ids=["makemore", "gpt2_block"])
def test_what_is_printed(lesson, capsys):
    lesson.main(steps=2)
    lines = capsys.readouterr().out.splitlines()
    assert "after 2 steps" in lines[0]
    assert lines[-1].startswith("autograd's gradients differ by at most ")
    columns = {line.rindex(" ") for line in lines[-8:-1]}  # the hats of x̂ do not move them
    assert len({len(line) - line.count("\N{COMBINING CIRCUMFLEX ACCENT}") for line in lines[-8:-1]}) == 1, columns
