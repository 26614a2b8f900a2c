"""torch's own sample inputs for these operations and modules: the same results as torch, or its class of error."""

import functools
import itertools
import math
import warnings

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

import torchbp
from tests import cases
from torchbp.ops.registry import of_torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch's test helpers import deprecated parts of torch
    from torch.testing._internal.common_methods_invocations import op_db
    from torch.testing._internal.common_modules import module_db
    from torch.testing._internal.common_utils import set_rng_seed

OURS = {name: operation.ours for operation in cases.OPERATIONS for name in operation.samples}
OPERATIONS = [info for info in op_db if info.name in OURS]
MODULES = [info for info in module_db if hasattr(torchbp.nn, info.module_cls.__name__)]
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.complex128]
WARNINGS = (
    "broadcast",
    "There is a performance",
    "Casting complex",
    "Using padding='same'",
    "reduction.{1,2}.mean. divides",
)
# samples of an operation and dtype: of pooling torch has over a thousand, which take seconds to make
MADE, MOST, MOST_TRANSFORMED = 240, {torch.float32: 24}, 8
FEWER = 12  # the same formulas in another dtype
SHARES = [0.5, pytest.param(1, marks=pytest.mark.exhaustive)]  # of these numbers


def test_torch_has_samples_of_every_operation_and_module():
    assert {info.name for info in OPERATIONS} == set(OURS)
    missing = set(torchbp.nn.__all__) - {info.module_cls.__name__ for info in MODULES}
    dropouts = {"Dropout", "Dropout1d", "Dropout2d", "Dropout3d"}
    ours_alone = {"MLP", "FusedMLP", "EnsembleLinear", "EnsembleScale", "PeriodicEmbedding"}
    assert missing <= {*ours_alone, "Flatten", "Hardsigmoid", *dropouts}


class OursInstead(TorchFunctionMode):
    """torch's functions that a rule stands for are replaced by ours."""

    def __init__(self):
        super().__init__()
        self.replaced = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        ours = of_torch(function)
        self.replaced += ours is not None
        return (ours or function)(*args, **(kwargs or {}))


def replaced(operation, *args, **kwargs):
    with OursInstead() as mode:
        result = operation(*args, **kwargs)
    assert mode.replaced
    return result


def our_function(info):
    """Ours with the arguments of torch's sample: some samples stand for a call with its arguments in another order."""
    if info.op.__name__ == "<lambda>":
        return functools.partial(replaced, info.op)
    return of_torch(info.op) or OURS[info.name]


def samples():
    for info in OPERATIONS:
        for dtype in DTYPES:
            if dtype in info.dtypes:
                name = f"{info.name}{info.variant_test_name and '-'}{info.variant_test_name}-{dtype}"
                marks = pytest.mark.exhaustive if dtype is torch.float64 else ()  # the same formulas as in float32
                yield pytest.param(info, dtype, id=name, marks=marks)


def sample_inputs(info, device, dtype):
    """Those of `info.sample_inputs`, which looks through the stack at each of them for the name of a test."""
    set_rng_seed()
    for sample in info.sample_inputs_func(info, device, dtype, dtype in info.backward_dtypes):
        yield sample
        set_rng_seed()


def differentiable(values):
    """Where the tensors are that can have a gradient."""
    return [i for i, v in enumerate(values) if isinstance(v, torch.Tensor) and v.requires_grad]


def outcome(function):
    """Its value, or the class of the error that it raises."""
    torch.manual_seed(0)
    try:
        return function()
    except Exception as error:
        return type(error)


def each_sample(info, samples, most):
    """Function of flat arguments, ours and torch's, with the arguments, of every sample, or of so many of them."""
    for sample in samples[:: math.ceil(len(samples) / most)]:
        flat, spec = tree_flatten(((sample.input, *sample.args), sample.kwargs))

        def call(function, values, spec=spec):
            args, kwargs = tree_unflatten(values, spec)
            return function(*args, **kwargs)

        ours = our_function(info)

        def by_torch(values, call=call):
            with sdpa_kernel(SDPBackend.MATH):  # torch's fused attention has no second derivative
                return call(info.op, values)

        yield flat, lambda values, ours=ours, call=call: call(ours, values), by_torch


def derivatives(function, flat, twice=True):
    """Values, gradients and second gradients."""
    flat = tree_map(lambda v: v.detach().clone().requires_grad_(v.requires_grad) if is_tensor(v) else v, flat)
    inputs = [flat[i] for i in differentiable(flat)]
    outputs = tree_leaves(function(flat))
    found = [output.detach() for output in outputs]
    outputs = [output for output in outputs if output.requires_grad]
    if inputs and outputs:
        options = {"allow_unused": True, "materialize_grads": True}
        incoming = [torch.linspace(-1, 2, out.numel()).to(out).view(out.shape) for out in outputs]
        first = torch.autograd.grad(outputs, inputs, incoming, create_graph=twice, **options)
        found += first
        wanted = [g * g for g in first if g.requires_grad]
        if not wanted:  # the operation is linear, or saves so little that it need not be differentiated twice
            found += [torch.zeros_like(v) for v in inputs]
        else:
            found += torch.autograd.grad(wanted, inputs, [torch.ones_like(g) for g in wanted], **options)
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
    batched = torch.func.vmap(lambda first: function([first, *flat[1:]]), randomness="same")
    return batched(torch.stack([flat[0], flat[0]]))


def is_tensor(value):
    return isinstance(value, torch.Tensor)


def in_float64(flat, times=lambda v: 1.0):
    return [
        (v.detach().double() * times(v)).requires_grad_(v.requires_grad)
        if is_tensor(v) and v.is_floating_point()
        else v
        for v in flat
    ]


def off_by_a_rounding(function, flat, dtype):
    """Right results of arguments that are nearer to 0 by a rounding of the dtype: all of their numbers, or half."""
    eps = torch.finfo(dtype).eps
    yield function(in_float64(flat, lambda v: 1 - eps))
    for _ in range(3):
        yield function(in_float64(flat, lambda v: 1 - eps * torch.rand_like(v.detach().double()).round()))


def same_bits(ours, torchs):
    """As of what is drawn at random in this dtype, and differently in another."""
    return all(
        torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(tree_leaves(ours), tree_leaves(torchs), strict=True)
    )


def assert_as_near(ours, torchs, function, flat, dtype):
    """In few digits, two right answers differ: ours must be about as near as torch's to that of float64, or as that is
    to the right answer of arguments that are off by a rounding."""
    exact, moved = function(in_float64(flat)), []
    for i, (a, b, x) in enumerate(zip(*map(tree_leaves, (ours, torchs, exact)), strict=True)):
        assert a.dtype is b.dtype
        if not a.is_floating_point():  # indices
            assert torch.equal(a, b)
            continue
        error, allowed = ((value.double() - x).abs().nan_to_num().amax() if value.numel() else 0 for value in (a, b))
        unit = torch.finfo(a.dtype).eps * x.abs().nan_to_num().amax() if x.numel() else 0
        rounded = 1e-7  # what float32, in which some operations compute, leaves of numbers about 1 that cancel to 0
        if error > 2 * allowed + 4 * unit + rounded:
            moved = moved or [tree_leaves(result) for result in off_by_a_rounding(function, flat, dtype)]
            change = max((result[i] - x).abs().nan_to_num().amax() for result in moved)
            assert error <= 2 * allowed + 4 * (unit + change) + rounded, (a, b, x, change)
    return True


def assert_near(ours, torchs, message):
    """To the rounding of sums: an element of them may cancel, so it is of the size of the largest one."""
    for a, b in zip(tree_leaves(ours), tree_leaves(torchs), strict=True):
        size = b.abs().nan_to_num(posinf=0).max().item() if is_tensor(b) and b.numel() else 0
        torch.testing.assert_close(a, b, equal_nan=True, rtol=1e-5, atol=max(2e-5, 4e-6 * size), msg=message)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize(("info", "dtype"), list(samples()))
@pytest.mark.filterwarnings(*(f"ignore:.*{words}:UserWarning" for words in WARNINGS))
def test_operation(info, dtype, share, device):
    made = list(itertools.islice(sample_inputs(info, device, dtype), int(share * MADE)))
    assert made
    most, most_transformed = share * MOST.get(dtype, FEWER), share * MOST_TRANSFORMED
    compare(info, dtype, made, most, functools.partial(derivatives, twice=info.supports_gradgrad))
    compare(info, dtype, made, most_transformed, over_a_batch)
    if info.supports_forward_ad and dtype in info.backward_dtypes:
        compare(info, dtype, made, most_transformed, jvp)


def compare(info, dtype, samples, most, what):
    for flat, ours, torchs in each_sample(info, samples, most):
        results = [outcome(lambda f=f, x=flat: what(f, x)) for f in (ours, torchs)]
        if results[1] is NotImplementedError:
            pass  # torch has no kernel for this dtype, which ours does not need
        elif isinstance(results[1], type):
            assert results[0] is results[1], (what, flat)
        elif dtype is torch.bfloat16:
            assert same_bits(*results) or assert_as_near(*results, functools.partial(what, torchs), flat, dtype)
        else:
            try:
                assert_near(*results, lambda m, x=flat: f"{what}, {x}\n{m}")
            except AssertionError:
                if dtype is not torch.float32:
                    raise
                assert_as_near(*results, functools.partial(what, torchs), flat, dtype)


@pytest.mark.parametrize("info", MODULES, ids=lambda info: info.module_cls.__name__)
@pytest.mark.parametrize(("dtype", "training"), [(torch.float32, True), (torch.float64, False)])
@pytest.mark.filterwarnings(f"ignore:{WARNINGS[-1]}", "ignore:Converting a tensor with requires_grad")
def test_module(info, dtype, training, device):
    count = 0
    for sample in info.module_inputs_func(info, device=device, dtype=dtype, requires_grad=True, training=training):
        results = []
        for package in (torchbp.nn, torch.nn):
            made = getattr(package, info.module_cls.__name__)
            torch.manual_seed(3)
            module = made(*sample.constructor_input.args, **sample.constructor_input.kwargs).to(device, dtype)
            module.train(training)
            args, kwargs = tree_map(
                lambda v: v.detach().clone().requires_grad_(v.requires_grad) if is_tensor(v) else v,
                (sample.forward_input.args, sample.forward_input.kwargs),
            )
            torch.manual_seed(4)
            outputs = [output for output in tree_leaves(module(*args, **kwargs)) if output is not None]
            leaves = [
                v for v in (*tree_leaves((args, kwargs)), *module.parameters()) if is_tensor(v) and v.requires_grad
            ]
            found = [*outputs, *module.buffers()]
            if wanted := [output.sum() for output in outputs if output.requires_grad]:
                found += torch.autograd.grad(wanted, leaves, allow_unused=True, materialize_grads=True)
            results.append(found)
        torch.testing.assert_close(results[0], results[1], equal_nan=True)
        if sample.reference_fn is not None:
            torch.manual_seed(4)
            args, kwargs = tree_map(lambda v: v.detach() if is_tensor(v) else v, (args, kwargs))
            expected = tree_leaves(sample.reference_fn(module, *args, **kwargs))
            for a, b in zip(results[0], expected, strict=False):  # it may lack what torch returns beside the result
                torch.testing.assert_close(a, b, equal_nan=True, check_dtype=False, rtol=1e-5, atol=1e-5)
        count += 1
    assert count
