"""Layers that normalise: their kernel and their formulas, running statistics, precision, errors, and the engine."""

import copy
import re

import pytest
import torch
import torch.nn.functional as F

import torchbp
from torchbp import ops
from torchbp.ops.normalisation.layer_norm import by_formulas, by_kernel


def test_the_kernel_of_layer_norm_computes_the_formulas():
    x, dz, weight = torch.randn(4, 2, 3).double(), torch.randn(4, 2, 3).double(), torch.rand(2, 3).double()
    for w, needs in ((weight, [True] * 3), (None, [True, False, False])):
        _, mean, rstd = torch.native_layer_norm(x, (2, 3), w, w, 1e-5)
        found = by_kernel(dz, x, mean, rstd, w, (2, 3), needs)
        for a, b in zip(found, by_formulas(dz, x, w, (2, 3), 1e-5, needs), strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_layer_norm_by_hand():
    """x = (1, 3): μ = 2, σ = 1, x̂ = (−1, 1); dx is 0, since two numbers at mean 0 and variance 1 are fixed."""
    x = torch.tensor([1.0, 3.0], dtype=torch.double, requires_grad=True)
    z = ops.layer_norm(x, (2,), torch.tensor([2.0, 3.0]).double(), torch.tensor([0.5, 1.0]).double(), eps=0.0)
    torch.testing.assert_close(z.detach(), torch.tensor([-1.5, 4.0]).double())
    torch.testing.assert_close(torch.autograd.grad(z[1], x)[0], torch.zeros(2).double())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("operation", ["layer_norm", "batch_norm"])
@pytest.mark.parametrize("wide", [False, True])
def test_half_precision_is_at_least_as_exact_as_torchs(operation, dtype, wide):
    """float32 inside; w and b may be float32 too. The error is measured to float64 of the same rounded numbers."""
    torch.manual_seed(0)
    x, dz = (torch.randn(64, 32) * 3 + 5).to(dtype), torch.randn(64, 32).to(dtype)
    weight, bias = (torch.rand(32).to(torch.float32 if wide else dtype) for _ in range(2))

    def results(package, to):
        leaves = [t.to(to or t.dtype).requires_grad_() for t in (x, weight, bias)]
        if operation == "layer_norm":
            z = package.layer_norm(leaves[0], (32,), *leaves[1:])
        else:
            z = package.batch_norm(leaves[0], None, None, *leaves[1:], training=True)
        return [z, *torch.autograd.grad(z, leaves, dz.to(z.dtype))]

    ours, torchs, exact = results(ops, None), results(F, None), results(F, torch.float64)
    for a, b, true in zip(ours, torchs, exact, strict=True):
        assert a.dtype is b.dtype
        error, allowed = ((value.double() - true).abs().max() for value in (a, b))
        assert error <= 1.01 * allowed + 1e-6


@pytest.mark.parametrize("offset", [0, 1e4])
@pytest.mark.parametrize("size", [1e-15, 1e-3, 1, 1e15])
def test_batch_norm_is_as_exact_as_torchs(size, offset):
    """Large means, small and large variances, in float32, against float64 of the same numbers."""
    torch.manual_seed(0)
    x, dz = size * (offset + torch.randn(256, 5)), torch.randn(256, 5)

    def results(function, to):
        leaf, weight = x.to(to).requires_grad_(), torch.linspace(0.5, 2, 5, dtype=to).requires_grad_()
        z = function(leaf, None, None, weight, training=True, eps=1e-30)
        return [z, *torch.autograd.grad(z, [leaf, weight], dz.to(to))]

    exact = results(F.batch_norm, torch.float64)
    for a, b, true in zip(
        results(ops.batch_norm, torch.float32), results(F.batch_norm, torch.float32), exact, strict=True
    ):
        error, allowed = ((value.double() - true).abs().max() for value in (a, b))
        assert error <= 2 * allowed + 1e-6 * true.abs().max()


SETTINGS = [
    {},
    {"momentum": None},
    {"momentum": 0.3, "affine": False},
    {"track_running_stats": False},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize(
    ("name", "shape"), [("BatchNorm1d", (6, 3)), ("BatchNorm2d", (4, 3, 2, 2)), ("BatchNorm3d", (2, 3, 1, 2, 2))]
)
def test_running_statistics_are_those_of_torch(name, shape, settings):
    ours, torchs = (getattr(package, name)(3, **settings) for package in (torchbp.nn, torch.nn))
    for grad in (True, False, True):
        x = torch.randn(shape)
        with torch.set_grad_enabled(grad):
            torch.testing.assert_close(ours(x), torchs(x))
        torch.testing.assert_close(ours.state_dict(), torchs.state_dict())
    ours.eval(), torchs.eval()
    torch.testing.assert_close(ours(x), torchs(x))
    torch.testing.assert_close(ours.state_dict(), torchs.state_dict())
    if ours.num_batches_tracked is not None:
        assert ours.num_batches_tracked == 3


def model(**settings):
    torch.manual_seed(0)
    layers = [torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4, **settings), torch.nn.Tanh(), torch.nn.Linear(4, 2)]
    return torch.nn.Sequential(*layers).double()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_engine_updates_the_statistics_once_a_step(settings, training):
    ours = model(**settings).train(training)
    theirs, loss = copy.deepcopy(ours), torch.nn.MSELoss()
    optimizer = torchbp.SGD(ours, lr=0.1, momentum=0.9, loss=loss)
    reference = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9)
    for _ in range(5):
        x, y = torch.randn(6, 3).double(), torch.randn(6, 2).double()
        value = optimizer.backprop_step(x, y)
        reference.zero_grad()
        expected = loss(theirs(x), y)
        expected.backward()
        reference.step()
        torch.testing.assert_close(value, expected.detach(), rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-10, atol=1e-11)


def test_the_engine_sees_a_change_of_mode():
    ours, (x, y) = model(), (torch.randn(6, 3).double(), torch.randn(6, 2).double())
    optimizer = torchbp.SGD(ours, lr=0.0, loss=torch.nn.MSELoss())
    optimizer.backprop_step(x, y)
    before = ours[1].running_mean.clone()
    ours.eval()
    expected = torch.nn.functional.mse_loss(ours(x), y)
    torch.testing.assert_close(optimizer.backprop_step(x, y), expected.detach())
    assert torch.equal(ours[1].running_mean, before)


X = torch.zeros(4, 3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"weight": torch.ones(4)}, RuntimeError, "weight has the shape (4,); give (3,), a number for each channel"),
        ({"bias": torch.ones(2)}, RuntimeError, "bias has the shape (2,)"),
        (
            {"running_mean": torch.ones(2), "running_var": torch.ones(3)},
            RuntimeError,
            "running_mean has the shape (2,)",
        ),
        ({"running_mean": torch.ones(3)}, RuntimeError, "running_mean or running_var is None; give both"),
        ({"training": False}, RuntimeError, "running_mean is None; outside training"),
        ({"eps": 0.0}, ValueError, "eps=0.0 is not positive"),
        ({"input": torch.zeros(1, 3)}, ValueError, "input (1, 3) has one number in each channel"),
    ],
    ids=lambda value: "",
)
def test_what_batch_norm_refuses(arguments, error, message):
    arguments = {"input": X, "running_mean": None, "running_var": None, "training": True, **arguments}
    with pytest.raises(error, match=re.escape(message)):
        ops.batch_norm(**arguments)


def test_what_layer_norm_refuses():
    for function in (ops.layer_norm, F.layer_norm):
        with pytest.raises(RuntimeError, match=re.escape("Given normalized_shape=[4]")):
            function(X, (4,))
