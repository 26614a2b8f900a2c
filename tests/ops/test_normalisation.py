"""Layers that normalise: their kernel and their formulas, running statistics, precision, errors, and the engine."""

import copy
import re

import pytest
import torch
import torch.nn.functional as F

import torchbp
from tests.ops.test_rules import trained_alike
from torchbp import ops
from torchbp.ops.normalisation import batch_norm, group_norm
from torchbp.ops.normalisation._in_evaluation import in_evaluation_by_formulas
from torchbp.ops.normalisation.layer_norm import layer_norm_by_formulas, layer_norm_by_kernel


def test_the_kernel_of_layer_norm_computes_the_formulas():
    x, dz, weight = torch.randn(4, 2, 3).double(), torch.randn(4, 2, 3).double(), torch.rand(2, 3).double()
    for w, needs in ((weight, [True] * 3), (None, [True, False, False])):
        _, mean, rstd = torch.native_layer_norm(x, (2, 3), w, w, 1e-5)
        found = layer_norm_by_kernel(dz, x, mean, rstd, w, (2, 3), needs)
        for a, b in zip(found, layer_norm_by_formulas(dz, x, w, (2, 3), 1e-5, needs), strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("needs", [[True] * 3, [True, False, False], [False, True, True]], ids=str)
@pytest.mark.parametrize("weighted", [True, False])
def test_the_kernel_of_batch_norm_computes_the_formulas(weighted, needs):
    x, dz, mean = torch.randn(4, 3, 2).double(), torch.randn(4, 3, 2).double(), torch.randn(3).double()
    weight, var = torch.rand(3).double() if weighted else None, 0.5 + torch.rand(3).double()
    _, *of_batch = torch.native_batch_norm(x, weight, None, None, None, True, 0.0, 1e-5)
    for found, expected in (
        (
            batch_norm.batch_norm_by_kernel(dz, x, weight, None, None, *of_batch, True, 1e-5, needs),
            batch_norm.batch_norm_by_formulas(dz, x, weight, 1e-5, needs),
        ),
        (
            batch_norm.batch_norm_by_kernel(dz, x, weight, mean, var, None, None, False, 1e-5, needs),
            in_evaluation_by_formulas(dz, x, weight, mean, var, 1e-5, needs),
        ),
    ):
        assert [a is not None for a in found] == [b is not None for b in expected] == needs
        for a, b in zip(found, expected, strict=True):
            if a is not None:
                torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_the_kernel_of_group_norm_computes_the_formulas(layout):
    x, dz = (torch.randn(3, 4, 2, 2).double().contiguous(memory_format=layout) for _ in range(2))
    for weight, needs in ((torch.rand(4).double(), [True] * 3), (None, [True, False, False])):
        _, mean, rstd = group_norm.forward_and_statistics(x, weight, None, 2, 1e-5)
        found = group_norm.group_norm_by_kernel(dz, x, mean, rstd, weight, 2, needs)
        for a, b in zip(found, group_norm.group_norm_by_formulas(dz, x, weight, 2, 1e-5, needs), strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_one_row_of_any_stride():
    """The stride of the only row says nothing, and torch's kernel of batch norm takes the order of dz from it."""
    x, dz = torch.randn(1, 2, 2, 3).double().requires_grad_(), torch.randn(1, 2, 2, 3).double()
    strange = torch.empty_strided((1, 2, 2, 3), (2, 1, 6, 2)).double().copy_(dz)
    z = ops.batch_norm(x, None, None, training=True)
    torch.testing.assert_close(*(torch.autograd.grad(z, x, g, retain_graph=True) for g in (strange, dz)))


def test_rms_norm_by_hand():
    """x = (3, 4, 0, 0): the root mean square is 5/2; dx of z_3 is w_3 2/5, of z_0 it is w_0 2/5 (1 − 9/25, −12/25)."""
    x = torch.tensor([3.0, 4.0, 0.0, 0.0], dtype=torch.double, requires_grad=True)
    z = ops.rms_norm(x, (4,), torch.tensor([2.0, 1.0, 1.0, 3.0]).double(), eps=0.0)
    torch.testing.assert_close(z.tolist(), [2.4, 1.6, 0.0, 0.0])
    for place, expected in ((3, [0.0, 0.0, 0.0, 1.2]), (0, [0.8 * 16 / 25, -0.8 * 12 / 25, 0.0, 0.0])):
        (dx,) = torch.autograd.grad(z[place], x, retain_graph=True)
        torch.testing.assert_close(dx.tolist(), expected)


def test_rms_norm_without_eps_takes_that_of_its_dtype():
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        x = torch.full((1, 2), 1e-4, dtype=dtype)
        torch.testing.assert_close(ops.rms_norm(x.requires_grad_(), (2,)), F.rms_norm(x, (2,)))


def test_layer_norm_by_hand():
    """x = (1, 3): μ = 2, σ = 1, x̂ = (−1, 1); dx is 0, since two numbers at mean 0 and variance 1 are fixed."""
    x = torch.tensor([1.0, 3.0], dtype=torch.double, requires_grad=True)
    z = ops.layer_norm(x, (2,), torch.tensor([2.0, 3.0]).double(), torch.tensor([0.5, 1.0]).double(), eps=0.0)
    torch.testing.assert_close(z.detach(), torch.tensor([-1.5, 4.0]).double())
    torch.testing.assert_close(torch.autograd.grad(z[1], x)[0], torch.zeros(2).double())


CALLS = {
    "layer_norm": lambda package, x, w, b: package.layer_norm(x, (32,), w, b),
    "batch_norm": lambda package, x, w, b: package.batch_norm(x, None, None, w, b, training=True),
    "batch_norm in evaluation": lambda package, x, w, b: package.batch_norm(x, w.detach() * 8, 9 + w.detach(), w, b),
    "rms_norm": lambda package, x, w, b: package.rms_norm(x, (32,), w, 1e-5) + b,
    "group_norm": lambda package, x, w, b: package.group_norm(x, 4, w, b),
    "instance_norm": lambda package, x, w, b: package.instance_norm(x.view(8, 8, 32).mT, None, None, w, b),
}


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")  # of torch's rms_norm
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("operation", CALLS)
@pytest.mark.parametrize("wide", [False, True])
def test_half_precision_is_at_least_as_exact_as_torchs(operation, dtype, wide):
    """float32 inside; w and b may be float32 too. The error is measured to float64 of the same rounded numbers."""
    torch.manual_seed(0)
    x = (torch.randn(64, 32) * 3 + 5).to(dtype)
    weight, bias = (torch.rand(32).to(torch.float32 if wide else dtype) for _ in range(2))

    def results(package, to):
        leaves = [t.to(to or t.dtype).requires_grad_() for t in (x, weight, bias)]
        z = CALLS[operation](package, *leaves)
        dz = torch.linspace(-1, 2, z.numel()).view(z.shape).to(dtype)
        return [z, *torch.autograd.grad(z, leaves, dz.to(z.dtype))]

    ours, torchs, exact = results(ops, None), results(F, None), results(F, torch.float64)
    for a, b, true in zip(ours, torchs, exact, strict=True):
        assert a.dtype is b.dtype
        error, allowed = ((value.double() - true).abs().max() for value in (a, b))
        assert error <= 1.01 * allowed + 1e-6 * (1 + true.abs().max())


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


@pytest.mark.parametrize(
    "settings",
    [
        {"affine": True},
        {"track_running_stats": True},
        {"track_running_stats": True, "momentum": None, "affine": True},
        {"track_running_stats": True, "momentum": 0.3},
    ],
    ids=str,
)
@pytest.mark.parametrize(("d", "places"), [(1, (4,)), (2, (2, 2)), (3, (1, 2, 2))])
def test_instance_norm_has_torchs_running_statistics(d, places, settings):
    ours, torchs = (getattr(package, f"InstanceNorm{d}d")(3, **settings) for package in (torchbp.nn, torch.nn))
    for shape in ((2, 3, *places), (3, *places)):  # rows, and one row alone
        for training in (True, False):
            x = torch.randn(shape, requires_grad=True)
            ours.train(training), torchs.train(training)
            for module in (ours, torchs):
                assert module(x).shape == shape
            results = [torch.autograd.grad(module(x).square().sum(), x) for module in (ours, torchs)]
            torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(ours.state_dict(), torchs.state_dict())


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


def test_the_functions_in_torch_with_other_arguments():
    x, w, b = torch.randn(2, 4, 3, requires_grad=True), torch.rand(4), torch.rand(4)
    mean, var, table = torch.rand(4), torch.rand(4), torch.rand(5, 3, requires_grad=True)
    for call in (
        lambda: torch.layer_norm(x, (4, 3), cudnn_enable=False),
        lambda: torch.rms_norm(x, (3,)),
        lambda: torch.group_norm(x, 2, w, b, 0.1),
        lambda: torch.batch_norm(x, w, b, mean, var, False, 0.1, 0.2, False),
        lambda: torch.instance_norm(x, w, b, None, None, True, 0.1, 0.2, False),
        lambda: torch.embedding(table, torch.tensor([4, 1]), 1),
        lambda: torch.dropout(x, 0.4, True),
    ):
        torch.manual_seed(0)
        expected = call()
        torch.manual_seed(0)
        with torchbp.formulas():
            found = call()
        assert "BackwardCFunction" in str(type(found.grad_fn).__mro__)
        torch.testing.assert_close(found, expected)


LAYERS = {
    "RMSNorm": (lambda: torch.nn.RMSNorm(4), (6, 3)),
    "GroupNorm": (lambda: torch.nn.GroupNorm(2, 4), (6, 3)),
    "InstanceNorm1d": (lambda: torch.nn.InstanceNorm1d(2, affine=True, track_running_stats=True), (3, 2, 3)),
    "InstanceNorm1d without parameters": (lambda: torch.nn.InstanceNorm1d(2), (3, 2, 3)),
    "InstanceNorm1d of one row": (lambda: torch.nn.InstanceNorm1d(6, affine=True), (6, 3)),
    "InstanceNorm2d": (lambda: torch.nn.InstanceNorm2d(2, affine=True), (3, 2, 2, 3)),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_the_engine_runs_every_layer_that_normalises(name, training):
    made, shape = LAYERS[name]
    torch.manual_seed(0)
    layers = [torch.nn.Linear(3, 4), made(), torch.nn.Tanh(), torch.nn.Linear(4, 2)]
    net = torch.nn.Sequential(*layers).double().train(training)
    for p in net[1].parameters():
        torch.nn.init.uniform_(p, 0.5, 1.5)
    trained_alike(net, torch.nn.MSELoss(), torch.randn(shape).double(), torch.randn(*shape[:-1], 2).double(), steps=4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["BatchNorm1d", "InstanceNorm1d"])
def test_the_engine_is_as_exact_in_half_precision(name, dtype):
    """In evaluation: rstd = 1/√(σ²_r + eps) is not rounded before it is used, nor is x̂."""
    torch.manual_seed(0)
    layer = getattr(torch.nn, name)(8, affine=True, track_running_stats=True).eval()
    for tensor in (*layer.parameters(), layer.running_mean, layer.running_var):
        torch.nn.init.uniform_(tensor, 0.5, 2.0)
    layer = layer.to(dtype)
    x, y, loss = (3 * torch.randn(64, 8, 5) + 5).to(dtype), torch.randn(64, 8, 5).to(dtype), torch.nn.MSELoss()

    def gradients(to, step):
        net = torch.nn.Sequential(copy.deepcopy(layer), copy.deepcopy(layer)).to(to)  # dx of the second, dw of both
        step(net, x.to(to), y.to(to))
        return torch.stack([p.grad.double() for p in net.parameters()])

    def by_autograd(net, x, y):
        loss(net(x), y).backward()

    exact, torchs = (gradients(to, by_autograd) for to in (torch.float64, dtype))
    ours = gradients(dtype, lambda net, x, y: torchbp.backprop(net, x, y, loss))
    errors = [(found - exact).norm() / exact.norm() for found in (ours, torchs)]
    assert errors[0] <= 1.05 * errors[1], errors


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
        ({"running_mean": torch.ones(3)}, ValueError, "running_var is None, and the other is given; give both"),
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


ONES, DOUBLE = {n: torch.ones(n) for n in (2, 3, 4)}, torch.ones(3).double()
WRONG = {
    "layer_norm": [
        ({"normalized_shape": (4,)}, RuntimeError, "Given normalized_shape=[4]"),
        ({"normalized_shape": (3,), "weight": ONES[2]}, RuntimeError, "weight of shape [2]"),
        ({"normalized_shape": (3,), "bias": DOUBLE}, RuntimeError, "layer_norm: bias is torch.float64; give torch.flo"),
        ({"normalized_shape": (3,), "input": X.long()}, NotImplementedError, "not implemented for 'Long'"),
    ],
    "batch_norm": [
        ({"weight": DOUBLE, "training": True}, RuntimeError, "batch_norm: weight is torch.float64; give torch.float32"),
        (
            {"input": X.bfloat16(), "running_mean": DOUBLE, "running_var": DOUBLE, "training": True},
            RuntimeError,
            "running_mean is torch.float64; give torch.bfloat16 or torch.float32, as input is",
        ),
    ],
    "rms_norm": [
        ({"normalized_shape": (4,)}, RuntimeError, "Given normalized_shape=[4]"),
        ({"normalized_shape": (3,), "weight": ONES[2]}, RuntimeError, "weight of shape [2]"),
        ({"normalized_shape": ()}, RuntimeError, "at least 1-dimensional"),
        ({"normalized_shape": (3,), "input": X.long()}, NotImplementedError, "not implemented for 'Long'"),
    ],
    "group_norm": [
        ({"num_groups": 2}, RuntimeError, "divisible by num_groups, but got input of shape [4, 3] and num_groups=2"),
        ({"num_groups": -3}, RuntimeError, "num groups to be greater than 0, got -3"),
        ({"num_groups": 3, "weight": ONES[4]}, RuntimeError, "weight of shape [4] and input of shape [4, 3]"),
        ({"num_groups": 3, "bias": ONES[2]}, RuntimeError, "input of shape [4, 3]"),
        ({"num_groups": 3, "input": X[:1]}, ValueError, "more than 1 value per channel"),
        ({"num_groups": 1, "input": X[0]}, RuntimeError, "at least 2 dimensions"),
        (
            {"num_groups": 0},
            ZeroDivisionError,
            "group_norm: num_groups=0; give a divisor of the channels of input (4, 3",
        ),
        ({"num_groups": 3, "weight": DOUBLE}, RuntimeError, "group_norm: weight is torch.float64; give torch.float32"),
    ],
    "instance_norm": [
        ({"weight": ONES[4]}, RuntimeError, "weight has the shape (4,); give (3,), a number for each channel"),
        ({"running_mean": ONES[3]}, ValueError, "running_var is None, and the other is given"),
        ({"running_mean": ONES[2], "running_var": ONES[3]}, RuntimeError, "running_mean has the shape (2,)"),
        ({"use_input_stats": False}, RuntimeError, "running_mean is None; outside training"),
        ({"input": X}, ValueError, "input (4, 3) has one number in each channel"),
        ({"bias": DOUBLE}, RuntimeError, "instance_norm: bias is torch.float64; give torch.float32"),
        (
            {"input": X[0], "running_mean": ONES[3], "running_var": ONES[3], "use_input_stats": False},
            IndexError,
            "instance_norm: input has the shape (3,); give (N, C, …)",
        ),
    ],
}


@pytest.mark.parametrize(("name", "wrong"), [(name, wrong) for name in WRONG for wrong in WRONG[name]])
def test_what_is_refused_by(name, wrong):
    arguments, error, message = wrong
    x = torch.zeros(4, 3, 2) if name == "instance_norm" else X
    arguments = {"input": x, **dict.fromkeys(("running_mean", "running_var") if "batch" in name else ()), **arguments}
    with pytest.raises(error, match=re.escape(message)):
        getattr(ops, name)(**arguments)
    with pytest.raises(error):
        getattr(F, name)(**arguments)


def test_instance_norm_of_other_channels():
    x = torch.randn(2, 4, 3)
    with pytest.raises(ValueError, match=re.escape("InstanceNorm1d: input (2, 4, 3) has 4 channels, and num_feature")):
        torchbp.nn.InstanceNorm1d(3, affine=True)(x)
    with pytest.warns(UserWarning, match="has 4 channels, and num_features=3, which is not used with affine=False"):
        z = torchbp.nn.InstanceNorm1d(3)(x)
    torch.testing.assert_close(z, F.instance_norm(x))


@pytest.mark.parametrize("training", [True, False])
def test_parameters_of_any_stride(training):
    """torch's own kernel for matrices reads them as contiguous."""
    torch.manual_seed(0)
    x, dz = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3)
    wide = torch.rand(3, 4) + 0.5
    gradients = []
    for weight, bias, mean, var in (wide.T, wide.T.contiguous()):
        running = () if training else (mean, var)
        z = ops.batch_norm(x, *(running or (None, None)), weight, bias, training)
        gradients.append(torch.autograd.grad(z, x, dz)[0])
    torch.testing.assert_close(*gradients)
