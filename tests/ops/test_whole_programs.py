"""Each operation of the table inside a program: compiled, exported, under autocast, and checkpointed.

Building machine code takes long, mostly whatever its size: so all operations are built in one program.
"""

import re

import pytest
import torch
from torch._inductor import config
from torch.utils.checkpoint import checkpoint

from tests.cases import CASES, OPERATIONS, marked, that_require, with_gradients
from torchbp import ops
from torchbp.benchmarks.helpers.inductor import cannot_compile
from torchbp.ops.registry import rules
from torchbp.ops.rules import Activation


def one_of_each():
    """A case of each operation with its first options, and one with its last, where it has more."""
    for operation in OPERATIONS:
        cases = [c for c in CASES if c.operation is operation and c.layout == "contiguous" and 0 not in c.shapes[0]]
        first = next((c for c in cases if len(c.shapes[0]) >= 2), cases[0])
        yield first
        yield from [c for c in cases if c.shapes == first.shapes and c is not first][-1:]


EACH = list(one_of_each())
FIRST = list({case.operation.name: case for case in reversed(EACH)}.values())
# of conv1d, conv2d and conv3d, which have the same formulas, one
SIMPLEST = list({re.sub(r"\dd$", "", case.operation.name): case for case in FIRST}.values())
ACTIVATIONS = set(rules(Activation))
# an activation knows no sizes: but for one, they are left out
WITH_SIZES = [case for case in SIMPLEST if case.operation.name not in ACTIVATIONS - {"elu"}]
# of those that compute with sizes in the same way, one is traced by default
LIKE_OTHERS = {
    *("adaptive_avg_pool1d", "addmm", "baddbmm", "matmul", "conv_transpose1d", "dropout", "ensemble_scale"),
    *("group_norm", "instance_norm", "rms_norm", "nll_loss", "l1_loss", "huber_loss", "smooth_l1_loss"),
    *("binary_cross_entropy", "kl_div", "softmax"),
}


def program(functions):
    """One function of the leaves of each, which returns the output of each."""

    def run(inputs):
        return [function(*leaves) for function, leaves in zip(functions, inputs, strict=True)]

    return run


def outputs_and_gradients(function, inputs):
    torch.manual_seed(0)
    outputs = function(inputs)
    wanted = [leaf for leaves in inputs for leaf in that_require(leaves)]
    incoming = [torch.linspace(-1, 2, out.numel(), device=out.device).to(out.dtype).view(out.shape) for out in outputs]
    return [*outputs, *torch.autograd.grad(outputs, wanted, incoming)]


def ours_and_torchs(cases, device="cpu", dtype=torch.float64):
    calls = [case.calls(device, dtype) for case in cases]
    inputs = [case.leaves(device, dtype, requires_grad=True) for case in cases]
    return *map(program, zip(*calls, strict=True)), inputs


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("all_of_them", [False, pytest.param(True, marks=pytest.mark.exhaustive)])
def test_all_in_one_traced_program(all_of_them):
    """By default without those that are traced for the program of machine code, where there is one."""
    all_of_them = all_of_them or cannot_compile()
    ours, torchs, inputs = ours_and_torchs([case for case in EACH if all_of_them or case not in SIMPLEST])
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager", dynamic=False)
    torch.testing.assert_close(outputs_and_gradients(compiled, inputs), outputs_and_gradients(torchs, inputs))


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("case", marked(WITH_SIZES, lambda case: case.operation.name in LIKE_OTHERS))
def test_traced_for_any_shapes(case):
    """Each by itself: the time to trace symbolic sizes grows faster than their number."""
    ours, torchs, inputs = ours_and_torchs([case])
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager", dynamic=True)
    torch.testing.assert_close(outputs_and_gradients(compiled, inputs), outputs_and_gradients(torchs, inputs))


@pytest.mark.usefixtures("fresh_compiler")
def test_a_tensor_may_be_several_arguments():
    def of(package, attention):
        return lambda x: attention(x, x, x) + package.matmul(x, x)

    x = torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)
    compiled = torch.compile(of(ops, ops.scaled_dot_product_attention), fullgraph=True, backend="aot_eager")
    expected = of(torch, torch.nn.functional.scaled_dot_product_attention)(x)
    torch.testing.assert_close(compiled(x), expected)
    gradients = [torch.autograd.grad(z.square().sum(), x) for z in (compiled(x), expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.usefixtures("compiler", "fresh_compiler")
@config.patch(fallback_random=True)
def test_all_in_one_program_of_machine_code():
    ours, torchs, inputs = ours_and_torchs(SIMPLEST)
    compiled = torch.compile(ours, fullgraph=True, options={"cpp_wrapper": True})
    torch.testing.assert_close(outputs_and_gradients(compiled, inputs), outputs_and_gradients(torchs, inputs))


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("strict", [False, pytest.param(True, marks=pytest.mark.exhaustive)])
def test_all_in_one_exported_program(strict):
    ours, torchs, inputs = ours_and_torchs(EACH)

    class Module(torch.nn.Module):
        def forward(self, *inputs):
            return ours(inputs)

    exported = torch.export.export(Module(), tuple(inputs), strict=strict).module()
    torch.manual_seed(0)
    found = exported(*inputs)
    torch.manual_seed(0)
    torch.testing.assert_close(list(found), torchs(inputs))


HALVES = torch.bfloat16, torch.float16
HALVES_AND_INPUTS = [(inner, dtype) for inner in HALVES for dtype in (torch.float32, inner, torch.float64)]


@pytest.mark.parametrize("case", EACH, ids=str)
def test_autocast_gives_torchs_dtypes(case, device):
    """Of float32, of the lower precision itself, and of float64, which autocast leaves alone."""
    for inner, dtype in HALVES_AND_INPUTS:
        functions = [program([function]) for function in case.calls(device, dtype)]
        leaves, results = case.leaves(device, dtype), []
        for function in functions:
            with torch.autocast(device, dtype=inner):
                try:
                    results.append(outputs_and_gradients(function, [with_gradients([t.clone() for t in leaves])]))
                except RuntimeError as error:
                    results.append(type(error))
        if isinstance(results[1], type):
            assert results[0] is results[1]
            continue
        for a, b in zip(*results, strict=True):
            assert a.dtype is b.dtype
            torch.testing.assert_close(a, b, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("case", FIRST, ids=str)
def test_checkpointing(case, device):
    ours, leaves = case.calls(device)[0], case.leaves(device, requires_grad=True)
    expected = outputs_and_gradients(program([ours]), [leaves])
    again = program([lambda *leaves: checkpoint(ours, *leaves, use_reentrant=False)])
    torch.testing.assert_close(outputs_and_gradients(again, [leaves]), expected)
