"""Each kind of layer of a large model, alone, at what it is given there."""

import time
from collections import Counter

from torchbp.testing.audit import check
from torchbp.testing.checks import CHECKS
from torchbp.testing.report import PASS, UNSUPPORTED, CannotRun, Defect, Skipped
from torchbp.testing.subject.large_model import layer_calls
from torchbp.testing.subject.naming import listing

_LARGE = 200_000  # numbers of a layer and its inputs, from which on it has those of the checks alone that are "fast"


def layers(subject):
    if not subject.is_large_model:
        raise Skipped("for large models alone; the other checks look at this one as a whole")
    began, audited, left_out = time.perf_counter(), [], []
    for call in layer_calls(subject):
        if time.perf_counter() - began > subject.options.seconds:
            left_out.append(call.kind)
            continue
        checks = subject.layer_checks
        if not call.is_leaf or call.numbers > _LARGE:
            checks = [name for name in checks if CHECKS[name].level == "fast"] or checks
        audited.append(_audit(call, checks, subject.options))
    late = [f"left out after {subject.options.seconds:g} s: {listing(left_out)}"] if left_out else []
    if not audited:
        raise Skipped(*late or ["the model calls none of its layers"])
    return "; ".join([*audited, *late])


def _audit(call, checks, options):
    """Words on a sound layer; a Defect if it is not."""
    where = call.kind if call.count == 1 else f"{call.kind} ({call.name}, for {call.count} calls)"
    settings = {"seed": options.seed, "eps": options.eps, "atol": options.atol, "rtol": options.rtol}
    try:
        report = check(call.layer, call.inputs, checks=checks, raise_exception=False, **settings)
    except CannotRun as error:
        return f"{where}: {error}"
    if report.failed:
        first = report.failed[0]
        lines = [line for line in first.details if not line.startswith("reproduce")]
        others = [f"also: {result.check} {result.message}" for result in report.failed[1:]]
        raise Defect(f"{call.name}, a {call.kind}: {first.check}: {first.message}", [*lines, *others], first.cause)
    counts = Counter(result.status for result in report.results)
    unsupported = [result.check for result in report.results if result.status == UNSUPPORTED]
    return f"{where}: {counts[PASS]} passed" + (f", unsupported: {listing(unsupported)}" if unsupported else "")
