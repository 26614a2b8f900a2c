"""Convolution and pooling: known numbers, every setting against torch, both forms of each gradient, the engine."""

import functools
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.lib.stride_tricks import sliding_window_view
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import torchbp
from tests.ops.test_rules import trained_alike
from torchbp import ops
from torchbp.ops.convolution import _formulas, _windows

EXACT = {"rtol": 1e-10, "atol": 1e-10}


def derivatives(function, *leaves):
    """The output, the gradients of a weighted sum of it, and those of their squares."""
    leaves = [leaf.detach().clone(memory_format=torch.preserve_format).requires_grad_() for leaf in leaves]
    output = function(*leaves)
    incoming = torch.linspace(-1, 2, output.numel(), dtype=output.dtype).view(output.shape)
    once = torch.autograd.grad(output, leaves, incoming)
    graph = torch.autograd.grad(function(*leaves), leaves, incoming.requires_grad_(), create_graph=True)
    twice = torch.autograd.grad(sum((g * g).sum() for g in graph), [*leaves, incoming], materialize_grads=True)
    return [output.detach(), *once, *twice]


def alike(ours, torchs, *leaves):
    torch.testing.assert_close(derivatives(ours, *leaves), derivatives(torchs, *leaves), **EXACT)


def double(*shape):
    return torch.randn(shape, dtype=torch.double)


# --- known numbers --------------------------------------------------------------------------------------------------


def test_a_convolution_by_hand():
    """x = 1 2 3, w = 10 1: z = 12 23. With dz = 1 2: dx = 1·(10 1 0) + 2·(0 10 1), dw = 1·(1 2) + 2·(2 3)."""
    x = torch.tensor([[[1.0, 2, 3]]], requires_grad=True)
    weight, bias = torch.tensor([[[10.0, 1]]], requires_grad=True), torch.zeros(1, requires_grad=True)
    z = ops.conv1d(x, weight, bias)
    assert z.tolist() == [[[12, 23]]]
    z.backward(torch.tensor([[[1.0, 2]]]))
    assert x.grad.tolist() == [[[10, 21, 2]]]
    assert weight.grad.tolist() == [[[5, 8]]]
    assert bias.grad.tolist() == [3]


def test_a_transposed_convolution_by_hand():
    """x = 1 2, w = 10 1: z = 1·(10 1 0) + 2·(0 10 1). With dz = 1 0 2: dx = (10, 2), dw = 1·(1 0) + 2·(0 2)."""
    x, weight = torch.tensor([[[1.0, 2]]], requires_grad=True), torch.tensor([[[10.0, 1]]], requires_grad=True)
    z = ops.conv_transpose1d(x, weight)
    assert z.tolist() == [[[10, 21, 2]]]
    z.backward(torch.tensor([[[1.0, 0, 2]]]))
    assert x.grad.tolist() == [[[10, 2]]]
    assert weight.grad.tolist() == [[[1, 4]]]


def test_the_three_convolutions_are_sums_over_windows():
    x, weight = double(3, 2, 7, 6).requires_grad_(), double(4, 2, 3, 2).requires_grad_()
    z = ops.conv2d(x, weight)
    dz = torch.randn_like(z)
    dx, dweight = torch.autograd.grad(z, (x, weight), dz)
    a, w, g = (t.detach().numpy() for t in (x, weight, dz))
    around = np.pad(g, ((0, 0), (0, 0), (2, 2), (1, 1)))
    expected = (
        np.einsum("nchwij,ocij->nohw", sliding_window_view(a, (3, 2), (2, 3)), w),
        np.einsum("nohwij,ocij->nchw", sliding_window_view(around, (3, 2), (2, 3)), w[..., ::-1, ::-1]),
        np.einsum("nchwij,noij->ochw", sliding_window_view(a, g.shape[2:], (2, 3)), g),
    )
    for got, by_numpy in zip((z, dx, dweight), expected, strict=True):
        np.testing.assert_allclose(got.detach().numpy(), by_numpy, rtol=1e-10, atol=1e-10)


def test_pooling_by_hand():
    x = torch.tensor([[1.0, 3, 2, 2]], requires_grad=True)
    for function, values, gradient in (
        (lambda x: ops.max_pool1d(x, 2, 1), [3, 3, 2], [0, 11, 100, 0]),  # of two that are equal, the first
        (lambda x: ops.avg_pool1d(x, 2, 1), [2, 2.5, 2], [0.5, 5.5, 55, 50]),
        (lambda x: ops.adaptive_avg_pool1d(x, 3), [2, 2.5, 2], [0.5, 5.5, 55, 50]),
    ):
        z = function(x)
        assert z.tolist() == [values]
        assert torch.autograd.grad(z, x, torch.tensor([[1.0, 10, 100]]))[0].tolist() == [gradient]


# --- every setting --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", [0, 1, (2, 0), "valid"], ids=str)
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), ((3, 1), (1, 2)), (2, 2)], ids=str)
def test_the_settings_of_convolution(stride, padding, dilation, groups):
    x, weight, bias = double(2, 4, 8, 7), double(6, 4 // groups, 3, 2), double(6)
    settings = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    alike(lambda *a: ops.conv2d(*a, **settings), lambda *a: F.conv2d(*a, **settings), x, weight, bias)
    z = F.conv2d(x, weight, **settings)
    numbers = [_formulas.per_dimension(n, 2) for n in (stride, 0 if padding == "valid" else padding)]
    numbers += [_formulas.per_dimension(dilation, 2), groups]
    dz = torch.randn_like(z)
    torch.testing.assert_close(
        _formulas.correlation(dz, x, (3, 2), *numbers), _formulas.kernel_gradient(dz, x, weight, *numbers), **EXACT
    )


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_padding_that_keeps_the_size(dims):
    ours, torchs = getattr(ops, f"conv{dims}d"), getattr(F, f"conv{dims}d")
    for kernel, dilation in itertools.product((2, 3), (1, 2)):
        x, weight = double(2, 2, *[4] * dims), double(2, 2, *[kernel] * dims)
        settings = {"padding": "same", "dilation": dilation}
        for value in (x, x[0]):
            alike(functools.partial(ours, **settings), functools.partial(torchs, **settings), value, weight)


@pytest.mark.parametrize("settings", [(3, 1, 2), ((2, 1), (0, 1), (1, 0)), (1, 2, (2, 1), 2, 3), (2, 0, 1, 2)], ids=str)
def test_the_settings_of_transposed_convolution(settings):
    """stride, padding, output_padding, groups, dilation; one output_padding is a step and more."""
    groups = settings[3] if len(settings) > 3 else 1
    x, weight, bias = double(2, 4, 3, 4), double(4, 6 // groups, 3, 2), double(6)
    alike(lambda *a: ops.conv_transpose2d(*a, *settings), lambda *a: F.conv_transpose2d(*a, *settings), x, weight, bias)


def memory(x):
    return (x, x.contiguous(memory_format=torch.channels_last), x[0])


MAX = [(2,), (3, 2, 1), (3, 1, 1, 2), ((3, 2), (2, 3), (1, 0), (1, 2), True), (2, 3, 0, 1, True)]
AVG = [(2,), (3, 2, 1), (3, 2, 1, True), (3, 2, 1, True, False), ((3, 2), (1, 3), (1, 0)), (2, 3, 1, False, False)]
AVG += [(3, 2, 1, True, True, 5), (2, 3, 0, True, True, -2)]
ADAPTIVE = [((1,),), ((3, 2),), ((8, 7),), ((None, 1),), ((5, 9),), (4,)]
POOLS = [
    *[("max_pool2d", settings) for settings in MAX],
    *[("avg_pool2d", settings) for settings in AVG],
    *[("adaptive_avg_pool2d", settings) for settings in ADAPTIVE if settings != ((1,),)],
]


@pytest.mark.parametrize(("name", "settings"), POOLS, ids=str)
def test_the_settings_of_pooling(name, settings):
    """In each memory format. The gradient is computed in place, and otherwise where it is differentiated again."""
    ours, torchs = getattr(ops, name), getattr(F, name)
    for x in memory(double(2, 3, 8, 7)):
        alike(lambda x: ours(x, *settings), lambda x: torchs(x, *settings), x)


def test_max_pooling_returns_indices():
    for dims in (1, 2, 3):
        x = torch.randn(2, 2, *[5] * dims, requires_grad=True)
        ours, torchs = (getattr(package, f"max_pool{dims}d")(x, 2, return_indices=True) for package in (ops, F))
        torch.testing.assert_close(ours, torchs, rtol=0, atol=0)
        assert ours[0].requires_grad
        assert not ours[1].requires_grad
        with torch.no_grad():
            module = getattr(torchbp.nn, f"MaxPool{dims}d")(2, return_indices=True)
            torch.testing.assert_close(module(x), torchs, rtol=0, atol=0)


def test_the_same_of_one_and_three_dimensions():
    for dims, size in ((1, (7,)), (3, (4, 5, 3))):
        x = double(2, 2, *size)
        for name, settings in (
            ("max_pool", (2, 1, 1)),
            ("avg_pool", (3, 2, 1, True, False)),
            ("adaptive_avg_pool", (2,)),
        ):
            ours, torchs = (getattr(package, f"{name}{dims}d") for package in (ops, F))
            alike(lambda x, f=ours, s=settings: f(x, *s), lambda x, f=torchs, s=settings: f(x, *s), x)


def test_an_infinite_gradient_stays_in_its_window():
    for function in (lambda x: ops.avg_pool2d(x, 2), lambda x: ops.adaptive_avg_pool2d(x, (2, 3))):
        x = torch.randn(1, 1, 4, 6, requires_grad=True)
        z = function(x)
        dz = torch.zeros_like(z)
        dz[0, 0, 0, 1] = torch.inf
        (dx,) = torch.autograd.grad(z, x, dz)
        assert dx.isinf().sum() == 4
        assert not dx.isnan().any()


# --- memory and work ------------------------------------------------------------------------------------------------


def test_the_memory_format_is_torchs():
    leaves = torch.randn(2, 4, 8, 8), torch.randn(4, 4, 3, 3)
    for formats in itertools.product((torch.contiguous_format, torch.channels_last), repeat=2):
        x, weight = (t.contiguous(memory_format=f).requires_grad_() for t, f in zip(leaves, formats, strict=True))
        for name, arguments in (
            ("conv2d", (x, weight, None, 1, 1)),
            ("conv_transpose2d", (x, weight)),
            ("max_pool2d", (x, 2)),
            ("avg_pool2d", (x, 3, 2, 1)),
            ("adaptive_avg_pool2d", (x, 4)),
            ("adaptive_avg_pool2d", (x, 3)),
        ):
            strides = []
            for package in (ops, F):
                z = getattr(package, name)(*arguments)
                wanted = [t for t in arguments if isinstance(t, torch.Tensor)]
                strides.append([t.stride() for t in (z, *torch.autograd.grad(z, wanted, torch.ones_like(z)))])
            assert strides[0] == strides[1], (name, formats)


class Convolutions(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if "convolution" in str(function):
            self.names.append(str(function))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["conv2d", "conv_transpose2d"])
def test_only_the_gradients_that_are_asked_for_are_computed(name):
    leaves = double(2, 2, 5, 5), double(2, 2, 3, 3), double(2)
    for needs in itertools.product((False, True), repeat=3):
        if any(needs):
            z = getattr(ops, name)(*(t.clone().requires_grad_(n) for t, n in zip(leaves, needs, strict=True)))
            with Convolutions() as mode:
                z.sum().backward()
            assert (
                mode.names == ["aten.convolution_backward.default"] * needs[1] + ["aten.convolution.default"] * needs[0]
            )


# --- modules, the engine, other modes -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_the_modes_of_padding(mode):
    for dims, padding in itertools.product((1, 2), (1, "same")):
        results = []
        for package in (torchbp.nn, nn):
            torch.manual_seed(2)
            layer = getattr(package, f"Conv{dims}d")(2, 3, 3, padding=padding, padding_mode=mode).double()
            results.append(
                derivatives(lambda x, layer=layer: layer(x), torch.ones(1, 2, *[5] * dims).double().cumsum(-1))
            )
        torch.testing.assert_close(*results, **EXACT)


def test_the_size_of_a_transposed_convolution_can_be_asked_for():
    ours, torchs = (package.ConvTranspose2d(2, 3, 3, stride=2) for package in (torchbp.nn, nn))
    torchs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 2, 4, 4)
    torch.testing.assert_close(ours(x, [10, 9]), torchs(x, [10, 9]))
    with pytest.raises(ValueError, match="valid sizes range"):
        ours(x, [12, 9])


def layers():
    return [
        *(nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.ReLU(), nn.MaxPool2d(2, 1)),
        *(nn.Conv2d(4, 4, (3, 2), padding="valid", groups=2, bias=False), nn.Tanh()),
        *(
            nn.ConvTranspose2d(4, 3, 2, stride=2, output_padding=1),
            nn.ReLU(),
            nn.AvgPool2d(2, 1, 1, count_include_pad=False),
        ),
        *(nn.AdaptiveAvgPool2d((2, 3)), nn.Flatten(), nn.ReLU(), nn.Linear(18, 2)),
    ]


def test_the_engine_trains_a_convolutional_network():
    model = nn.Sequential(*layers()).double()
    trained_alike(model, nn.MSELoss(), double(5, 2, 12, 9), double(5, 2), steps=6)
    one = nn.Sequential(nn.Conv1d(2, 3, 3, padding="same"), nn.Sigmoid(), nn.AvgPool1d(2), nn.Conv1d(3, 1, 2)).double()
    trained_alike(one, nn.MSELoss(), double(4, 2, 6), double(4, 1, 2), steps=4)
    for dims in (1, 3):
        pools = [getattr(nn, f"{kind}{dims}d")(2) for kind in ("MaxPool", "AdaptiveAvgPool")]
        conv, back = (getattr(nn, f"{kind}{dims}d")(1, 1, 2) for kind in ("Conv", "ConvTranspose"))
        model = nn.Sequential(conv, *pools, back, nn.Flatten(), nn.Linear(3**dims, 1)).double()
        trained_alike(model, nn.MSELoss(), double(3, 1, *[6] * dims), double(3, 1), steps=3)


def test_what_the_engine_refuses():
    for layer, why in (
        (nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), "its padding_mode is 'reflect'"),
        (nn.MaxPool2d(2, return_indices=True), "it returns indices"),
    ):
        model = nn.Sequential(nn.Conv2d(1, 1, 1), layer)
        with pytest.raises(TypeError, match=f"layer '1'.*is not supported: {why}"):
            torchbp.SGD(model, lr=0.1, loss=nn.MSELoss())


def test_autocast_is_torchs():
    for name in ("conv2d", "conv_transpose2d", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d"):
        x, weight = torch.randn(2, 3, 6, 6, requires_grad=True), torch.randn(3, 3, 2, 2, requires_grad=True)
        found = []
        for package in (ops, F):
            with torch.autocast("cpu", torch.bfloat16):
                z = getattr(package, name)(x, weight if "conv" in name else 2)
            found.append([z.dtype, z.detach().float(), torch.autograd.grad(z.sum(), x)[0]])
        assert found[0][0] is found[1][0]
        torch.testing.assert_close(found[0][1:], found[1][1:], rtol=2e-2, atol=2e-2)


@pytest.mark.usefixtures("fresh_compiler")
def test_a_compiled_network():
    """Of these sizes. Of any sizes, each operation by itself: test_whole_programs.py."""
    model, x = torchbp.convert(nn.Sequential(*layers()).double()), double(5, 2, 12, 9)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=False)
    found = []
    for call in (model, compiled):
        value = call(x).square().sum()
        found.append([value.detach(), *torch.autograd.grad(value, list(model.parameters()))])
    torch.testing.assert_close(*found, **EXACT)


x, w = torch.randn(2, 4, 5, 5), torch.randn(4, 4, 3, 3)
BAD = {
    "channels": ("conv2d", (x, w[:, :3])),
    "dimensions of weight": ("conv2d", (x, w[0])),
    "dimensions of input": ("conv2d", (x[0, 0], w)),
    "a bias of another size": ("conv2d", (x, w, torch.ones(3))),
    "a dtype": ("conv2d", (x, w.double())),
    "same with a stride": ("conv2d", (x, w, None, 2, "same")),
    "an unknown padding": ("conv2d", (x, w, None, 1, "full")),
    "a negative padding": ("conv2d", (x, w, None, 1, -1)),
    "a stride of 0": ("conv2d", (x, w, None, 0)),
    "strides": ("conv2d", (x, w, None, (1, 2, 3))),
    "a kernel larger than X": ("conv2d", (x[..., :2], w)),
    "groups": ("conv2d", (x, w, None, 1, 0, 1, 3)),
    "output_padding": ("conv_transpose2d", (x, w, None, 1, 0, 1)),
    "transposed channels": ("conv_transpose2d", (x, w[:3])),
    "transposed dimensions": ("conv_transpose2d", (x, w[0])),
    "padding of a maximum": ("max_pool2d", (x, 2, 2, 2)),
    "a window larger than X": ("max_pool2d", (x, 7)),
    "complex numbers": ("max_pool2d", (x + 0j, 2)),
    "a divisor of 0": ("avg_pool2d", (x, 2, None, 0, False, True, 0)),
    "padding of a mean": ("avg_pool2d", (x, 2, 2, 2)),
    "sizes of a mean": ("adaptive_avg_pool2d", (x, (1, 2, 3))),
    "dimensions of a mean": ("adaptive_avg_pool2d", (x[0, 0], 2)),
}


@pytest.mark.parametrize("which", BAD)
def test_bad_input_raises_torchs_class(which):
    name, (first, *others) = BAD[which]
    classes = []
    for package in (ops, F):
        with pytest.raises((RuntimeError, ValueError, IndexError)) as caught:
            getattr(package, name)(first.clone().requires_grad_(), *others)
        assert len(str(caught.value)) > 10
        classes.append(caught.type)
    assert classes[0] is classes[1]


def test_the_two_forms_of_the_gradient_of_a_mean():
    for size, kernel, stride, padding in itertools.product((5, 6, 9), (1, 2, 3), (1, 2, 3), (0, 1)):
        windows = (size + 2 * padding - kernel) // stride + 1
        if 2 * padding > kernel:
            continue
        shares = double(2, 3, windows)
        settings = 2, size, kernel, stride, padding
        expected = _windows.spread_functionally(shares, *settings)
        torch.testing.assert_close(_windows.spread_in_place(shares, 2, False, *settings[1:]), expected, **EXACT)


@pytest.mark.parametrize(("function", "expected"), [(ops.conv1d, 10_000), (ops.conv_transpose1d, 30_000)])
def test_a_kernel_of_float16_has_the_gradient_of_many_rows(function, expected):
    """On a CPU torch sums it in float16, where the sum of 20,000 ones ends at 2048."""
    x = torch.ones(20_000, 1, 3, dtype=torch.float16)
    weight = torch.ones(1, 1, 3, dtype=torch.float16, requires_grad=True)
    z = function(x, weight)
    z.backward(torch.full_like(z, 0.5))
    assert weight.grad.flatten().tolist() == pytest.approx([expected] * 3, rel=1e-3)
