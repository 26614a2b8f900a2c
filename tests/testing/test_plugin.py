"""The pytest plugin: gradcases and check_grad."""

import configparser
import os
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import torch

# What a run inside of this one imports first is forgotten after it: it would be imported again each time, and torch
# refuses to register it twice.
import torch._dynamo
import torch.fx.experimental.symbolic_shapes

from torchbp.testing import case, forked_process
from torchbp.testing.checks import CHECKS, check_function

pytest_plugins = ["pytester"]
for name in CHECKS:
    check_function(name)
# installed, pytest finds it by itself
INSTALLED = "torchbp.testing.pytest_plugin" in [point.value for point in entry_points(group="pytest11")]
PLUGIN = () if INSTALLED else ("-p", "torchbp.testing.pytest_plugin")
ARGUMENTS = (*PLUGIN, "-p", "no:cacheprovider")

TESTS = """
import pytest
import torch
import torchbp
from torchbp.testing import case, gradcases

pytestmark = pytest.mark.processes


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
    pytester.makepyfile(test_of_a_user=TESTS)
    result = pytester.runpytest_inprocess("-rA", *ARGUMENTS)
    result.assert_outcomes(passed=4, skipped=2, xfailed=1)
    result.stdout.fnmatch_lines(["*PASSED test_of_a_user.py::test_gradients[[]sin-vmap]*"])
    chosen = pytester.runpytest_inprocess("-k", "vmap", *ARGUMENTS)
    chosen.assert_outcomes(passed=1, skipped=1, deselected=5)


def test_a_failure_is_the_finding_and_no_traceback(pytester):
    pytester.makepyfile(test_of_a_user=TESTS.replace("strict=True", "condition=False"))
    result = pytester.runpytest_inprocess("-k", "product", *ARGUMENTS)
    result.assert_outcomes(failed=1, skipped=2, deselected=4)
    result.stdout.fnmatch_lines(["*the gradient of weight is wrong*", "*likely cause: *"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_what_surrounds_the_cases_counts(pytester):
    """Marks above and below, fixtures, a class; and a check that is skipped is no test that passed."""
    pytester.makepyfile(
        """
        import pytest
        import torch
        from torchbp.testing import case, gradcases

        CASES = [case(torch.sin, torch.ones(3), checks=["values", "module"])]

        @pytest.fixture
        def number():
            return 3

        class Tests:
            @gradcases(CASES)
            def test_in_a_class(self, number, result):
                assert isinstance(self, Tests)
                assert (number, result.check) == (3, "values")

        @gradcases(CASES)
        @pytest.mark.skip(reason="mark below")
        def test_below():
            pass

        @pytest.mark.skip(reason="mark above")
        @gradcases(CASES)
        def test_above():
            pass

        @gradcases(CASES)
        @pytest.mark.parametrize("other", [1, 2])
        def test_more_parameters(other):
            assert other in (1, 2)
        """
    )
    result = pytester.runpytest_inprocess("-rs", *ARGUMENTS)
    result.assert_outcomes(passed=3, skipped=7)
    result.stdout.fnmatch_lines_random(["*mark below*", "*mark above*", "*not a module*"])


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"marks": {"vlues": pytest.mark.xfail}}, ValueError, "no check 'vlues'; did you mean values"),
        ({"domain": 3}, TypeError, "domain must be two numbers"),
        ({"domian": (0, 1)}, TypeError, "no option 'domian'; did you mean domain"),
        ({"check_forward_ad": True}, TypeError, "check_forward_ad is of gradcheck; here it is the check jvp"),
        ({"raise_exception": False}, TypeError, "a case has no option 'raise_exception'"),
    ],
)
def test_a_case_that_means_nothing_is_refused(options, kind, message):
    with pytest.raises(kind, match=message):
        case(torch.sin, torch.ones(3), **options)


@pytest.mark.processes
@pytest.mark.skipif(not forked_process.is_possible(), reason="a fork is only possible on Linux, without an accelerator")
def test_a_case_may_be_isolated(pytester):
    pytester.makepyfile("""
        import os
        import torch
        from torchbp.testing import case, gradcases

        def aborts(x):
            os.abort()

        @gradcases([case(f, torch.ones(3), checks="values", isolate=True) for f in (aborts, torch.sin)])
        def test_gradients(result):
            assert result.status == "PASS"
    """)
    result = pytester.runpytest_inprocess(*ARGUMENTS)
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*the process crashes with SIGABRT*"])


def test_a_failure_of_check_grad_shows_the_callers_line_alone(pytester):
    pytester.makepyfile(
        test_of_a_user=TESTS.replace("    with pytest.raises(torchbp.testing.GradientError):\n    ", "")
    )
    result = pytester.runpytest_inprocess("-k", "fixture", *ARGUMENTS)
    result.assert_outcomes(failed=1, deselected=6)
    result.stdout.fnmatch_lines(
        ['>*check_grad(Multiply, inputs(), checks="values")', "*the gradient of weight is wrong*"]
    )
    result.stdout.no_fnmatch_line("*raise_exception*")


def test_an_unrelated_run_of_pytest_does_not_load_torch(pytester):
    """With the plugin as the package's metadata name it, in a project that has nothing to do with torch."""
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parents[2] / "setup.cfg")
    points = setup["options.entry_points"]["pytest11"]
    metadata = pytester.mkdir("torchbp_tests-0.dist-info")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: torchbp_tests\nVersion: 0\n")
    (metadata / "entry_points.txt").write_text(f"[pytest11]{points}\n")
    pytester.makepyfile("""
        import sys

        def test_it(pytestconfig):
            assert pytestconfig.pluginmanager.hasplugin("torchbp")
            assert "torchbp.testing.pytest_plugin" in sys.modules
            assert "torch" not in sys.modules
    """)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(pytester.path), *sys.path])}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = ""
    result = pytester.run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
