"""Each kind of layer of a large model, alone, at what it is given there."""

from collections import Counter

from torchbp.testing.audit import check
from torchbp.testing.checks import CHECKS
from torchbp.testing.cpu_clock import cpu_seconds
from torchbp.testing.report import PASS, UNSUPPORTED, CannotRun, Defect, Skipped
from torchbp.testing.subject.large_model import layer_calls
from torchbp.testing.subject.naming import listing

# numbers of a layer and its inputs, from which on it has those of the checks alone that are "fast"
_LARGE, _LARGE_OF_MANY_PARTS = 200_000, 20_000


def layers(subject):
    if not subject.is_large_model:
        raise Skipped("for large models alone; the other checks look at this one as a whole")
    began, audited, late, refused = cpu_seconds(), [], [], []
    calls = layer_calls(subject)
    subject.let_parameters_go()
    for call in calls:
        if cpu_seconds() - began > subject.options.seconds:
            late.append(call.kind)
            continue
        subject.report_progress(f"{call.kind} ({call.name})")
        try:
            audited.append(_audit(call, subject))
        except CannotRun as error:
            refused.append(f"not audited: {_words(call)}, as {error}")
    left_out = [f"left out after {subject.options.seconds:g} s: {listing(late)}"] if late else []
    if not audited:
        raise Skipped("; ".join([*refused, *left_out]) or "the model calls none of its layers")
    return "; ".join([*audited, *refused, *left_out])


def _words(call):
    return call.kind if call.count == 1 else f"{call.kind} ({call.name}, for {call.count} calls)"


def _audit(call, subject):
    """Words on a sound layer; a Defect if it is not. Raises CannotRun if it cannot be called alone."""
    options, checks, level = subject.options, subject.layer_checks, ""
    fast = [name for name in checks if CHECKS[name].level == "fast"]
    if fast and len(fast) < len(checks) and call.numbers > (_LARGE if call.is_leaf else _LARGE_OF_MANY_PARTS):
        checks, level = fast, ' of "fast"'
    settings = {name: getattr(options, name) for name in ("seed", "eps", "atol", "rtol", "nondet_tol")}
    report = check(call.layer, call.inputs, checks=checks, raise_exception=False, **settings)
    if report.failed:
        first = report.failed[0]
        lines = [line for line in first.details if not line.startswith("reproduce")]
        others = [f"also: {result.check} {result.message}" for result in report.failed[1:]]
        raise Defect(f"{call.name}, a {call.kind}: {first.check}: {first.message}", [*lines, *others], first.cause)
    counts = Counter(result.status for result in report.results)
    unsupported = [result.check for result in report.results if result.status == UNSUPPORTED]
    rest = f", unsupported: {listing(unsupported)}" if unsupported else ""
    return f"{_words(call)}: {counts[PASS]} passed{level}{rest}"
