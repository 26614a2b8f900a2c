"""One cause is one failure: the others refer to it."""

from dataclasses import replace

from torchbp.testing.report import FAIL, SKIP, WRONG_GRADIENT


def referred(results):
    """The results, in which a failure of the same cause as an earlier one is a SKIP that refers to it.

    A gradient that is wrong elsewhere than at the inputs is a failure of its own, unless it is wrong there too.
    """
    first, found = {}, []
    for result in results:
        if result.status == FAIL and result.cause:
            if result.cause in first:
                message = f"see {first[result.cause]}: {result.message}"
                found.append(replace(result, status=SKIP, message=message, details=()))
                continue
            if result.cause != WRONG_GRADIENT or result.check == "values":
                first[result.cause] = result.check
        found.append(result)
    return found
