"""The text for a terminal: which numbers of a tensor it prints, and what it says at its end."""

import re

import pytest
import torch

import torchbp
from tests.explanation.samples import XOR
from torchbp.explanation.render.numbers_given import tensor_lines
from torchbp.explanation.render.step_summary import bars, fall


def test_small_tensors_are_printed_whole():
    lines = tensor_lines(torch.arange(56.0).reshape(8, 7))
    assert [line.split() for line in lines] == [[str(7 * row + i) for i in range(7)] for row in range(8)]
    assert tensor_lines(torch.tensor(0.5)) == ["     0.5"]


@pytest.mark.parametrize(
    ("shape", "lines"),
    [
        ((9, 7), ["9×7, from 0 to 62, mean 31", "0 1 … 6", "7 8 … 13", "…", "49 50 … 55", "56 57 … 62"]),
        ((8, 8), ["8×8, from 0 to 63, mean 31.5", "0 1 2 … 6 7", "8 9 10 … 14 15", "16 17 18 … 22 23"]),
        ((9, 9), ["9×9, from 0 to 80, mean 40", "0 1 2 … 7 8", "9 10 11 … 16 17", "… … … … … …"]),
        ((12,), ["12, from 0 to 11, mean 5.5", "0 1 2 … 10 11"]),
    ],
)
def test_of_larger_ones_the_range_the_mean_and_the_corners(shape, lines):
    size = torch.Size(shape).numel()
    found = [" ".join(line.split()) for line in tensor_lines(torch.arange(float(size)).reshape(shape))]
    if shape == (9, 7):  # seven columns are whole
        lines = [lines[0], *(" ".join(str(7 * row + i) for i in range(7)) for row in (0, 1))]
    assert found[: len(lines)] == lines
    assert len(found) == 1 + min(shape[0] if len(shape) > 1 else 1, 8 if shape == (8, 8) else 5)


def test_every_gradient_has_a_bar_and_none_has_none():
    """Even the shortest, whose share rounds to nothing."""
    lines = list(bars([0.0, 1.01e-30, 1.0]))
    assert [line.count("█") for line in lines] == [30, 1, 0]


@pytest.mark.parametrize("lr", [0.25, 3.0])
def test_the_loss_along_a_straight_line(lr):
    """L(−α dL) is −α‖dL‖² lower where L is straight, and almost that after a small step."""
    net = torchbp.nn.MLP(2, 4, 1, dtype=torch.float64)
    explanation = torchbp.explain(net, *XOR, lr=lr)
    squared = sum(r.tensor.square().sum().item() for r in explanation.records if r.name[:5] in ("dL/dW", "dL/db"))
    assert explanation.squared_norm() == pytest.approx(squared)
    assert f"The slope alone predicted a fall of α‖∇L‖² = {lr * squared:.4g};" in " ".join(
        explanation.to_text().split()
    )
    assert explanation.loss - explanation.loss_after(1e-6) == pytest.approx(1e-6 * squared, rel=1e-4)


def given_lines(x, **names):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(len(x[0]), 2), torch.nn.Sigmoid(), torch.nn.Linear(2, 1))
    text = torchbp.explain(net, x, [[1.0]] * len(x), **names).to_text()
    assert max(map(len, text.splitlines())) <= 80
    return text.partition("Given")[2].partition("W1 (")[0].splitlines()[1:], " ".join(text.split())


def test_inputs_are_given_by_their_names_beside_what_was_read():
    lines, text = given_lines(
        [[0.5, -0.25], [1.0, 2.0]], features=["age", "a\x1b" + "b" * 40], unscaled=[[30, 7], [40, 1e9]], outputs=["ill"]
    )
    assert lines[0] == "X (2×2), scaled, and beside it as it was read, before the scaling"
    assert lines[1].split() == ["age", "0.5", "1", "(30)", "(40)"]
    assert lines[2].split() == ["a\\x1b" + "b" * 22 + "…", "−0.25", "2", "(7)", "(1e+09)"]
    assert lines[3] == "y (2×1); 1 means ill"
    assert "A2[1,1] is P(ill | x) of row 1." in text


def test_a_blank_is_called_that():
    """In the terminal and on the page; the scaling has put the median in its place."""
    names, read = ["age", "pdays"], [[53.0, float("nan")]]
    explanation = torchbp.explain(
        torch.nn.Linear(2, 1), [[0.5, -0.1]], [[1.0]], features=names, unscaled=torch.tensor(read)
    )
    text, page = explanation.to_text(), explanation.to_html()
    assert "(nan)" not in text
    assert re.search(r"pdays +−0.1 +\(blank\)", text)
    assert "pdays = blank (scaled −0.1)" in page
    assert "<td>blank</td>" in page
    assert "<td>nan" not in page


@pytest.mark.parametrize("shape", [(3, 2), (1, 50)])
def test_blanks_of_large_tables_are_called_that(shape):
    """Of many rows or many features, whose range they have no part in; and in LaTeX."""
    read = torch.arange(1.0, 1.0 + shape[0] * shape[1]).reshape(shape)
    read[-1, -1] = float("nan")
    layer = torch.nn.Linear(shape[1], 1)
    explanation = torchbp.explain(layer, torch.ones(shape), torch.ones(shape[0], 1), unscaled=read)
    text, page, document = explanation.to_text(), explanation.to_html(), explanation.to_latex()
    assert not re.search(r"\bnan\b", text + document)
    assert "<td>blank</td>" in page
    assert "nan to nan" not in page
    assert document.count(r"\text{blank}") == 1
    assert re.search(r" blank$", text, re.MULTILINE)
    if shape[1] == 50:
        assert "from 1 to 49, mean 25" in text
        assert "1 to 49</span>; only its ends" in page


def test_what_was_read_has_the_shape_of_x():
    with pytest.raises(ValueError, match=r"unscaled has the shape \(1, 3\); give that of x, \(1, 2\)"):
        torchbp.explain(torch.nn.Linear(2, 1), [[0.0, 1.0]], [[1.0]], unscaled=[[1.0, 2.0, 3.0]])


def test_names_of_many_columns_or_rows_are_listed():
    names = [f"f{i}" for i in range(50)]
    lines, _ = given_lines([[0.0] * 50], features=names, unscaled=[[1.0] * 50])
    assert lines[0] == "X (1×50); its columns are f0, f1, f2, f3, f4, …, f49"
    lines, text = given_lines([[0.0, 1.0]] * 3, features=["a", "b"])
    assert lines[0] == "X (3×2); its columns are a, b"
    assert "P(" not in text.replace("P(y", "")


def test_the_loss_after_a_step_that_is_far_too_long():
    net = torch.nn.Linear(1, 1).double()
    text = torchbp.explain(net, [[1.0]], [[5.0]], lr=1e300, loss=torch.nn.MSELoss()).to_text()
    assert " to inf: numbers overflow after a step so long." in " ".join(text.split())


def test_a_check_is_printed_where_it_is_not_ok_alone():
    explanation = torchbp.explain(torchbp.nn.MLP(2, 4, 1, dtype=torch.float64), *XOR)
    count = sum(len(record.checks) for record in explanation.records)
    assert "check" not in explanation.to_text().partition("What it did")[0]
    assert f"Checks: {count} of {count} ok." in explanation.to_text()


@pytest.mark.parametrize(
    ("dtype", "lr", "says"),
    [
        (torch.float64, 0.1, "the difference is the loss's curvature."),
        (torch.float16, 0.1, "within the rounding of torch.float16."),
        (torch.float32, 1e-12, ": a change so small is lost in the rounding of torch.float32."),
    ],
)
def test_a_fall_that_rounding_hides_is_no_curvature(dtype, lr, says):
    torch.manual_seed(0)
    net = torchbp.nn.MLP(2, 3, 1, dtype=dtype)
    assert fall(torchbp.explain(net, *XOR, lr=lr)).endswith(says)


def test_a_fall_that_the_slope_predicted_has_no_difference():
    """L = |Z − y| is straight."""
    net = torch.nn.Linear(1, 1)
    torch.nn.init.ones_(net.weight), torch.nn.init.zeros_(net.bias)
    explanation = torchbp.explain(net, [[1.0]], [[9.0]], loss=torch.nn.L1Loss(), lr=0.5)
    predicted = "The slope alone predicted a fall of α‖∇L‖² = 1."
    assert fall(explanation) == f"The loss fell by 1, from 8 to 7. {predicted}"


def test_a_loss_at_its_minimum_stays_there():
    net = torch.nn.Linear(1, 1)
    torch.nn.init.zeros_(net.weight), torch.nn.init.ones_(net.bias)
    assert fall(torchbp.explain(net, [[2.0]], [[1.0]], loss=torch.nn.MSELoss())) == "The loss stays at 0."
