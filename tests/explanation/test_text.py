"""The text for a terminal: which numbers of a tensor it prints, and what it says at its end."""

import pytest
import torch

import torchbp
from tests.explanation.samples import XOR
from torchbp.explanation.render.text import bars, tensor_lines


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
