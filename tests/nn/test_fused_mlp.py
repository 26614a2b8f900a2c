"""FusedMLP beside MLP: the same results, the same features, one node of the graph; or an error that names the child."""

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.nn.utils import prune

import torchbp
from torchbp import ops

ACTIVATIONS = ["sigmoid", "tanh", "relu"]


def pair(*sizes, activation="sigmoid", device="cpu", dtype=torch.float64):
    fused = torchbp.nn.FusedMLP(*sizes, activation=activation, device=device, dtype=dtype)
    layers = torchbp.nn.MLP(*sizes, activation=activation, device=device, dtype=dtype)
    layers.load_state_dict(fused.state_dict())
    return fused, layers


def gradients(net, value, x):
    wanted = [t for t in (x, *net.parameters()) if t.requires_grad]
    return [value.detach(), *torch.autograd.grad(value, wanted, torch.ones_like(value))]


def test_is_an_mlp():
    torch.manual_seed(0)
    fused = torchbp.nn.FusedMLP(3, 4, 2, activation="tanh")
    torch.manual_seed(0)
    layers = torchbp.nn.MLP(3, 4, 2, activation="tanh")
    assert isinstance(fused, torchbp.nn.MLP)
    assert [type(child) for child in fused] == [type(child) for child in layers]
    torch.testing.assert_close(fused.state_dict(), layers.state_dict(), rtol=0, atol=0)
    x = torch.randn(5, 3)
    torch.testing.assert_close(fused.predict_proba(x), layers.predict_proba(x))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("sizes", [(3, 1), (3, 4, 2), (3, 4, 5, 1)], ids=str)
@pytest.mark.parametrize("leading", [(), (6,), (2, 3), (0,)], ids=str)
def test_equals_the_layers(activation, sizes, leading, device):
    fused, layers = pair(*sizes, activation=activation, device=device)
    x = torch.randn(*leading, 3, dtype=torch.float64, device=device, requires_grad=True)
    y = torch.rand(*leading, sizes[-1], dtype=torch.float64, device=device)
    torch.testing.assert_close(gradients(fused, fused(x), x), gradients(layers, layers(x), x))
    expected = nn.functional.binary_cross_entropy_with_logits(layers(x), y)
    torch.testing.assert_close(gradients(fused, fused.loss(x, y), x), gradients(layers, expected, x), equal_nan=True)
    assert type(fused.loss(x, y).grad_fn).__name__ == "MLPBackward"


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_first_and_second_derivatives(activation, device):
    fused, _ = pair(3, 4, 2, activation=activation, device=device)
    x = torch.randn(5, 3, dtype=torch.float64, device=device, requires_grad=True)
    y = torch.rand(5, 2, dtype=torch.float64, device=device)
    parameters = [p.detach().requires_grad_() for p in fused.parameters()]
    for function in (
        lambda x, *p: ops.mlp(x, p[::2], p[1::2], activation),
        lambda x, *p: ops.mlp_binary_cross_entropy(x, y, p[::2], p[1::2], activation),
    ):
        assert gradcheck(function, (x, *parameters), check_batched_grad=True)
        assert gradgradcheck(function, (x, *parameters))


def test_a_saturated_wrong_answer_still_learns():
    fused = torchbp.nn.FusedMLP(1, 1)
    with torch.no_grad():
        fused[0].weight.fill_(40.0)
        fused[0].bias.fill_(0.0)
    fused.loss(torch.ones(1, 1), torch.zeros(1, 1)).backward()
    assert fused[0].weight.grad.item() == 1.0


@pytest.mark.parametrize(
    "frozen",
    [
        ["0.weight"],
        ["0.weight", "0.bias"],
        ["2.weight", "2.bias"],
        ["4.weight"],
        ["0.weight", "0.bias", "2.weight"],
        ["0.weight", "0.bias", "2.weight", "2.bias"],
    ],
    ids=str,
)
@pytest.mark.parametrize("needs_x", [False, True])
def test_frozen_parameters_are_skipped(frozen, needs_x):
    fused, layers = pair(3, 4, 5, 2)
    for net in (fused, layers):
        for name in frozen:
            net.get_parameter(name).requires_grad_(False)
    x = torch.randn(6, 3, dtype=torch.float64, requires_grad=needs_x)
    torch.testing.assert_close(gradients(fused, fused(x), x), gradients(layers, layers(x), x))
    fused(x).sum().backward()
    assert all(fused.get_parameter(name).grad is None for name in frozen)


def test_all_frozen_is_a_constant():
    fused, _ = pair(3, 4, 2)
    fused.requires_grad_(False)
    x = torch.randn(6, 3, dtype=torch.float64)
    assert not fused(x).requires_grad
    assert fused(x.requires_grad_()).requires_grad


def test_layers_under_the_first_that_learns_save_nothing():
    fused, _ = pair(100, 1000, 2)
    saved = []
    fused[0].requires_grad_(False)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (saved.append(t.shape), t)[1], lambda t: t):
        fused(torch.randn(7, 100, dtype=torch.float64))
    assert (1000, 100) not in saved
    assert (7, 100) not in saved
    assert (7, 1000) in saved


def test_targets_that_need_a_gradient_get_one():
    fused, layers = pair(3, 4, 1)
    x, y = torch.randn(6, 3, dtype=torch.float64), torch.rand(6, 1, dtype=torch.float64, requires_grad=True)
    expected = torch.autograd.grad(nn.functional.binary_cross_entropy_with_logits(layers(x), y), y)
    torch.testing.assert_close(torch.autograd.grad(fused.loss(x, y), y), expected)


def test_forward_mode_torch_func_autocast_and_no_grad():
    fused, layers = pair(3, 4, 2, dtype=torch.float32)
    x = torch.randn(6, 3)
    with forward_ad.dual_level():
        tangents = [forward_ad.unpack_dual(net(forward_ad.make_dual(x, x.cos()))).tangent for net in (fused, layers)]
    torch.testing.assert_close(*tangents)
    torch.testing.assert_close(*(torch.func.hessian(lambda x, n=net: n(x).sum())(x) for net in (fused, layers)))
    samples = [
        torch.vmap(
            torch.func.grad(lambda p, x, n=net: torch.func.functional_call(n, p, (x,)).sum()), in_dims=(None, 0)
        )(dict(net.named_parameters()), x)
        for net in (fused, layers)
    ]
    torch.testing.assert_close(*samples)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(fused(x), layers(x))
        assert fused.loss(x, torch.rand(6, 2)).dtype is torch.float32
    with torch.no_grad():
        torch.testing.assert_close(fused(x), layers(x))


@pytest.mark.usefixtures("fresh_compiler")
def test_compiles_whole():
    fused, layers = pair(3, 4, 2)
    x = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    compiled = torch.compile(fused, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(gradients(fused, compiled(x), x), gradients(layers, layers(x), x))


BROKEN = {
    "a forward hook": lambda net: net[0].register_forward_hook(lambda *_: None),
    "a forward pre-hook": lambda net: net[1].register_forward_pre_hook(lambda *_: None),
    "a backward hook": lambda net: net[0].register_full_backward_hook(lambda *_: None),
    "a backward pre-hook": lambda net: net[0].register_full_backward_pre_hook(lambda *_: None),
    "a replaced child": lambda net: net.__setitem__(1, nn.Tanh()),
    "a parametrization": lambda net: nn.utils.parametrizations.weight_norm(net[0]),
    "pruning": lambda net: prune.l1_unstructured(net[0], "weight", amount=1),
    "its own forward": lambda net: setattr(net[0], "forward", lambda x: x),
}


@pytest.mark.parametrize("breaking", BROKEN.values(), ids=BROKEN)
def test_refuses_a_child_that_it_cannot_honour(breaking):
    fused, _ = pair(3, 4, 2)
    x, y = torch.randn(6, 3, dtype=torch.float64), torch.rand(6, 2, dtype=torch.float64)
    breaking(fused)
    for call in (lambda: fused(x), lambda: fused.loss(x, y)):
        with pytest.raises(RuntimeError, match=r"child '[01]'.*use MLP"):
            call()


def test_refuses_another_number_of_children_and_a_hook_on_all_modules():
    fused, _ = pair(3, 4, 2)
    x = torch.randn(6, 3, dtype=torch.float64)
    handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        with pytest.raises(RuntimeError, match="use MLP"):
            fused(x)
    finally:
        handle.remove()
    fused(x)
    fused.append(nn.Sigmoid())
    with pytest.raises(RuntimeError, match="use MLP"):
        fused(x)


def test_bad_target():
    fused, _ = pair(3, 4, 2)
    x = torch.randn(6, 3, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"\[6, 1\].*\[6, 2\]"):
        fused.loss(x, torch.zeros(6, 1, dtype=torch.float64))
    with pytest.raises(RuntimeError, match="Long"):
        fused.loss(x, torch.zeros(6, 2, dtype=torch.int64))


def test_unknown_activation():
    with pytest.raises(ValueError, match="activation='swish'"):
        torchbp.nn.MLP(3, 2, activation="swish")
