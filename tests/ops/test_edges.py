"""Extreme values, saturated units, and bad input: as torch, in number and in error class."""

import math

import pytest
import torch
import torch.nn.functional as F

import torchbp
from torchbp import ops

PAIRS = {
    "probabilities": (ops.binary_cross_entropy, F.binary_cross_entropy),
    "logits": (ops.binary_cross_entropy_with_logits, F.binary_cross_entropy_with_logits),
}


def loss_and_gradient(function, value, target):
    value = value.clone().requires_grad_()
    loss = function(value, target, reduction="none")
    (gradient,) = torch.autograd.grad(loss.sum(), value)
    return loss.detach(), gradient


def test_saturated_logits(device):
    z = torch.tensor([0.0, 17, -17, 100, -100, 1e4, -1e4, torch.inf, -torch.inf], device=device)
    z, y = (t.flatten() for t in torch.meshgrid(z, torch.tensor([0.0, 0.25, 1], device=device), indexing="ij"))
    ours, torchs = (loss_and_gradient(function, z, y) for function in PAIRS["logits"])
    torch.testing.assert_close(ours[0], torchs[0], equal_nan=True, rtol=1e-6, atol=0)
    torch.testing.assert_close(ours[1], torchs[1], rtol=1e-6, atol=1e-7)
    assert ours[1].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("pos_weight", [None, 3.0])
def test_the_gradient_of_a_hard_label_is_exact_at_any_logit(dtype, pos_weight, device):
    """σ(Z) − y is 0 in float32 at Z = 17 and y = 1, and so is torch's gradient."""
    z = torch.tensor([0.0, 0.3, 5, 12, 17, 30, 60, 80], device=device, dtype=dtype)
    z = torch.cat([z, -z]).requires_grad_()
    p = None if pos_weight is None else torch.tensor(pos_weight, device=device, dtype=dtype)
    for label in (0.0, 1.0):
        y = torch.full_like(z, label)
        exact = z.double().sigmoid() if label == 0 else -(pos_weight or 1) * (-z.double()).sigmoid()
        loss = ops.binary_cross_entropy_with_logits(z, y, pos_weight=p, reduction="sum")
        (dz,) = torch.autograd.grad(loss, z, create_graph=True)
        torch.testing.assert_close(dz.double(), exact, rtol=2 * torch.finfo(dtype).eps, atol=0)
        slope = (pos_weight or 1) ** label * z.double().sigmoid() * (-z.double()).sigmoid()
        (second,) = torch.autograd.grad(dz.sum(), z)
        torch.testing.assert_close(
            second.double(), slope, rtol=4 * torch.finfo(dtype).eps, atol=4 * torch.finfo(dtype).eps
        )


@pytest.mark.parametrize(("dtype", "z"), [(torch.float32, 17.0), (torch.float64, 40.0), (torch.bfloat16, 12.0)])
@pytest.mark.parametrize("weights", [{}, {"weight": 2.0}, {"pos_weight": 3.0}, {"weight": 2.0, "pos_weight": 3.0}])
def test_every_way_to_the_gradient_of_a_hard_label_is_exact(dtype, z, weights):
    """The engine, an ensemble and the fused network: in float32 at Z = 17 and y = 1 the gradient is −4.14e−08."""
    loss = torchbp.nn.BCEWithLogitsLoss(**{name: torch.tensor([w], dtype=dtype) for name, w in weights.items()})
    expected = -math.prod(weights.values()) / (1 + math.exp(z))
    x, y = torch.ones(1, 1, dtype=dtype), torch.ones(1, 1, dtype=dtype)
    models = [torchbp.nn.MLP(1, 1, dtype=dtype, **members) for members in ({}, {"members": 2})]
    models += [torchbp.nn.FusedMLP(1, 1, dtype=dtype) for _ in range(1 if weights else 2)]
    for number, model in enumerate(models):
        *_, bias = model.parameters()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
            bias.fill_(z)
        if number < 2:
            torchbp.backprop(model, x, y, loss)
        else:
            (loss(model(x), y) if number == 2 else model.loss(x, y)).backward()
        found = bias.grad.double()
        torch.testing.assert_close(found, torch.full_like(found, expected), rtol=4 * torch.finfo(dtype).eps, atol=0)


def test_saturated_probabilities(device):
    z = torch.tensor([0.0, 17, -17, 100, -100, torch.inf, -torch.inf], device=device)
    a, y = (
        t.flatten() for t in torch.meshgrid(z.sigmoid(), torch.tensor([0.0, 0.25, 1], device=device), indexing="ij")
    )
    ours, torchs = (loss_and_gradient(function, a, y) for function in PAIRS["probabilities"])
    torch.testing.assert_close(ours, torchs, rtol=1e-6, atol=0)
    assert ours[0].max() == 100  # the clamp of the logarithm
    assert ours[1].abs().max() == 1e12  # and of the denominator


def test_saturated_sigmoid(device):
    z = torch.tensor([0.0, 17, -17, 100, -100, torch.inf, -torch.inf], device=device, requires_grad=True)
    for function in (ops.sigmoid, torch.sigmoid):
        a = function(z)
        (dz,) = torch.autograd.grad(a.sum(), z)
        torch.testing.assert_close(a.detach(), z.detach().sigmoid(), rtol=0, atol=0)
        torch.testing.assert_close(dz, a.detach() * (1 - a.detach()), rtol=0, atol=0)


def test_only_the_logit_form_learns_from_a_saturated_wrong_answer():
    z = torch.tensor([20.0], requires_grad=True)
    y = torch.zeros(1)
    assert torch.autograd.grad(ops.binary_cross_entropy(ops.sigmoid(z), y), z)[0] == 0
    assert torch.autograd.grad(ops.binary_cross_entropy_with_logits(z, y), z)[0] == 1


def test_linear_raises_torchs_class():
    x, weight = torch.randn(4, 3, requires_grad=True), torch.randn(2, 5)
    for function in (ops.linear, F.linear):
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            function(x, weight)


@pytest.mark.parametrize("pair", PAIRS)
def test_without_a_graph_a_weight_may_require_a_gradient(pair):
    value, y, weight = torch.rand(3, 4, 3).unbind()
    with torch.no_grad():
        results = [function(value, y, weight.clone().requires_grad_()) for function in PAIRS[pair]]
    torch.testing.assert_close(*results)


ELEMENTS = {
    "gelu": ops.gelu,
    "gelu tanh": lambda z: ops.gelu(z, approximate="tanh"),
    "mish": ops.mish,
    "silu": ops.silu,
}
TORCHS = {"gelu": F.gelu, "gelu tanh": lambda z: F.gelu(z, approximate="tanh"), "mish": F.mish, "silu": F.silu}


@pytest.mark.parametrize("name", ELEMENTS)
@pytest.mark.parametrize("z", [torch.tensor([1, 2]), torch.tensor([True]), None, [1.0]], ids=str)
def test_what_is_no_tensor_of_real_numbers_is_torchs_error(name, z):
    errors = []
    for function in (ELEMENTS[name], TORCHS[name]):
        with pytest.raises((TypeError, RuntimeError, NotImplementedError)) as error:
            function(z)
        errors.append(error.type)
    assert errors[0] is errors[1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_second_derivative_far_below_0(dtype):
    for ours in (ops.mish, ops.silu, ELEMENTS["gelu tanh"]):
        z = torch.tensor([-3e38, -900.0, -90.0], dtype=dtype, requires_grad=True)
        (first,) = torch.autograd.grad(ours(z).sum(), z, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), z)
        assert first.abs().max() < 1e-30
        assert second.abs().max() < 1e-30


def test_forward_mode_of_forward_mode():
    """torch's Functions with a `jvp` give zeros there."""
    torch.manual_seed(0)
    weights = torch.randn(3, 2, dtype=torch.double), torch.randn(1, 3, dtype=torch.double)

    def network(package, x):
        return package.linear(package.tanh(package.layer_norm(package.linear(x, weights[0]), (3,))), weights[1]).sum()

    x = torch.randn(2, dtype=torch.double)
    for transform in (torch.func.jacfwd, torch.func.jacrev):
        found, expected = (transform(torch.func.jacfwd(lambda x, p=p: network(p, x)))(x) for p in (ops, Torchs))
        torch.testing.assert_close(found, expected)
        assert expected.abs().max() > 0.01


class Torchs:
    linear, tanh, layer_norm = staticmethod(F.linear), staticmethod(torch.tanh), staticmethod(F.layer_norm)
