"""A quick look at a point: one projection of the Jacobian, along one direction of all arguments at once.

What is right there is right everywhere, but for a chance of about the tolerance. What is not must be looked at closely:
it may lie at a kink, or be numerical error.
"""

import torch

from torchbp.testing.numerics import finite_differences
from torchbp.testing.numerics.gradients import analytical_rows, generator
from torchbp.testing.numerics.jacobian import vector_function
from torchbp.testing.numerics.tensors import as_real, direction_like, flat, weights

_TOLERANCE, _MAX_ERROR = 1e-6, 1e-4  # relative to the derivative


def seems_right(subject, wanted=None, salt=14, steps=(finite_differences.STEP / 4,)):
    """Whether the analytical derivative along one random direction is the numerical one, by one of the steps."""
    wanted = [i for i in (subject.differentiable if wanted is None else wanted) if subject.point[i].numel()]
    if not wanted or subject.precision.unit > 1e-10:
        return False
    function, source = vector_function(subject), generator(subject, salt)
    at_0 = function(subject.point)
    if not at_0.numel() or not bool(at_0.isfinite().all()):
        return False
    row = weights((len(at_0),), source)
    matrices = analytical_rows(subject, [row], wanted)
    directions = {i: direction_like(subject.point[i], source) * _size(subject.point[i]) for i in wanted}
    analytical = sum(float(m[0] @ flat(directions[i]).double()) for i, m in zip(wanted, matrices, strict=True))

    def change(t):
        moved = [x + t * directions[i] if i in directions else x for i, x in enumerate(subject.point)]
        return (row @ (function(moved) - at_0))[None]

    noise = 4 * subject.precision.unit * (row * at_0).norm()
    for step in steps:
        try:
            found = finite_differences.slopes(change, step, noise)
        except Exception:  # outside of its domain
            return False
        value, error = float(found.value), float(found.error)
        if error <= _MAX_ERROR * abs(value):
            return abs(analytical - value) <= _TOLERANCE * abs(value) + 2 * error
    return False


def _size(tensor):
    """The usual size of a number of it, so that the step is relative."""
    numbers = as_real(tensor).abs()
    return float(torch.quantile(numbers.reshape(-1)[:1000].double(), 0.5).clamp(min=0.1))
