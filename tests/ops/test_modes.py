"""Under every mode of torch our own backward runs; what records operations, or has its own kernels, has torch's."""

import contextlib

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import BaseTorchFunctionMode, TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import torchbp
from tests.cases import CASES
from tests.graphs import ours_of

ONE_OF_EACH = list({case.operation.name: case for case in CASES if case.shapes[0] in ((4, 3), (2, 4, 3))}.values())


class Doubling(TorchFunctionMode):
    """A mode that changes what torch's matrix products give."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        return 2 * result if function is torch.nn.functional.linear else result


class Counting(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))


@contextlib.contextmanager
def default_device(device):
    before = torch.get_default_device()
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None if before.type == "cpu" else before)


MODES = {
    "none": lambda device: contextlib.nullcontext(),
    "set_default_device": default_device,
    "a device": torch.device,
    "another device": lambda device: torch.device("meta"),
    "a mode of functions": lambda device: BaseTorchFunctionMode(),
    "a mode that changes results": lambda device: Doubling(),
    "a mode of dispatch": lambda device: Counting(),
    "a counter of operations": lambda device: FlopCounterMode(display=False),
    "anomaly detection": lambda device: torch.autograd.detect_anomaly(check_nan=False),
    "subclasses off": lambda device: torch._C.DisableTorchFunctionSubclass(),
}


def ours_that_run(output):
    """How many nodes of our Functions run in the backward of this output."""
    ran = []
    for node in ours_of(output):
        node.register_hook(lambda *_: ran.append(1))
    output.sum().backward()
    return len(ran)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", ONE_OF_EACH, ids=str)
@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_our_backward_runs_under_every_mode(case, mode, device):
    ours, _ = case.calls(device)
    leaves = case.leaves(device, requires_grad=True)
    with MODES[mode](device), torch.device(device):  # two at once, mostly
        output = ours(*leaves)
    assert ours_that_run(output) == 1
    with MODES[mode](device):
        output = ours(*leaves)
        assert ours_that_run(output) == 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_a_network_under_every_mode(mode, device):
    x, y = torch.randn(6, 3, device=device), torch.rand(6, 1, device=device)
    net, loss = torchbp.nn.MLP(3, 4, 1).to(device), torchbp.nn.BCEWithLogitsLoss()
    weights, biases = [net[0].weight, net[2].weight], [net[0].bias, net[2].bias]
    with MODES[mode](device):
        assert ours_that_run(loss(net(x), y)) == 4
        assert ours_that_run(torchbp.ops.mlp(x, weights, biases)) == 1
        assert ours_that_run(torchbp.ops.mlp_binary_cross_entropy(x, y, weights, biases)) == 1


def test_a_mode_sees_the_operations_in_our_formulas(device):
    x, weight = torch.ones(2, 3, device=device), torch.ones(1, 3, device=device, requires_grad=True)
    with Doubling():
        assert torchbp.ops.linear(x, weight).tolist() == [[6.0], [6.0]]


class Named(torch.Tensor):
    """A subclass with torch's own behaviour."""


class Plain(torch.Tensor):
    """A subclass that torch's functions do not ask."""

    __torch_function__ = torch._C._disabled_torch_function_impl


@pytest.mark.parametrize("where", ["input", "weight"])
@pytest.mark.parametrize(("cls", "ours"), [(Named, 0), (Plain, 1), (torch.nn.Parameter, 1), (torch.nn.Buffer, 1)])
@pytest.mark.parametrize("mode", ["none", "a device", "a mode of functions"])
def test_a_tensor_subclass_brings_its_kernels_under_every_mode(where, cls, ours, mode):
    x, weight = torch.randn(2, 3), torch.randn(4, 3)
    (x, weight)[where == "weight"].requires_grad_()
    given = {"input": x, "weight": weight}
    made = given[where].detach().as_subclass(cls) if issubclass(cls, (Named, Plain)) else cls(given[where].detach())
    given[where] = made.requires_grad_()
    with MODES[mode]("cpu"):
        assert ours_that_run(torchbp.ops.linear(**given)) == ours
        assert ours_that_run(torchbp.ops.mlp(given["input"], [given["weight"]], [None])) == ours


def test_what_is_exported_under_a_default_device_has_torchs_operations():
    net = torchbp.nn.MLP(3, 4, 1)
    x = torch.randn(2, 3)
    with torch.device("cpu"):
        program = torch.export.export(net, (x,), strict=False)
    called = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert called == ["aten.linear.default", "aten.sigmoid.default", "aten.linear.default"]
    graph = make_fx(lambda x, w: torchbp.ops.linear(x, w), pre_dispatch=True)(x, torch.randn(4, 3, requires_grad=True))
    assert "aten.linear.default" in graph.code.replace("torch.ops.", "")
