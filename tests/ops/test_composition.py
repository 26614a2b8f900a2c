"""Our operations inside everything that PyTorch does with its own: the same results as torch's."""

import gc
import io
import itertools
import threading
import warnings
import weakref

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

import torchbp
from tests.cases import CASES, marked, subsets, that_require

PLAIN = [case for case in CASES if case.layout == "contiguous" and 0 not in case.shapes[0]]


def pair(activation="Sigmoid", device="cpu", dtype=torch.float32):
    """The same network and loss, ours and torch's, with data."""
    torch.manual_seed(0)
    torchs = nn.Sequential(nn.Linear(5, 4), getattr(nn, activation)(), nn.Linear(4, 2)).to(device, dtype)
    ours = torchbp.nn.MLP(5, 4, 2, activation=activation.lower(), device=device, dtype=dtype)
    ours.load_state_dict(torchs.state_dict())
    x, y = torch.randn(6, 5, device=device, dtype=dtype), torch.rand(6, 2, device=device, dtype=dtype)
    return (ours, torchbp.nn.BCEWithLogitsLoss()), (torchs, nn.BCEWithLogitsLoss()), x, y


def gradients(net, loss, x, y):
    x = x.clone().requires_grad_()
    value = loss(net(x), y)
    return [value.detach(), *torch.autograd.grad(value, [x, *net.parameters()])]


# what is saved, what is computed


@pytest.mark.parametrize("case", CASES, ids=str)
def test_saves_no_more_than_torch(case, device):
    functions, leaves = case.calls(device), case.leaves(device)
    for subset in subsets(case.differentiable):
        inputs = [leaf.clone().requires_grad_(i in subset) for i, leaf in enumerate(leaves)]
        sizes = []
        for function in functions:
            saved = {}
            with torch.autograd.graph.saved_tensors_hooks(
                lambda t, saved=saved: saved.setdefault(t.untyped_storage().data_ptr(), t), lambda t: t
            ):
                output = function(*inputs)
            sizes.append(sum(t.untyped_storage().nbytes() for t in saved.values()))
            del output
        assert sizes[0] <= sizes[1], subset


class Products(TorchDispatchMode):
    """Counts matrix products."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default, torch.ops.aten.bmm.default)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("shape", [(6, 5), (2, 3, 5)])
def test_computes_only_the_gradients_that_are_asked_for(shape):
    for needs in itertools.product([False, True], repeat=3):
        arguments = [torch.randn(s, requires_grad=n) for s, n in zip((shape, (4, 5), (4,)), needs, strict=True)]
        if any(needs):
            output = torchbp.ops.linear(*arguments)
            with Products() as products:
                output.sum().backward()
            assert products.count == needs[0] + needs[1]
            assert [a.grad is not None for a in arguments] == list(needs)


@pytest.mark.parametrize("case", PLAIN, ids=str)
def test_graph_can_be_walked_twice(case):
    ours, _ = case.calls()
    leaves = case.leaves(requires_grad=True)
    output = ours(*leaves)
    incoming = torch.ones_like(output)
    wanted, saves = that_require(leaves), output.grad_fn.saved_tensors
    first = torch.autograd.grad(output, wanted, incoming, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(output, wanted, incoming), first, rtol=0, atol=0)
    if saves:
        with pytest.raises(RuntimeError, match="backward through the graph a second time"):
            torch.autograd.grad(output, wanted, incoming)


@pytest.mark.parametrize("case", PLAIN, ids=str)
def test_graph_is_freed_without_the_garbage_collector(case):
    ours, _ = case.calls()
    gc.disable()
    try:
        for backward in (False, True):
            inputs = [leaf.clone() for leaf in case.leaves(requires_grad=True)]
            output = ours(*inputs)
            alive = [weakref.ref(t) for t in (*inputs, output)]
            if backward:
                torch.autograd.grad(output.sum(), that_require(inputs))
            del inputs, output
            assert [ref() for ref in alive] == [None] * len(alive), f"backward={backward}"
    finally:
        gc.enable()


class NoGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, dx):
        return None


@pytest.mark.parametrize("case", PLAIN, ids=str)
def test_undefined_gradient_gives_none(case):
    for function in case.calls():
        leaves = case.leaves(requires_grad=True)
        NoGradient.apply(function(*leaves)).sum().backward()
        assert all(leaf.grad is None for leaf in leaves)


# torch.func


@pytest.mark.parametrize("case", marked(PLAIN, lambda case: not case.is_plain))
def test_vmap_over_every_subset_of_arguments(case, device):
    ours, torchs = case.calls(device)
    leaves = case.leaves(device)
    for subset in subsets(case.differentiable):
        for dim in (0, -1):
            dims = tuple(dim if i in subset else None for i in range(len(leaves)))
            batched = [
                torch.stack([leaf, 0.9 * leaf, 0.8 * leaf], dim) if i in subset else leaf
                for i, leaf in enumerate(leaves)
            ]
            found = torch.vmap(ours, in_dims=dims)(*batched)
            torch.testing.assert_close(
                found, without_warnings(torch.vmap(torchs, in_dims=dims), *batched), equal_nan=True
            )

            def gradient(f, *arguments):
                return torch.func.grad(lambda *a: f(*a).sum(), argnums=tuple(case.differentiable))(*arguments)

            of_ours, of_torchs = (torch.vmap(lambda *a, f=f: gradient(f, *a), in_dims=dims) for f in (ours, torchs))
            torch.testing.assert_close(of_ours(*batched), without_warnings(of_torchs, *batched))


def without_warnings(function, *arguments):
    """torch maps over some operations sample by sample, and says so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments)


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("transform", [torch.func.grad, torch.func.jacfwd])
def test_a_compiled_transform_reaches_the_parameters_of_every_layer(transform, device):
    layers = torchbp.nn
    net = nn.Sequential(
        layers.Conv1d(2, 3, 2), layers.GroupNorm(1, 3), layers.PReLU(), layers.Linear(4, 6), layers.LayerNorm(6),
        layers.Tanh(), layers.Linear(6, 2), layers.Flatten(), layers.Linear(6, 1),
    ).to(device, torch.float64)  # fmt: skip
    x = torch.randn(4, 2, 5, device=device, dtype=torch.float64)
    parameters = dict(net.named_parameters())

    def loss(parameters):
        return torch.func.functional_call(net, parameters, (x,)).sin().sum()

    derivative = transform(loss)
    found = torch.compile(derivative, backend="eager")(parameters)
    torch.testing.assert_close(found, derivative(parameters))
    of_autograd = torch.autograd.grad(loss(parameters), list(parameters.values()))
    torch.testing.assert_close(list(found.values()), list(of_autograd))


@pytest.mark.parametrize("transform", [torch.func.jacrev, torch.func.jacfwd, torch.func.hessian])
@pytest.mark.parametrize("activation", ["Sigmoid", "Tanh", "ReLU"])
def test_jacobians_and_hessians_of_a_network(transform, activation, device):
    results = []
    *both, x, y = pair(activation, device, torch.float64)
    for net, loss in both:

        def value(parameters, x, net=net, loss=loss):
            return loss(torch.func.functional_call(net, parameters, (x,)), y)

        parameters = {name: p.detach() for name, p in net.named_parameters()}
        results.append([transform(value, argnums=i)(parameters, x) for i in (0, 1)])
    torch.testing.assert_close(*results)


def test_vjp_and_jvp_of_a_network(device):
    results = []
    *both, x, y = pair("Tanh", device, torch.float64)
    for net, loss in both:
        value, backward = torch.func.vjp(lambda x, net=net, loss=loss: loss(net(x), y), x)
        tangent = torch.func.jvp(lambda x, net=net, loss=loss: loss(net(x), y), (x,), (x.cos(),))
        with forward_ad.dual_level():
            dual = forward_ad.unpack_dual(loss(net(forward_ad.make_dual(x, x.cos())), y)).tangent
        results.append([value, *backward(torch.ones_like(value)), *tangent, dual])
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("which", range(4))
def test_tangents_of_a_losss_weights(which):
    arguments = [torch.randn(4, 3), torch.rand(4, 3), torch.rand(3), torch.rand(3)]

    def tangent(function):
        def of_one(value):
            z, y, weight, pos_weight = (*arguments[:which], value, *arguments[which + 1 :])
            return function(z, y, weight=weight, pos_weight=pos_weight)

        return torch.func.jvp(of_one, (arguments[which],), (torch.ones_like(arguments[which]),))

    torch.testing.assert_close(
        tangent(torchbp.ops.binary_cross_entropy_with_logits), tangent(nn.functional.binary_cross_entropy_with_logits)
    )


def test_per_sample_gradients(device):
    *both, x, y = pair(device=device, dtype=torch.float64)
    results = []
    for net, loss in both:
        parameters = dict(net.named_parameters())

        def value(parameters, x, y, net=net, loss=loss):
            return loss(torch.func.functional_call(net, parameters, (x,)), y)

        results.append(torch.vmap(torch.func.grad(value), in_dims=(None, 0, 0))(parameters, x, y))
    torch.testing.assert_close(*results)
    ours, _, x, y = pair(device=device, dtype=torch.float64)
    for i in range(len(x)):
        one = gradients(*ours, x[i : i + 1], y[i : i + 1])[2:]
        torch.testing.assert_close([g[i] for g in results[0].values()], one)


# compilers

PROGRAMS = [("Sigmoid", "BCEWithLogitsLoss"), ("Tanh", "BCELoss"), ("ReLU", "MSELoss")]  # activation, loss


def loss_of(name, package):
    options = {} if name == "MSELoss" else {"weight": torch.tensor([2.0, 3.0])}
    loss = getattr(package, name)(**options)
    sigmoid = package.Sigmoid() if name == "BCELoss" else package.Tanh()
    return lambda z, y: loss(sigmoid(z), y)


@pytest.mark.usefixtures("fresh_compiler")
def test_compiles_whole():
    """One program, forward and backward, for all. Machine code of each operation: test_whole_programs.py."""
    pairs = [pair(activation) for activation, _ in PROGRAMS]
    nets, torchs = ([both[i][0] for both in pairs] for i in (0, 1))
    ours, theirs = ([loss_of(loss, package) for _, loss in PROGRAMS] for package in (torchbp.nn, nn))
    x, y = pairs[0][2:]

    def losses(x, y):
        return torch.stack([loss(net(x), y) for net, loss in zip(nets, ours, strict=True)])

    compiled = torch.compile(losses, fullgraph=True, dynamic=True, backend="aot_eager")
    for rows in (6, 4):
        a = x[:rows].clone().requires_grad_()
        values = compiled(a, y[:rows])
        dx, *dparameters = torch.autograd.grad(values.sum(), [a, *(p for net in nets for p in net.parameters())])
        each = [gradients(net, loss, x[:rows], y[:rows]) for net, loss in zip(torchs, theirs, strict=True)]
        torch.testing.assert_close(values.detach(), torch.stack([value for value, *_ in each]))
        torch.testing.assert_close(dx, sum(dx for _, dx, *_ in each))
        torch.testing.assert_close(dparameters, [g for _, _, *of_net in each for g in of_net])


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("strict", [False, True])
def test_exports(strict):
    (net, _), _, x, _ = pair()
    batch = torch.export.Dim("batch")
    program = torch.export.export(net, (x,), dynamic_shapes=({0: batch},), strict=strict)
    torch.testing.assert_close(program.module()(x[:3]), net(x[:3]))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_traces():
    (net, loss), _, x, y = pair()
    traced = torch.jit.trace(net, (x,))
    file = io.BytesIO()
    torch.jit.save(traced, file)
    file.seek(0)
    for program in (traced, torch.jit.load(file)):
        torch.testing.assert_close(gradients(program, loss, x, y), gradients(net, loss, x, y))


@pytest.mark.usefixtures("fresh_compiler")
def test_onnx():
    (net, _), _, x, _ = pair()
    program = torch.onnx.export(net, (x,), dynamo=True, verbose=False)
    torch.testing.assert_close(program.call_reference({"input": x})[0], net(x))


# dtypes and devices


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("inner", [torch.bfloat16, torch.float16])
def test_autocast_gives_torchs_dtypes(dtype, inner, device):
    *both, x, y = pair(device=device)
    results = []
    for net, loss in both:
        x = x.to(torch.float32 if dtype is torch.float16 else dtype).detach().requires_grad_()
        net.to(x.dtype)
        with torch.autocast(device, dtype=inner):
            z = net(x)
            losses = [loss(z, y.to(z.dtype)), loss(z.to(dtype), y)]
            target = y.to(z.dtype) if z.dtype is torch.float64 else y  # torch 2.11 has no gradient of two dtypes
            losses += [torchbp.nn.MSELoss()(z, target) if net is both[0][0] else nn.MSELoss()(z, target)]
        sum(value.double() for value in losses).backward()
        results.append((z, *losses, x.grad, *(p.grad for p in net.parameters())))
    for a, b in zip(*results, strict=True):
        assert a.dtype is b.dtype
        torch.testing.assert_close(a, b, rtol=0.02, atol=0.02)


def test_probabilities_under_autocast(device):
    a = torch.rand(4, device=device).requires_grad_()
    with torch.autocast(device, dtype=torch.bfloat16):
        if device == "cuda":
            with pytest.raises(RuntimeError, match="unsafe"):
                torchbp.ops.binary_cross_entropy(a, a.detach())
        else:
            assert torchbp.ops.binary_cross_entropy(a.bfloat16(), a.detach().bfloat16()).dtype is torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype, device):
    *both, x, y = pair(device=device, dtype=dtype)
    results = [gradients(*one, x, y) for one in both]
    for a, b in zip(*results, strict=True):
        assert a.dtype is b.dtype is dtype
        torch.testing.assert_close(a, b, rtol=0.02, atol=0.02)


def test_meta_device():
    (net, loss), _, x, y = pair()
    net.to("meta")
    for result, expected in zip(
        gradients(net, loss, x.to("meta"), y.to("meta")), [y.sum(), x, *net.parameters()], strict=True
    ):
        assert result.is_meta
        assert result.shape == expected.shape


def test_fake_tensors():
    with FakeTensorMode():
        net = torchbp.nn.MLP(5, 4, 2)
        results = gradients(net, torchbp.nn.BCEWithLogitsLoss(), torch.randn(6, 5), torch.rand(6, 2))
    assert [tuple(r.shape) for r in results] == [(), (6, 5), (4, 5), (4,), (2, 4), (2,)]


@pytest.mark.parametrize("function", ["linear", "sigmoid"])
def test_tensor_subclasses_bring_their_own_function(function):
    calls = []

    class Logged(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            calls.append(func)
            return super().__torch_function__(func, types, args, kwargs)

    x = torch.randn(2, 3).as_subclass(Logged).requires_grad_()
    calls.clear()
    getattr(torchbp.ops, function)(*([x, torch.randn(4, 3)] if function == "linear" else [x]))
    assert calls == [nn.functional.linear if function == "linear" else torch.sigmoid]


# the rest of a training program


@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpointing(reentrant):
    (net, loss), _, x, y = pair()

    def segment(x):
        return checkpoint(net, x, use_reentrant=reentrant)

    segment.parameters = net.parameters
    if not reentrant:
        torch.testing.assert_close(gradients(segment, loss, x, y), gradients(net, loss, x, y))
    expected = gradients(net, loss, x, y)
    x = x.clone().requires_grad_()
    loss(segment(x), y).backward()
    torch.testing.assert_close([x.grad, *(p.grad for p in net.parameters())], expected[1:])


def test_two_threads_in_one_module():
    (net, loss), _, x, y = pair(dtype=torch.float64)
    batches = [(x + i, y) for i in range(2)]
    expected = [gradients(net, loss, *batch) for batch in batches]
    wrong = []

    def work(i):
        for _ in range(200):
            for a, b in zip(gradients(net, loss, *batches[i]), expected[i], strict=True):
                if not torch.equal(a, b):
                    wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_meta_initialisation_and_assignment():
    (net, loss), _, x, y = pair()
    empty = torchbp.nn.MLP(5, 4, 2, device="meta")
    assigned = torchbp.nn.MLP(5, 4, 2, device="meta")
    assigned.load_state_dict(net.state_dict(), assign=True)
    empty = empty.to_empty(device="cpu")
    empty.load_state_dict(net.state_dict())
    for other in (empty, assigned):
        torch.testing.assert_close(gradients(other, loss, x, y), gradients(net, loss, x, y))


def test_a_finished_transforms_wrapper_can_be_used():
    leaked = []
    torch.func.grad(lambda x: (leaked.append(x), x.sum())[1])(torch.ones(3))
    weight = torch.ones(2, 3, requires_grad=True)
    torchbp.ops.sigmoid(torchbp.ops.linear(leaked[0], weight)).sum().backward()
    torch.testing.assert_close(
        weight.grad, torch.full((2, 3), torch.tensor(3.0).sigmoid() * (1 - torch.tensor(3.0).sigmoid()))
    )
