"""The pytest plugin: `gradcases` makes one test of each case and check, and the fixture `check_grad` audits in a test.

@torchbp.testing.gradcases([torchbp.testing.case(my_function, make_inputs)])
def test_gradients(result):
    pass  # the result of one check, for further asserts
"""

import inspect
from dataclasses import dataclass, field

import pytest

from torchbp.testing.auditor import check, chosen
from torchbp.testing.names import name_of
from torchbp.testing.report import FAIL, UNSUPPORTED


@dataclass(frozen=True)
class Case:
    """What `case` was told."""

    function: object
    inputs: object
    name: str
    checks: tuple
    marks: dict = field(default_factory=dict)
    options: dict = field(default_factory=dict)


def case(function, inputs, *, name=None, checks="default", skip=(), require=(), marks=None, **options):
    """A row of `gradcases`: the arguments of `torchbp.check`, with inputs or a function that makes them.

    Args:
        function: what is audited; a class of modules is made without arguments.
        inputs: the inputs, or a function without arguments that makes them when the test runs.
        name: for the test's id; by default that of the function.
        checks, skip, require, **options: those of `torchbp.check`.
        marks: {check: mark}, such as `{"vmap": pytest.mark.xfail(reason="no rule yet")}`.
    """
    names = tuple(chosen(checks, skip, require))
    return Case(function, inputs, name or name_of(function), names, marks or {}, {"require": require, **options})


def gradcases(cases):
    """Decorate a test function so that it runs once for each case and check; UNSUPPORTED skips, FAIL fails.

    The decorated function is called after the check, with its `Result` if it has an argument `result`.
    """
    rows = [
        pytest.param(row, check, id=f"{row.name}-{check}", marks=row.marks.get(check, ()))
        for row in cases
        for check in row.checks
    ]

    def decorate(function):
        wants_result = "result" in inspect.signature(function).parameters

        @pytest.mark.parametrize(("gradcase", "gradcheck"), rows)
        def test(gradcase, gradcheck):
            result = run(gradcase, gradcheck)
            if wants_result:
                function(result=result)
            else:
                function()

        test.__name__, test.__doc__, test.__module__ = function.__name__, function.__doc__, function.__module__
        return test

    return decorate


def run(row, name):
    """The result of one check; fails or skips the test that it is called in."""
    function = row.function() if inspect.isclass(row.function) and is_module(row.function) else row.function
    inputs = row.inputs() if callable(row.inputs) else row.inputs
    require = [each for each in row.options.get("require", ()) if each == name]
    report = check(function, inputs, checks=name, raise_exception=False, **{**row.options, "require": require})
    result = report[name]
    if result.status == FAIL:
        pytest.fail("\n".join(result.lines()), pytrace=False)
    if result.status == UNSUPPORTED:
        pytest.skip(f"unsupported: {result.message}")
    return result


def is_module(cls):
    import torch

    return issubclass(cls, torch.nn.Module)


@pytest.fixture
def check_grad():
    """`torchbp.check`: raises a GradientError, which pytest shows, if a check fails."""
    return check
