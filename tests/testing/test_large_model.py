"""Whole models: along a few directions, and each kind of layer alone, without copies of the parameters."""

import threading

import pytest
import torch
from torch import nn
from torch.autograd import Function

import torchbp
from torchbp.testing.checks import CHECKS, chosen_checks
from torchbp.testing.checks.model import directions, layers
from torchbp.testing.checks.model.choice import checks_for
from torchbp.testing.numerics.gradients import gradients
from torchbp.testing.numerics.jacobian import compare_here
from torchbp.testing.numerics.screen import seems_right
from torchbp.testing.subject import large_model
from torchbp.testing.subject.prepare import subject_of


class Scaled(Function):
    """x · scale, whose gradient by the scale is multiplied by a number."""

    @staticmethod
    def forward(ctx, x, scale, wrong):
        ctx.save_for_backward(x, scale)
        ctx.wrong = wrong
        return x * scale

    @staticmethod
    def backward(ctx, g):
        x, scale = ctx.saved_tensors
        return g * scale, ctx.wrong * (g * x).sum(0), None


class Scale(nn.Module):
    def __init__(self, wrong=1.0):
        super().__init__()
        self.scale, self.wrong = nn.Parameter(torch.linspace(0.5, 1.5, 6)), wrong

    def forward(self, x):
        return Scaled.apply(x, self.scale, self.wrong)


class Block(nn.Module):
    def __init__(self, wrong=1.0):
        super().__init__()
        self.linear, self.activation, self.scale = nn.Linear(6, 6), nn.ReLU(inplace=True), Scale(wrong)

    def forward(self, x, factor=1.0):
        return x + factor * self.scale(self.activation(self.linear(x)))


class Network(nn.Module):
    def __init__(self, *wrong):
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList([Block(w) for w in wrong])
        self.norm, self.head = nn.BatchNorm1d(6), nn.Linear(6, 3)

    def forward(self, x):
        for block in self.blocks:
            x = block(x, factor=0.5)
        return self.head(self.norm(x))


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch, in_this_process):
    monkeypatch.setattr(large_model, "TENSORS", 8)


def audit(*wrong, checks="fast", **options):
    return torchbp.check(Network(*wrong), torch.randn(4, 6), checks=checks, raise_exception=False, **options)


def test_a_sound_model_is_looked_at_as_a_whole_and_by_layers():
    report = audit(1.0, 1.0, 1.0)
    assert report.sound, str(report)
    assert [result.check for result in report.results] == ["values", "layers"]
    assert "of all 14 arguments" in report["values"].message
    for words in ("Scale (blocks.0.scale, for 3 calls)", "ReLU", "Linear", "BatchNorm1d", "Block (blocks.0, for 3"):
        assert words in report["layers"].message
    assert "left out as a whole, but not of its layers: linearity, " in report.notes[-1]


def test_a_wrong_gradient_of_one_layer_is_found():
    report = audit(1.0, 1.0, 1.001)
    assert report["values"].message == "the gradient of blocks.2.scale.scale is wrong"
    assert report["layers"].status == "PASS"  # it looks at one of them, which is right
    report = audit(1.001, 1.0, 1.0)
    assert "blocks.0.scale, a Scale: values: the gradient of scale is wrong" in report["layers"].message
    assert "0.999" in str(report) or "1.001" in str(report)


def test_layers_are_left_out_when_the_time_is_over():
    report = audit(1.0, 1.0, checks="default", seconds=0)
    assert report.sound
    assert report["layers"].message.startswith("left out after 0 s: Scale, ")


def test_the_search_for_a_wrong_parameter_ends_when_its_time_is_over(monkeypatch):
    """Along one direction all is certain, along the other three nothing."""
    monkeypatch.setattr(directions, "seems_right", lambda _, wanted, salt, steps: wanted is None and salt == 70)
    looked_at = []
    monkeypatch.setattr(directions, "compare", lambda subject, wanted, whole: looked_at.append(wanted))
    monkeypatch.setattr(directions, "judged", lambda comparison: None)
    words = audit(1.0, 1.0, checks="values", seconds=0)["values"].message
    assert words.startswith("along 1 random directions (3 more uncertain) of all 11 arguments at once; the search for")
    assert words.endswith("ended after 0 s")
    assert len(looked_at) == 1
    assert "ended" not in audit(1.0, 1.0, checks="values", seconds=1e6)["values"].message
    assert len(looked_at) == 10


def test_layers_are_given_the_tolerances(monkeypatch):
    given = {}
    monkeypatch.setattr(
        layers, "check", lambda *inputs, **options: given.update(options) or torchbp.check(*inputs, **options)
    )
    audit(1.0, 1.0, rtol=1e-3, nondet_tol=0.5)
    assert (given["rtol"], given["nondet_tol"]) == (1e-3, 0.5)


class Gained(nn.Module):
    def forward(self, x, *rest, **options):
        return torch.tanh(x) * options["gain"]


class Prepared(nn.Module):
    """It runs within the model alone."""

    ready = False

    def forward(self, x):
        if not self.ready:
            raise RuntimeError("not ready")
        return 2 * x


class Mixed(Network):
    def __init__(self):
        super().__init__(1.0, 1.0)
        self.gained, self.prepared = Gained(), Prepared()

    def forward(self, x):
        self.prepared.ready = True
        y = self.prepared(self.gained(super().forward(x), None, gain=0.5))
        self.prepared.ready = False
        return y


def test_layers_are_called_as_the_model_calls_them_and_it_is_said_which_cannot_be():
    report = torchbp.check(Mixed(), torch.randn(4, 6), checks="fast")
    assert "Gained: 6 passed; " in report["layers"].message
    assert report["layers"].message.endswith("not audited: Prepared, as Prepared raises RuntimeError: not ready")


def test_layers_of_one_kind_are_a_large_model():
    report = torchbp.check(nn.Sequential(*[nn.Linear(3, 3) for _ in range(5)]), torch.randn(2, 3), checks="fast")
    assert report["layers"].message == "Linear (0, for 5 calls): 6 passed"


def test_of_large_layers_the_fast_checks_alone_run(monkeypatch):
    monkeypatch.setattr(layers, "_LARGE_OF_MANY_PARTS", 10)
    report = audit(1.0, 1.0)
    assert 'of "fast"' not in report["layers"].message  # it has all that are chosen
    report = audit(1.0, 1.0, checks="default", skip=[n for n in CHECKS if n not in ("values", "memory", "layers")])
    assert 'Block (blocks.0, for 2 calls): 1 passed of "fast"' in report["layers"].message
    assert "Scale (blocks.0.scale, for 2 calls): 2 passed;" in report["layers"].message


def test_a_check_that_is_named_runs_on_the_whole():
    report = audit(1.0, 1.0, checks=("values", "memory"))
    assert [result.check for result in report.results] == ["values", "memory"]
    assert not any("left out" in note for note in report.notes)


def test_parameters_are_not_copied_and_stay():
    model = Network(1.0, 1.0)
    subject = subject_of(model, torch.randn(4, 6), layer_checks=("values",))
    before = [tensor.clone() for tensor in subject.point]
    for argument, tensor in zip(subject.arguments, subject.fresh_tensors(subject.differentiable), strict=True):
        assert (tensor.data_ptr() == argument.tensor.data_ptr()) == (argument.kind == "parameter")
    assert seems_right(subject)
    for tensor, old in zip(subject.point, before, strict=True):
        assert torch.allclose(tensor, old, rtol=1e-14, atol=1e-14)
    assert not compare_here(subject, whole=4).any_wrong
    assert all(torch.equal(a, b) for a, b in zip(gradients(subject), gradients(subject), strict=True))


def test_a_model_that_cannot_be_copied_keeps_its_parameters():
    model = Network(1.0, 1.0)
    model.lock = threading.Lock()  # of which there is no copy
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    torchbp.check(model, torch.randn(4, 6), checks="fast")
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


class WritesIntoItsWeight(Network):
    def forward(self, x):
        with torch.no_grad():
            self.head.weight.mul_(0.5)
        return super().forward(x)


def test_a_model_that_writes_into_its_parameters_alters_no_point():
    subject = subject_of(WritesIntoItsWeight(1.0, 1.0), torch.randn(4, 6), layer_checks=("values",))
    assert subject.behaviour.writes
    before = [tensor.clone() for tensor in subject.point]
    subject.call_no_grad()
    assert all(torch.equal(a, b) for a, b in zip(subject.point, before, strict=True))


def test_after_a_crash_of_one_check_the_others_run_and_it_does_not():
    model = Network(1.0, 1.0)
    whole, _, notes = checks_for(model, chosen_checks("fast"), ())
    assert whole == ["values", "layers"]
    assert notes
    assert checks_for(model, ("layers",), ())[0] == ["layers"]
    assert checks_for(model, chosen_checks("fast", skip="layers"), (), "layers")[0] == ["values"]
    assert checks_for(nn.Linear(2, 2), ("values", "jvp"), ()) == (["values", "jvp"], (), [])


def test_gradcases_takes_the_checks_of_a_large_model():
    assert torchbp.testing.case(Network(1.0, 1.0), torch.randn(4, 6)).checks == ("values", "layers")
    assert torchbp.testing.case(nn.Linear(2, 2), torch.randn(4, 2), checks="jvp").checks == ("jvp",)


@pytest.mark.parametrize("module", [nn.Linear(400, 400), nn.Sequential(nn.Linear(4, 4), nn.Tanh()), torch.sin])
def test_what_is_no_large_model(module):
    assert not large_model.is_large_model(module)
