"""`gradcases` makes one test of each case and check. (The fixture `check_grad` is in pytest_plugin.py.)

@torchbp.testing.gradcases([torchbp.testing.case(my_function, make_inputs)])
def test_gradients(result):
    pass  # the result of one check, for further asserts
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import pytest
import torch

from torchbp.testing.audit import check
from torchbp.testing.checks import CHECKS, as_tuple, chosen_checks, expect_check
from torchbp.testing.checks.model.choice import checks_for
from torchbp.testing.options import Options, refuse_keywords
from torchbp.testing.report import FAIL, PASS, UNSUPPORTED
from torchbp.testing.subject.naming import name_of


@dataclass(frozen=True)
class Case:
    """The arguments of `case`."""

    function: object
    inputs: object
    name: str
    checks: tuple
    marks: dict = field(default_factory=dict)
    options: dict = field(default_factory=dict)


def case(
    function: Callable[..., Any],
    inputs: Any,
    *,
    name: str | None = None,
    checks: str | Iterable[str] = "default",
    skip: str | Iterable[str] = (),
    require: str | Iterable[str] = (),
    marks: Mapping[str, Any] | None = None,
    **options: Any,
) -> Case:
    """A row of `gradcases`: the arguments of `torchbp.check`, with inputs or a function that makes them.

    Args:
        function: what is audited; a class of modules is called without arguments.
        inputs: the inputs, or a function without arguments that makes them when the test runs.
        name: for the test's id; by default that of the function.
        checks, skip, require, **options: those of `torchbp.check`, but for `raise_exception`.
        marks: {check: mark}, such as `{"vmap": pytest.mark.xfail(reason="no rule yet")}`.

    Example:
        >>> row = torchbp.testing.case(torch.sin, lambda: torch.randn(3, requires_grad=True), checks="fast")
    """
    names = chosen_checks(checks, skip, require)
    names, _, _ = checks_for(function, names, (*as_tuple(checks), *as_tuple(require)), skip)
    for marked in marks or ():
        expect_check(marked, CHECKS)
    _expect_options(options)
    return Case(function, inputs, name or name_of(function), tuple(names), marks or {}, {"require": require, **options})


def _expect_options(options):
    """Refuse what `check` does not take, when the tests are collected."""
    if "raise_exception" in options:
        raise TypeError("a case has no option 'raise_exception': what fails, fails its test")
    known = {field.name for field in fields(Options)}
    refuse_keywords(name for name in options if name not in known and name != "isolate")
    Options(**{name: value for name, value in options.items() if name in known})


def gradcases(cases: Iterable[Case]) -> Callable[[Callable[..., Any]], Any]:
    """Decorate a test so that it runs once for each case and check: FAIL fails; UNSUPPORTED and SKIP skip, with why.

    The test is called after the check. It may be a method, and have marks and fixtures; if it has an argument `result`,
    that is the check's `Result`.

    Example:
        >>> rows = [torchbp.testing.case(torch.sin, torch.randn(3, requires_grad=True), skip=["compile"])]
        >>> @torchbp.testing.gradcases(rows)
        ... def test_gradients(result): ...
    """
    rows = [
        pytest.param(row, check, id=f"{row.name}-{check}", marks=row.marks.get(check, ()))
        for row in cases
        for check in row.checks
    ]

    def decorate(function):
        @functools.wraps(function)
        def test(*args, gradcase, gradcheck, **fixtures):
            result = _run_case(gradcase, gradcheck)
            if "result" in wanted:
                fixtures["result"] = result
            return function(*args, **fixtures)

        wanted = inspect.signature(function).parameters
        given = [parameter for name, parameter in wanted.items() if name != "result"]
        added = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in ("gradcase", "gradcheck")]
        test.__signature__ = inspect.Signature([*given, *added])  # what pytest reads
        return pytest.mark.parametrize(("gradcase", "gradcheck"), rows)(test)

    return decorate


def _run_case(row, name):
    """The result of one check; fails or skips the test that it is called in."""
    is_class = inspect.isclass(row.function) and issubclass(row.function, torch.nn.Module)
    function = row.function() if is_class else row.function
    inputs = row.inputs() if callable(row.inputs) else row.inputs
    require = [each for each in as_tuple(row.options["require"]) if each == name]
    report = check(function, inputs, checks=name, raise_exception=False, **{**row.options, "require": require})
    (result,) = report.results  # of this check; or `forward`, if the first call of isolated code crashed
    if result.status == FAIL:
        pytest.fail("\n".join(result.lines()), pytrace=False)
    if result.status != PASS:
        pytest.skip(f"{'unsupported: ' if result.status == UNSUPPORTED else ''}{result.message}")
    return result
