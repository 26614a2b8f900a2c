"""Whatever may be written into torch's output may be written into ours: the same numbers, in every way to call them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

import torchbp
from tests.cases import CASES, that_require
from torchbp import ops


def zero_a_column(z):
    z[..., 0] = 0
    return z


def add_positions(z):
    z += torch.arange(z.shape[-1], dtype=z.dtype, device=z.device)
    return z


def write_into_a_view(z):
    z.view(-1)[1:].mul_(2)
    return z


USES = {
    "relu_": torch.relu_,
    "+=": add_positions,
    "z[..., 0] = 0": zero_a_column,
    "dropout": lambda z: F.dropout(z, 0.0, inplace=True),
    "masked_fill_": lambda z: z.masked_fill_(z > 0, 0.5),
    "a view": write_into_a_view,
    "another shape": lambda z: z.unsqueeze_(0),
}


def members(x, weight, bias):
    return torch.baddbmm(bias.unsqueeze(1), x.expand(len(weight), *x.shape[-2:]), weight.mT)


OF_ONE, OF_MEMBERS = ((4, 3), (4,)), ((2, 4, 3), (2, 4))
LAYERS = {
    "linear": (ops.linear, F.linear, OF_ONE, [(3,), (5, 3), (2, 5, 3), (2, 1, 5, 3), (2, 0, 3)]),
    "one output": (ops.linear, F.linear, ((3,), ()), [(3,), (2, 5, 3)]),
    "mlp": (lambda x, w, b: ops.mlp(x, [w], [b]), F.linear, OF_ONE, [(3,), (5, 3), (2, 5, 3)]),
    "ensemble_scale": (
        ops.ensemble_scale,
        lambda x, w, b: x * w.unsqueeze(1) + b.unsqueeze(1),
        ((2, 3), (2, 3)),
        [(5, 3), (2, 5, 3)],
    ),
    "ensemble_linear": (ops.ensemble_linear, members, OF_MEMBERS, [(5, 3), (2, 5, 3)]),
}
CALLS = [
    pytest.param(ours, torchs, x, parameters, id=f"{name} {list(x)}")
    for name, (ours, torchs, parameters, inputs) in LAYERS.items()
    for x in inputs
]


def gradients(function, x, *parameters):
    leaves = [t.clone().requires_grad_() for t in (x, *parameters)]
    output = function(*leaves)
    first = torch.autograd.grad(output.square().sum(), leaves, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), leaves)
    return [output.detach(), *first, *second]


def all_functional(function):
    return torch.func.grad(lambda *leaves: function(*leaves).square().sum(), argnums=(0, 1, 2))


def mapped(function, x, *parameters):
    batch = torch.stack([x, 2 * x])
    own = [torch.stack([p, 2 * p]) for p in parameters]
    return [
        torch.vmap(function, in_dims=(0, None, None))(batch, *parameters),
        torch.vmap(function)(batch, *own),
        *torch.vmap(all_functional(function), in_dims=(0, None, None))(batch, *parameters),
    ]


def tangents(function, x, *parameters):
    with forward_ad.dual_level():
        learnt = [p.clone().requires_grad_() for p in parameters]
        dual = forward_ad.unpack_dual(function(forward_ad.make_dual(x, x.cos()), *learnt))
        both = [dual.primal.detach(), dual.tangent.detach()]
    return [*both, *torch.func.jvp(function, (x, *parameters), (x.cos(), *(p.sin() for p in parameters)))]


WAYS = {
    "autograd": gradients,
    "torch.func.grad": lambda function, *leaves: all_functional(function)(*leaves),
    "vmap": mapped,
    "forward": tangents,
    "checkpoint": lambda function, *leaves: gradients(
        lambda *a: checkpoint(function, *a, use_reentrant=False), *leaves
    ),
}


@pytest.mark.parametrize(("ours", "torchs", "x", "parameters"), CALLS)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_an_output_may_be_written_into(ours, torchs, x, parameters, way, device):
    leaves = [torch.randn(shape, dtype=torch.double, device=device) for shape in (x, *parameters)]
    refused = 0
    for name, use in USES.items():
        try:
            expected = way(lambda *a, use=use: use(torchs(*a)), *leaves)
        except (RuntimeError, ValueError, IndexError):  # what torch refuses of its own
            refused += 1
            continue
        got = way(lambda *a, use=use: use(ours(*a)), *leaves)
        torch.testing.assert_close(list(got), list(expected), msg=lambda m, name=name: f"{name}: {m}")
    if refused == len(USES):
        pytest.skip("torch refuses all of them of its own")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_no_output_is_a_view(case, device):
    """autograd lets nobody write into a view that a Function made, and into no leaf."""
    ours, torchs = case.calls(device)
    leaves = case.leaves(device, requires_grad=True)
    output = ours(*leaves)
    assert isinstance(output.grad_fn, torch.autograd.function.BackwardCFunction)
    assert not output._is_view()
    doubled = gradients_of_double(ours, leaves)
    if doubled is None:  # it saves its output, as torch's does
        assert gradients_of_double(torchs, leaves) is None
    else:
        expected = torch.autograd.grad(2 * ours(*leaves).sum(), that_require(leaves))
        torch.testing.assert_close(doubled, expected)


def gradients_of_double(function, leaves):
    """The gradients of an output that is doubled in place; None where autograd refuses it."""
    output = function(*leaves)
    output.mul_(2)
    try:
        return torch.autograd.grad(output.sum(), that_require(leaves))
    except RuntimeError as error:
        if "modified by an inplace operation" not in str(error):
            raise
        return None


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 5, 3)], ids=str)
def test_modules_that_write_over_their_input(shape, device):
    results = []
    for package, make in ((torchbp.nn, torchbp.convert), (nn, lambda net: net)):
        torch.manual_seed(1)
        layers = nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 4), nn.Hardtanh(inplace=True), nn.Linear(4, 2)
        net = make(nn.Sequential(*layers)).to(device)
        x, y = torch.linspace(-1, 1, 3, device=device).expand(shape), torch.full((*shape[:-1], 2), 0.3, device=device)
        losses = package.BCEWithLogitsLoss(reduction="none")(net(x), y)
        losses[..., 0] *= 2
        losses.sum().backward()
        results.append([losses.detach(), *(p.grad for p in net.parameters())])
    torch.testing.assert_close(*results)


@pytest.mark.usefixtures("fresh_compiler")
def test_a_compiled_layer_whose_output_is_written_into():
    layer, x = torchbp.nn.Linear(3, 4), torch.randn(2, 5, 3, requires_grad=True)
    results = []
    for call in (layer, nn.Linear.forward.__get__(layer)):
        function = torch.compile(
            lambda x, call=call: zero_a_column(call(x)).tanh(), fullgraph=True, backend="aot_eager"
        )
        output = function(x)
        results.append([output.detach(), *torch.autograd.grad(output.square().sum(), [x, *layer.parameters()])])
    torch.testing.assert_close(*results)
