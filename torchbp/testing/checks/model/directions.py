"""The gradients of a large model, along random directions of all of its parameters and inputs at once."""

import itertools

from torchbp.testing.cpu_clock import cpu_seconds
from torchbp.testing.diagnosis.message import judged
from torchbp.testing.numerics.jacobian import compare
from torchbp.testing.numerics.screen import seems_right
from torchbp.testing.report import Skipped

DIRECTIONS = 4
STEPS = (1e-4, 1e-6, 1e-8)  # small ones cross few of a network's many kinks
_FEW = 4  # entries of a tensor up to which it is looked at whole
_SUSPECTS = 3
_SHARE = 0.5  # of the option `seconds`, for the search; the rest is for the layers


def audit_along_directions(subject):
    """A line for the report.

    Where the derivative along a direction is not the numerical one, halves of the arguments are looked at, until it is
    known by which of them.

    Raises:
        Defect: the gradient by one of them is wrong.
        Skipped: along no direction the numerical derivative is known, as between the kinks of a network.
    """
    arguments, open_ones, late = subject.differentiable, 0, ""
    seconds = _SHARE * subject.options.seconds
    end = cpu_seconds() + seconds
    for salt in range(70, 70 + DIRECTIONS):
        if seems_right(subject, None, salt, STEPS):
            continue
        open_ones += 1
        for suspect in itertools.islice(_suspects(subject, arguments, salt), 0 if late else _SUSPECTS):
            judged(compare(subject, [suspect], whole=_FEW))
            if cpu_seconds() > end:
                late = f"; the search for a wrong one ended after {seconds:g} s"
                break
    if open_ones == DIRECTIONS:
        raise Skipped(f"along none of {DIRECTIONS} random directions the numerical derivative is certain{late}")
    certain = f"{DIRECTIONS - open_ones} random directions" + (f" ({open_ones} more uncertain)" if open_ones else "")
    return f"along {certain} of all {len(arguments)} arguments at once{late}"


def _suspects(subject, arguments, salt):
    """Those of the arguments along which the derivative alone is not known to be right, found as they are asked for."""
    if len(arguments) == 1:
        yield arguments[0]
        return
    middle = len(arguments) // 2
    for half in (arguments[:middle], arguments[middle:]):
        if not seems_right(subject, half, salt, STEPS):
            yield from _suspects(subject, half, salt)
