"""What belongs to the caller: settings, gradients, compiled code, and the mode that check is called in."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

import torchbp
from tests.testing.corpus.entry import draw

SWITCHES = {
    "torch.get_default_dtype()": (torch.get_default_dtype, lambda: torch.set_default_dtype(torch.float64)),
    "torch.is_anomaly_enabled()": (torch.is_anomaly_enabled, lambda: torch.autograd.set_detect_anomaly(True)),
    "torch.is_grad_enabled()": (torch.is_grad_enabled, lambda: torch.set_grad_enabled(False)),
    "torch.get_num_threads()": (torch.get_num_threads, lambda: torch.set_num_threads(torch.get_num_threads() + 1)),
}


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("where", ["forward", "backward"])
def test_a_switch_that_is_moved_is_found_and_put_back(name, where):
    get, move = SWITCHES[name]
    if where == "backward" and "is_grad" in name:
        pytest.skip("the engine has a grad mode of its own")
    before = get()

    class Sine(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return torch.sin(x)

        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            if where == "backward":
                move()
            return grad * torch.cos(x)

    def function(x):
        result = Sine.apply(x)
        if where == "forward":
            move()
        return result

    try:
        checks = "default" if where == "forward" else "fast"
        report = torchbp.check(function, draw(3), checks=checks, raise_exception=False)
        assert get() == before
        assert [result.check for result in report.failed] == ["side_effects"], str(report)
        assert report["side_effects"].message.startswith(name)
    finally:
        torch.set_grad_enabled(True)
        torch.set_default_dtype(torch.float32)
        torch.autograd.set_detect_anomaly(False)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_mode_of_the_caller_does_not_matter(mode):
    checks = ["values", "second_order", "layouts", "dtypes", "jvp", "batched_grad", "vmap", "hessian", "checkpointing"]
    with mode():
        report = torchbp.check(torch.sin, draw(3), checks=checks)
    assert {result.status for result in report.results} == {"PASS"}


def test_gradients_and_compiled_code_of_the_caller_stay(fresh_compiler):
    layer, times = nn.Linear(3, 2).double(), []

    def backend(graph, _):
        times.append(1)
        return graph.forward

    compiled = torch.compile(lambda x: 3 * x, backend=backend)
    compiled(torch.ones(3))
    torchbp.check(lambda x: layer(x), draw(4, 3), checks="all")
    compiled(torch.ones(3))
    assert len(times) == 1
    assert layer.weight.grad is None
    assert layer.bias.grad is None


def test_inputs_of_any_strides():
    for x in (draw(3, 4).detach().t(), draw(2, 3, 4, 4).detach().to(memory_format=torch.channels_last)):
        assert not torchbp.check(torch.sin, x.requires_grad_()).failed


def test_a_function_that_differentiates_itself():
    """Forces: the gradient of an energy, in the forward."""

    class Force(nn.Module):
        def __init__(self):
            super().__init__()
            self.energy = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1, bias=False))

        def forward(self, x):
            return -torch.autograd.grad(self.energy(x).sum(), x, create_graph=True)[0]

    report = torchbp.check(Force().double(), draw(2, 3), raise_exception=False)
    assert not report.failed, str(report)
    assert report["values"].status == "PASS"


def test_functions_that_hold_tensors_of_one_dtype():
    weight = draw(3, 2).detach()

    class Layer:
        def __init__(self):
            self.weight = weight

        def __call__(self, x):
            return x @ self.weight

        def apply(self, x):
            return x @ self.weight

    class Slotted:
        __slots__ = ("weight",)
        apply = Layer.apply

        def __init__(self):
            self.weight = weight

    settings = SimpleNamespace(weight=weight)
    for function in (lambda x: x @ weight, Layer().apply, Slotted().apply, lambda x: x @ settings.weight):
        assert not torchbp.check(function, draw(4, 3), checks=["values", "dtypes"], raise_exception=False).failed
