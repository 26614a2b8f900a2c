"""`torchbp.check`: run the checks, one after another, and report."""

import difflib
import logging
import re
import time
import warnings
from contextlib import contextmanager
from dataclasses import fields

import torch

from torchbp.testing import forked_process as apart
from torchbp.testing.checks import CHECKS, LEVELS
from torchbp.testing.numerics.tensors import first_line
from torchbp.testing.options import Options
from torchbp.testing.report import FAIL, PASS, UNSUPPORTED, GradientError, Outcome, Report, Result
from torchbp.testing.subject.coverage import expect_comparable
from torchbp.testing.subject.global_settings import positions, put_back
from torchbp.testing.subject.naming import expression
from torchbp.testing.subject.prepare import subject_of
from torchbp.testing.subject.rng import preserved

NEEDS_GRADIENT = "not require grad"


def check(
    fn_or_module,
    inputs,
    *,
    eps=None,
    atol=None,
    rtol=None,
    nondet_tol=0.0,
    checks="default",
    skip=(),
    require=(),
    batch_dims=None,
    domain=None,
    reference=None,
    seed=0,
    raise_exception=True,
):
    """Audit the gradients of a function, an `autograd.Function`, a module or a registered custom op.

    Every check runs, also after a failure. Floating inputs and modules are audited as float64 copies; nothing that
    belongs to the caller is altered, the random state included. A matrix A that is symmetric up to rounding is audited
    as (A + Aᵀ) / 2, and a function of it is right if its gradient is in the directions in which it stays symmetric.

    Args:
        fn_or_module: what is audited. Of a module, the parameters are audited with the inputs.
        inputs: a tensor, a tuple of arguments (tensors, lists of tensors, anything), or a dict of keyword arguments.
            Gradients of those that require one are audited; of every floating one, if none does.
        eps: the step of the numerical differences; by default one that suits each entry.
        atol: how far a derivative may be off; by default 1e-9 of the Jacobian's greatest entry.
        rtol: how far, relative to the derivative; by default 1e-6 (in lower precision than float64, 1e-3).
        nondet_tol: how far two runs with the same seed may differ.
        checks: "fast", "default" or "all"; or the name of a check; or several of these.
        skip: names of checks that are left out.
        require: names of checks that must not be UNSUPPORTED; they run whatever `checks` says.
        batch_dims: how many leading dimensions of every input the function maps over; where they differ, a dict by name
            of an input. The outputs must have them too.
        domain: (low, high), the numbers that the inputs may have; or a dict by name.
        reference: another implementation, of the same arguments, that must agree.
        seed: of the random state before each call.
        raise_exception: raise a `GradientError` if the report is not sound; otherwise the report tells.

    Returns:
        A `Report`. Its `results` are in the order of the table of checks. It is true if it is sound: no check failed,
        and not all were skipped.

    Raises:
        GradientError: a check failed, or nothing was compared; a `torch.autograd.gradcheck.GradcheckError`.
        ValueError, TypeError: the function raises at these inputs, or an option or a name means nothing.

    Example:
        >>> report = torchbp.check(torch.sigmoid, torch.randn(3, requires_grad=True))
    """
    __tracebackhide__ = True  # pytest shows the caller's line, not ours
    names = chosen(checks, skip, require)
    options = Options(eps, atol, rtol, nondet_tol, batch_dims, domain, reference, seed)
    with torch.inference_mode(False), torch.enable_grad(), preserved(), quiet():
        subject = subject_of(fn_or_module, inputs, options)
        options.expect_inputs([argument for argument in subject.arguments if argument.kind == "input"])
        results = results_of(names, subject, require)
    report = Report(subject.name, results, tuple(subject.notes), seed)
    if raise_exception and not report.sound:
        raise GradientError(report)
    return report


def chosen(checks, skip=(), require=()):
    """The names of the checks to run, in the order of the table."""
    checks, skip, require = names_in(checks), names_in(skip), names_in(require)
    for name in (*checks, *skip, *require):
        expect_check(name, [*CHECKS, *LEVELS] if name in checks else [*CHECKS])
    both = [name for name in require if name in skip]
    if both:
        raise ValueError(f"{both[0]!r} is both in require and in skip")
    upto = max((LEVELS.index(name) + 1 for name in checks if name in LEVELS), default=0)
    wanted = {*checks, *require, *(name for name, row in CHECKS.items() if row.level in LEVELS[:upto])}
    left = [name for name in CHECKS if name in wanted and name not in skip]
    if not left:
        raise ValueError(f"no check is left to run: checks={list(checks)}, skip={list(skip)}")
    return left


def expect_check(name, known):
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(CHECKS)}"
        raise ValueError(f"there is no check {name!r}; {hint}")


def names_in(names):
    return (names,) if isinstance(names, str) else tuple(names)


def results_of(names, subject, require):
    """The results in the order of the names: of some checks from a process of their own, where that is possible."""
    left = [name for name in names if CHECKS[name].apart] if apart.possible() else []
    left.sort(key=lambda name: name == "shapes")  # what writes out of bounds there may crash only later
    found = {name: run(name, subject, require) for name in names if name not in left}

    def work(name, tell):
        subject.report_progress = tell
        return run(name, subject, require)

    while left:
        done, problem = apart.forked(work, left)
        if problem is None and len(done) < len(left):  # it was silent: what is left, here
            done += [run(name, subject, require) for name in left[len(done) :]]
        if problem is not None:
            name, (message, causes) = left[len(done)], problem
            reproduce = f"reproduce: {call_of(name, subject, require)}"
            done.append(Result(name, FAIL, message, (*causes, reproduce)))
        found.update((result.check, result) for result in done)
        left = left[len(done) :]
    return [found[name] for name in names]


def run(name, subject, require=(), call=None):
    """The result of one check. What the audited code raises is a finding, never our traceback.

    `call` is how to run this check again, for people.
    """
    began = time.perf_counter()
    status, message, details = PASS, "", ()
    switches = positions()
    try:
        expect_comparable(subject, name)
        message = CHECKS[name].function(subject) or ""
    except Outcome as outcome:
        status, message, details = outcome.status, outcome.message, outcome.details
    except Exception as error:
        status, message = FAIL, f"raises {type(error).__name__}: {first_line(error)}"
        if subject.behaviour.runs_autograd and NEEDS_GRADIENT in message:
            status, message = UNSUPPORTED, f"the function differentiates itself, and then {message}"
    finally:
        subject.changed_settings.update(put_back(switches))
    if status == UNSUPPORTED and name in names_in(require):
        status, message = FAIL, f"required, but unsupported: {message}"
    if status == FAIL:
        details = (*details, f"reproduce: {call or call_of(name, subject, require)}")
    return Result(name, status, message, details, round(time.perf_counter() - began, 4))


def call_of(name, subject, require):
    """The call of `check` that runs one check again, with all that it was told."""
    said = {field.name: getattr(subject.options, field.name) for field in fields(subject.options)}
    seed = said.pop("seed")
    told = {option: value for option, value in said.items() if value != getattr(Options, option)}
    words = {option: re.sub(r"\binf\b", "math.inf", repr(value)) for option, value in told.items()}
    if "reference" in told:
        words["reference"] = expression(told["reference"])
    if name in names_in(require):
        words["require"] = repr(name)
    rest = "".join(f", {option}={value}" for option, value in words.items())
    return f"torchbp.check({expression(subject.callee.original)}, inputs, checks={name!r}{rest}, seed={seed})"


@contextmanager
def quiet():
    """Without warnings and logs: torch has much to say of what the checks do on purpose."""
    level = logging.root.manager.disable
    told = torch._C._debug_only_are_vmap_fallback_warnings_enabled()
    torch._C._functorch._set_vmap_fallback_warning_enabled(False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(level)
            torch._C._functorch._set_vmap_fallback_warning_enabled(told)
