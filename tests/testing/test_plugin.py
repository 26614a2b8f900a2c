"""The pytest plugin: gradcases and check_grad."""

from importlib.metadata import entry_points

pytest_plugins = ["pytester"]
# installed, pytest finds it by itself
PLUGIN = () if "torchbp" in entry_points(group="pytest11").names else ("-p", "torchbp.testing.plugin")
ARGUMENTS = (*PLUGIN, "-p", "no:cacheprovider")

TESTS = """
import pytest
import torch
import torchbp
from torchbp.testing import case, gradcases


class Multiply(torch.autograd.Function):
    @staticmethod
    def forward(ctx, input, weight):
        ctx.save_for_backward(input, weight)
        return input * weight

    @staticmethod
    def backward(ctx, incoming):
        input, weight = ctx.saved_tensors
        return incoming * weight, incoming * weight


def inputs():
    return torch.ones(3, requires_grad=True), torch.full((3,), 2.0, requires_grad=True)


@gradcases([
    case(torch.sin, torch.ones(3), checks=["values", "vmap"]),
    case(Multiply, inputs, name="product", checks=["values", "vmap", "jvp"],
         marks={"values": pytest.mark.xfail(reason="the weight", strict=True)}),
    case(torch.nn.ReLU, torch.ones(3), checks="values"),
])
def test_gradients(result):
    assert result.status == "PASS"


def test_fixture(check_grad):
    check_grad(torch.cos, torch.ones(3), checks="fast")
    with pytest.raises(torchbp.testing.GradientError):
        check_grad(Multiply, inputs(), checks="values")
"""


def test_one_test_for_each_case_and_check(pytester):
    pytester.makepyfile(test_gradients=TESTS)
    result = pytester.runpytest_subprocess("-rA", *ARGUMENTS)
    result.assert_outcomes(passed=4, skipped=2, xfailed=1)
    result.stdout.fnmatch_lines(["*PASSED test_gradients.py::test_gradients[[]sin-vmap]*"])
    chosen = pytester.runpytest_subprocess("-k", "vmap", *ARGUMENTS)
    chosen.assert_outcomes(passed=1, skipped=1, deselected=5)


def test_a_failure_is_the_finding_and_no_traceback(pytester):
    pytester.makepyfile(test_gradients=TESTS.replace("strict=True", "condition=False"))
    result = pytester.runpytest_subprocess("-k", "product", *ARGUMENTS)
    result.assert_outcomes(failed=1, skipped=2, deselected=4)
    result.stdout.fnmatch_lines(["*the gradient of weight is wrong*", "*likely cause: *"])
    result.stdout.no_fnmatch_line("*Traceback*")
