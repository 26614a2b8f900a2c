"""One cause is one failure: the others refer to it."""

import re
from dataclasses import replace

from torchbp.testing.report import FAIL, SKIP, UNSUPPORTED, WRONG_GRADIENT


def referred(results):
    """The results, in which a failure of the same cause as an earlier one is a SKIP that refers to it.

    An error is the same if its text is, but for its numbers, such as sizes. So is one that a check takes for a refusal.
    A gradient that is wrong elsewhere than at the inputs is a failure of its own, unless it is wrong there too.
    """
    first, found = {}, []
    for result in results:
        cause = _without_numbers(result.cause)
        if result.status == UNSUPPORTED:
            cause = next((cause for cause in first if _is_named(cause, _without_numbers(result.message))), "")
        if result.status in (FAIL, UNSUPPORTED) and cause in first:
            found.append(replace(result, status=SKIP, message=_reference(first[cause], result), details=()))
            continue
        if result.status == FAIL and cause and (cause != WRONG_GRADIENT or result.check == "values"):
            first[cause] = result.check
        found.append(result)
    return found


def _reference(check, result):
    """“see values: in float16: the backward raises the same error”."""
    if result.status == UNSUPPORTED:
        return f"see {check}: the same error"
    if result.cause == WRONG_GRADIENT:
        return f"see {check}: {result.message}"
    return f"see {check}: {result.message.replace(result.cause, 'the same error')}"


def _without_numbers(text):
    return re.sub(r"\d+", "…", text)


def _is_named(cause, message):
    """Whether a message has the text of an error. One of a single word, as of a KeyError, is in others by chance."""
    text = cause.partition(": ")[2]  # without the class
    return " " in text and text in message
