"""torch's own sample inputs for these operations and modules: the same results as torch, or its class of error."""

import warnings

import pytest
import torch
from torch.utils._pytree import tree_flatten, tree_unflatten

import torchbp
from tests import cases

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch's test helpers import deprecated parts of torch
    from torch.testing._internal.common_methods_invocations import op_db
    from torch.testing._internal.common_modules import module_db

OURS = {name: operation.ours for operation in cases.OPERATIONS for name in operation.samples}
OPERATIONS = [info for info in op_db if info.name in OURS]
MODULES = [info for info in module_db if hasattr(torchbp.nn, info.module_cls.__name__)]
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.complex128]


def test_torch_has_samples_of_every_operation_and_module():
    assert {info.name for info in OPERATIONS} == set(OURS)
    missing = set(torchbp.nn.__all__) - {info.module_cls.__name__ for info in MODULES}
    assert missing == {"MLP", "FusedMLP", "EnsembleLinear"}


def samples():
    for info in OPERATIONS:
        for dtype in DTYPES:
            if dtype in info.dtypes:
                yield pytest.param(info, dtype, id=f"{info.name}-{dtype}")


def differentiable(values):
    """Where the tensors are that can have a gradient."""
    return [
        i for i, v in enumerate(values)
        if isinstance(v, torch.Tensor) and (v.is_floating_point() or v.is_complex()) and v.requires_grad
    ]  # fmt: skip


def outcome(function):
    """Its value, or the class of the error that it raises."""
    try:
        return function()
    except Exception as error:
        return type(error)


def each_sample(info, device, dtype):
    """Function of flat arguments, ours and torch's, with the arguments, of every sample."""
    for sample in info.sample_inputs(device, dtype, requires_grad=dtype in info.backward_dtypes):
        flat, spec = tree_flatten(((sample.input, *sample.args), sample.kwargs))

        def call(function, values, spec=spec):
            args, kwargs = tree_unflatten(values, spec)
            return function(*args, **kwargs)

        yield flat, lambda values: call(OURS[info.name], values), lambda values: call(info.op, values)


def derivatives(function, flat):
    """Value, gradients and second gradients."""
    flat = [v.detach().clone().requires_grad_(v.requires_grad) if isinstance(v, torch.Tensor) else v for v in flat]
    inputs = [flat[i] for i in differentiable(flat)]
    output = function(flat)
    found = [output.detach()]
    if inputs:
        incoming = torch.linspace(-1, 2, output.numel(), device=output.device).to(output.dtype).view(output.shape)
        first = torch.autograd.grad(output, inputs, incoming, create_graph=True)
        second = torch.autograd.grad(
            [g * g for g in first],
            inputs,
            [torch.ones_like(g) for g in first],
            allow_unused=True,
            materialize_grads=True,
        )
        found += [*first, *second]
    return found


def jvp(function, flat):
    where = differentiable(flat)

    def of_chosen(*chosen):
        values = list(flat)
        for i, value in zip(where, chosen, strict=True):
            values[i] = value
        return function(values)

    primals = tuple(flat[i].detach() for i in where)
    return torch.func.jvp(of_chosen, primals, tuple(torch.ones_like(p) for p in primals))


def over_a_batch(function, flat):
    """vmap over a new leading dimension of the first tensor argument."""
    return torch.func.vmap(lambda first: function([first, *flat[1:]]))(torch.stack([flat[0], flat[0]]))


def tensor(value):
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def assert_as_near(ours, torchs, exact):
    """In three digits, two right answers differ: ours must be about as near as torch's to that of float64."""
    for a, b, x in zip(*(tree_flatten(result)[0] for result in (ours, torchs, exact)), strict=True):
        assert a.dtype is b.dtype
        error, allowed = ((value.double() - x).abs().nan_to_num().amax() if value.numel() else 0 for value in (a, b))
        unit = torch.finfo(a.dtype).eps * x.abs().nan_to_num().amax() if x.numel() else 0
        assert error <= 2 * allowed + 4 * unit, (a, b, x)


@pytest.mark.parametrize(("info", "dtype"), list(samples()))
@pytest.mark.parametrize("what", [derivatives, jvp, over_a_batch])
def test_operation(info, dtype, what, device):
    if what is jvp and not (info.supports_forward_ad and dtype in info.backward_dtypes):
        pytest.skip("torch has no forward mode here")
    count = 0
    for flat, ours, torchs in each_sample(info, device, dtype):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*(broadcast|There is a performance drop)", UserWarning)
            results = [outcome(lambda f=f, x=flat: what(f, x)) for f in (ours, torchs)]
        if isinstance(results[1], type):
            assert results[0] is results[1], flat
        elif dtype is torch.bfloat16:
            exact = [v.detach().double().requires_grad_(v.requires_grad) if tensor(v) else v for v in flat]
            assert_as_near(*results, what(torchs, exact))
        else:
            torch.testing.assert_close(
                results[0], results[1], equal_nan=True, rtol=1e-5, atol=2e-5, msg=lambda m, x=flat: f"{x}\n{m}"
            )
        count += 1
    assert count


@pytest.mark.parametrize("info", MODULES, ids=lambda info: info.module_cls.__name__)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("training", [True, False])
def test_module(info, dtype, training, device):
    count = 0
    for sample in info.module_inputs_func(info, device=device, dtype=dtype, requires_grad=True, training=training):
        results = []
        for package in (torchbp.nn, torch.nn):
            made = getattr(package, info.module_cls.__name__)
            torch.manual_seed(3)
            module = made(*sample.constructor_input.args, **sample.constructor_input.kwargs).to(device, dtype)
            module.train(training)
            inputs = [
                v.detach().clone().requires_grad_(v.requires_grad) if isinstance(v, torch.Tensor) else v
                for v in sample.forward_input.args
            ]
            output = module(*inputs, **sample.forward_input.kwargs)
            leaves = [v for v in (*inputs, *module.parameters()) if isinstance(v, torch.Tensor) and v.requires_grad]
            results.append([output, *torch.autograd.grad(output.sum(), leaves)])
        torch.testing.assert_close(results[0], results[1], equal_nan=True)
        if sample.reference_fn is not None:
            expected = sample.reference_fn(module, *sample.forward_input.args, **sample.forward_input.kwargs)
            torch.testing.assert_close(results[0][0], expected, equal_nan=True, check_dtype=False)
        count += 1
    assert count
