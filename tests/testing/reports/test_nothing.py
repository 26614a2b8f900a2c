"""An audit of nothing is no success: what was not compared is said, and where that is all, the report is not sound."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

import torchbp


@dataclass
class Output:
    y: torch.Tensor


NAN = torch.tensor([1.0, float("nan")])


@pytest.mark.parametrize(
    ("function", "inputs", "why"),
    [
        (lambda x: x.sum().item(), torch.ones(3), "it returns a float, and no tensor"),
        (lambda x: None, torch.ones(3), "it returns None, and no tensor"),
        (lambda x: (x.tolist(), 2), torch.ones(2), "it returns a float and an int, and no tensor"),
        (lambda x: x.detach().numpy(), torch.ones(3, requires_grad=True), "it returns an ndarray, and no tensor"),
        (lambda x: Output(x.sin()), torch.ones(3), "it returns an Output, and no tensor"),
        (lambda x: [], torch.ones(3), "it returns nothing, and no tensor"),
        (torch.argsort, torch.rand(3), "it returns tensors of int64 alone, which have no derivatives"),
        (torch.sin, torch.tensor([1, 2]), "no argument is floating and requires a gradient"),
        (lambda x: x * 2, torch.arange(3), "no argument is floating and requires a gradient"),
        (torch.sin, torch.zeros(0, 3), "every argument is empty"),
        (lambda x: x[:0], torch.ones(3), "every output is empty"),
        (torch.cumsum, {"input": NAN.flip(0), "dim": 0}, "no output is a finite number, and input has nan"),
        (torch.log, -torch.ones(2), "no output is a finite number"),
    ],
)
def test_where_nothing_can_be_compared_the_values_fail_and_the_rest_is_skipped(function, inputs, why):
    report = torchbp.check(function, inputs, checks=["values", "linearity", "jvp"], raise_exception=False)
    assert [result.status for result in report.results] == ["FAIL", "SKIP", "SKIP"]
    assert report["values"].message == f"nothing was compared: {why}"
    assert report["values"].details[0].startswith("to do: ")
    assert not report
    assert not report.sound


def test_a_graph_that_is_cut_for_every_argument_is_a_failure():
    """Though nobody asked for the gradient of any of them."""
    report = torchbp.check(lambda x, y: (x * y).detach(), (torch.ones(2), torch.ones(2)), checks="values",
                           raise_exception=False)  # fmt: skip
    assert "zero everywhere: the graph is cut" in str(report)
    assert not report


def test_a_report_of_skipped_checks_is_not_sound():
    with pytest.raises(torchbp.testing.GradientError, match=r"(?s)sin: 1 skipped, nothing was compared.*not a module"):
        torchbp.check(torch.sin, torch.ones(3), checks="module")
    report = torchbp.check(torch.sin, torch.ones(3), checks=["module", "values"])
    assert report
    assert report.sound
    with pytest.raises(ValueError, match="no check is left to run"):
        torchbp.check(torch.sin, torch.ones(3), checks="values", skip="values")
    with pytest.raises(ValueError, match="no check is left to run"):
        torchbp.testing.case(torch.sin, torch.ones(3), checks=())


def test_what_was_not_compared_is_noted():
    report = torchbp.check(lambda x: (x * 2, x.sum().item(), None, 3), torch.ones(3), checks="values")
    assert report.notes == ("not compared: a float that it returns",)
    report = torchbp.check(lambda x: (x * 2, (x * 3).detach(), x.argmax()), torch.ones(3), checks="values")
    assert report.notes == ("not compared: out1, which has no graph",)


@pytest.mark.parametrize(
    "function",
    [
        nn.Linear(2, 3),
        torch.nansum,
        *(pytest.param(function, marks=pytest.mark.exhaustive) for function in (torch.sin, nn.Softmax(-1))),
    ],
)
def test_nan_among_the_inputs_is_noted_and_accuses_nobody(function):
    report = torchbp.check(function, torch.stack([NAN, torch.tensor([0.3, 2.0])]))
    assert any("the nan in input, 1 of its 4 numbers" in note for note in report.notes), report.notes
