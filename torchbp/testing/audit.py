"""`torchbp.check`: run the checks, one after another, and report."""

import contextlib
import logging
import re
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

import torch
from torch.autograd.gradcheck import GradcheckError

from torchbp.testing import forked_process
from torchbp.testing.checks import CHECKS, as_tuple, check_function, chosen_checks
from torchbp.testing.checks.model.choice import checks_for
from torchbp.testing.diagnosis.one_cause import referred
from torchbp.testing.diagnosis.origin import raised_in
from torchbp.testing.numerics.tensors import first_line
from torchbp.testing.options import Options, refuse_keywords
from torchbp.testing.report import FAIL, PASS, UNSUPPORTED, Outcome, Report, Result
from torchbp.testing.subject.coverage import expect_comparable, not_varied
from torchbp.testing.subject.global_settings import current_settings, restore_settings
from torchbp.testing.subject.naming import expression, is_registered_operator, name_of
from torchbp.testing.subject.prepare import subject_of
from torchbp.testing.subject.rng import preserved

_NEEDS_GRADIENT = "not require grad"


class GradientError(GradcheckError):
    """The audit failed, or compared nothing. `report` holds every result; the text is that of the failures, or all."""

    def __init__(self, report: Report) -> None:
        lines = [line for result in report.failed or report.results for line in result.lines()]
        super().__init__("\n".join([report.summary(), *lines]))
        self.report = report


def check(
    fn_or_module: Callable[..., Any],
    inputs: Any,
    *,
    eps: float | None = None,
    atol: float | None = None,
    rtol: float | None = None,
    nondet_tol: float = 0.0,
    checks: str | Iterable[str] = "default",
    skip: str | Iterable[str] = (),
    require: str | Iterable[str] = (),
    batch_dims: int | Mapping[str, int] | None = None,
    domain: tuple[float, float] | Mapping[str, tuple[float, float]] | None = None,
    reference: Callable[..., Any] | None = None,
    surrogate: Callable[..., Any] | None = None,
    isolate: bool | None = None,
    seed: int = 0,
    seconds: float = 40.0,
    raise_exception: bool = True,
    **of_gradcheck: Any,
) -> Report:
    """Audit the gradients of a function, an `autograd.Function`, a module or a registered custom op.

    Every check runs, also after a failure. Floating inputs and modules are audited as float64 copies; nothing that
    belongs to the caller is altered, the random state included. A matrix A that is symmetric up to rounding is audited
    as (A + Aᵀ) / 2; its gradient is compared in the directions in which it stays symmetric, if it is wrong in others.

    A large model (a module that has two layers or more, and more than 100,000 parameters or 40 tensors of them) is
    looked at as a whole along a few directions. Each kind of its layers has the checks alone, at what the model gives
    it.

    Args:
        fn_or_module: what is audited. Of a module, the parameters are audited with the inputs.
        inputs: a tensor, a tuple of arguments (tensors, lists of tensors, anything), or a dict of keyword arguments.
            The gradients of those with requires_grad are audited; if none has it, of every floating one.
        eps: the step of the numerical differences; by default one that suits each entry.
        atol: how far a derivative may be off; by default 1e-9 of the Jacobian's greatest entry.
        rtol: how far, relative to the derivative; by default 1e-6 (in lower precision than float64, 1e-3).
        nondet_tol: how far two runs with the same seed may differ.
        checks: "fast", "default" or "all"; or the name of a check; or several of these.
        skip: names of checks that are left out.
        require: names of checks that must not be UNSUPPORTED; they run whatever `checks` says.
        batch_dims: how many leading dimensions of every input the function maps over; if the inputs differ, a dict from
            the name of an input to its number. The outputs must have these dimensions too.
        domain: (low, high), the smallest and largest number that an input may have; or a dict by name.
        reference: another implementation with the same arguments, which must agree.
        surrogate: a function with the same arguments whose derivative is meant, where that is not the function's own:
            `lambda x: x` for a straight-through estimator, `lambda x: -x` for gradient reversal. Of a module, its first
            argument is the module.
        isolate: run all in a forked process, so that a crash of the code is a failure. By default so for registered
            operators; the command `torchbp check` always does it.
        seed: of the random generators before each call.
        seconds: of the CPU, after which no further layer of a large model is audited; half of them, after which no
            parameter with a wrong gradient is searched for. The report says what is left out.
        raise_exception: raise a `GradientError` if the report is not sound; otherwise return it.

    Returns:
        A `Report`. Its `results` are in the order of the table of checks. It is true if it is sound: no check failed,
        and not all were skipped.

    Raises:
        GradientError: a check failed, or nothing was compared. It is a `torch.autograd.gradcheck.GradcheckError`.
        ValueError, TypeError: the function raises at these inputs, or an option or a name is not valid.

    Example:
        >>> report = torchbp.check(torch.sigmoid, torch.randn(3, requires_grad=True))
    """
    __tracebackhide__ = True  # pytest shows the caller's line, not ours
    refuse_keywords(of_gradcheck)
    names = chosen_checks(checks, skip, require)
    options = Options(eps, atol, rtol, nondet_tol, batch_dims, domain, reference, surrogate, seed, seconds)
    isolate = _is_isolated(fn_or_module, isolate)
    asked = (*as_tuple(checks), *as_tuple(require))
    names, layer_checks, left_out = checks_for(fn_or_module, names, asked, skip)
    with torch.inference_mode(False), torch.enable_grad(), preserved(), quiet():
        if isolate and (problem := _crash_of_first_call(fn_or_module, inputs, options)):
            return _reported(Report(name_of(fn_or_module), [problem], (), seed), raise_exception)
        subject = subject_of(fn_or_module, inputs, options, layer_checks)
        options.expect_inputs([argument for argument in subject.arguments if argument.kind == "input"])
        results = _run_all(names, subject, require, isolate)
        notes = [*subject.notes, *not_varied(subject, names), *left_out]
    return _reported(Report(subject.name, results, tuple(notes), seed), raise_exception)


def _is_isolated(function, isolate):
    """Whether all is to run in a forked process."""
    if isolate and not forked_process.is_possible():
        raise ValueError("isolate=True needs Linux and no accelerator; the command `torchbp check` works everywhere")
    if isolate is None:
        return is_registered_operator(function) and forked_process.is_possible()
    return isolate


def _crash_of_first_call(function, inputs, options):
    """The failure, if the first call ends the process that it runs in."""
    _, problem = forked_process.run(lambda name, progress: _first_call(function, inputs, options), ["forward"])
    return None if problem is None else Result("forward", FAIL, *problem)


def _first_call(function, inputs, options):
    with contextlib.suppress(Exception):  # what it raises, it will raise here too
        subject_of(function, inputs, options)


def _reported(report, raise_exception):
    __tracebackhide__ = True
    if raise_exception and not report.sound:
        raise GradientError(report)
    return report


def _run_all(names, subject, require, isolate=False):
    """The results in the order of the names. Checks that may crash run in a forked process, where that is possible."""
    left = [name for name in names if isolate or CHECKS[name].may_crash] if forked_process.is_possible() else []
    left.sort(key=lambda name: name == "shapes")  # a write out of bounds there may crash a later check
    results = {name: run_check(name, subject, require) for name in names if name not in left}

    def work(name, report_progress):
        subject.report_progress = report_progress
        return run_check(name, subject, require)

    for name in left:
        check_function(name)  # imported here, not in each forked process
    while left:
        done, problem = forked_process.run(work, left)
        if problem is None and len(done) < len(left):  # it timed out: run the rest in this process
            done += [run_check(name, subject, require) for name in left[len(done) :]]
        if problem is not None:
            name, (message, causes) = left[len(done)], problem
            reproduce = f"reproduce: {_call_to_reproduce(name, subject, require)}"
            done.append(Result(name, FAIL, message, (*causes, reproduce)))
        results.update((result.check, result) for result in done)
        left = left[len(done) :]
    return referred([results[name] for name in names])


def run_check(name, subject, require=(), reproduce=None):
    """The result of one check. What the audited code raises is a failure, never our traceback.

    `reproduce` is the command line that runs this check again; by default it is a call of `torchbp.check`.
    """
    began = time.perf_counter()
    status, message, details, cause = PASS, "", (), ""
    function, settings = check_function(name), current_settings()
    try:
        expect_comparable(subject, name)
        message = function(subject) or ""
    except Outcome as outcome:
        status, message, details, cause = outcome.status, outcome.message, outcome.details, outcome.cause
    except Exception as error:
        cause = f"{type(error).__name__}: {first_line(error)}"
        status, message, details = FAIL, f"raises {cause}", tuple(raised_in(error))
        if subject.behaviour.runs_autograd and _NEEDS_GRADIENT in message:
            status, message = UNSUPPORTED, f"the function differentiates itself, and then {message}"
    finally:
        subject.changed_settings.update(restore_settings(settings))
    if status == UNSUPPORTED and name in as_tuple(require):
        status, message, cause = FAIL, f"required, but unsupported: {message}", ""
    if status == FAIL:
        details = (*details, f"reproduce: {reproduce or _call_to_reproduce(name, subject, require)}")
    return Result(name, status, message, details, round(time.perf_counter() - began, 4), cause)


def _call_to_reproduce(name, subject, require):
    """The call of `check` that runs one check again, with the same options."""
    options = {field.name: getattr(subject.options, field.name) for field in fields(subject.options)}
    seed = options.pop("seed")
    given = {option: value for option, value in options.items() if value != getattr(Options, option)}
    words = {option: re.sub(r"\binf\b", "math.inf", repr(value)) for option, value in given.items()}
    if "reference" in given:
        words["reference"] = expression(given["reference"])
    if name in as_tuple(require):
        words["require"] = repr(name)
    rest = "".join(f", {option}={value}" for option, value in words.items())
    return f"torchbp.check({expression(subject.callee.original)}, inputs, checks={name!r}{rest}, seed={seed})"


@contextlib.contextmanager
def quiet():
    """Without warnings and logs: torch warns of much that the checks do on purpose."""
    level = logging.root.manager.disable
    enabled = torch._C._debug_only_are_vmap_fallback_warnings_enabled()
    torch._C._functorch._set_vmap_fallback_warning_enabled(False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(level)
            torch._C._functorch._set_vmap_fallback_warning_enabled(enabled)
