"""One cause is one failure: the others refer to it."""

import re
from dataclasses import replace

from torchbp.testing.report import (
    FAIL,
    REPEATED_INDEX,
    ROUNDED,
    SKIP,
    UNSUPPORTED,
    WRITTEN_INTO,
    WRONG_GRADIENT,
    WRONG_SECOND_DERIVATIVE,
)

_TOLD_BY = {  # the check that tells most of a cause
    WRONG_GRADIENT: "values",
    WRONG_SECOND_DERIVATIVE: "second_order",
    ROUNDED: "dtypes",
    REPEATED_INDEX: "variations",
    WRITTEN_INTO: "side_effects",
}
_WRITTEN = "refers to a single memory location"  # torch's error of a write into an expanded tensor


def referred(results):
    """The results, in which a failure of the same cause as another one is a SKIP that refers to it.

    An error is the same if its text is, but for its numbers, such as sizes. So is one that a check takes for a refusal.
    A gradient that is wrong elsewhere than at the inputs is a failure of its own, unless it is wrong there too; a
    second derivative is wrong because the gradient is, unless `second_order` has found a cause of its own.
    """
    failed = [result for result in results if result.status == FAIL and result.cause]
    told_by = {}
    for result in sorted(failed, key=lambda result: not _tells_most(result)):
        if result.cause != WRONG_GRADIENT or _tells_most(result):
            told_by.setdefault(_cause(result), result.check)
    if told_by.get(WRONG_SECOND_DERIVATIVE) != "second_order":
        by_gradient = [result.check for result in failed if result.cause == WRONG_GRADIENT]
        of_second = next((check for check in ("values", "second_order") if check in by_gradient), None)
        told_by |= {WRONG_SECOND_DERIVATIVE: of_second} if of_second else {}
    return [_referred(result, told_by) for result in results]


def _referred(result, told_by):
    cause = _cause(result)
    if result.status == UNSUPPORTED:
        cause = next((cause for cause in told_by if _is_named(cause, _without_numbers(result.message))), "")
    if result.status not in (FAIL, UNSUPPORTED) or told_by.get(cause, result.check) == result.check:
        return result
    return replace(result, status=SKIP, message=_reference(told_by[cause], result), details=())


def _reference(check, result):
    """“see values: in float16: the backward raises the same error”."""
    if result.status == UNSUPPORTED:
        return f"see {check}: the same error"
    if result.cause in _TOLD_BY:
        return f"see {check}: {result.message}"
    return f"see {check}: {result.message.replace(result.cause, 'the same error')}"


def _cause(result):
    return WRITTEN_INTO if _WRITTEN in result.cause else _without_numbers(result.cause)


def _tells_most(result):
    return _TOLD_BY.get(_cause(result)) == result.check


def _without_numbers(text):
    return re.sub(r"\d+", "…", text)


def _is_named(cause, message):
    """Whether a message has the text of an error. One of a single word, as of a KeyError, is in others by chance."""
    text = cause.partition(": ")[2]  # without the class
    return " " in text and text in message
