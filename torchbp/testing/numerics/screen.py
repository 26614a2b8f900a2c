"""A quick look at a point: one projection of the Jacobian, along one direction of all arguments at once.

What is right there is right everywhere, but for a chance of about the tolerance. What is not must be looked at closely:
it may lie at a kink, or be numerical error.
"""

import contextlib

import torch

from torchbp.testing.numerics import finite_differences
from torchbp.testing.numerics.gradients import backward, generator, incoming_of
from torchbp.testing.numerics.jacobian import vector_function
from torchbp.testing.numerics.tensors import as_real, direction_like, flat, random_like, symmetric, weights

_LARGE = 10_000  # numbers of a tensor
_GROUP = 1_000_000
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
    directions = {i: _direction(subject.point[i], source) for i in wanted}
    analytical = _slope_by_backward(subject, row, directions)

    def change(t):
        with _moved(subject, directions, t) as point:
            return (row @ (function(point) - at_0))[None]

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


def _direction(tensor, source):
    """Two factors of a direction, of the usual size of a number: of a large tensor (rows, 1, …) and (1, columns, …).

    Their product is never made, as it would take the memory of the tensor.
    """
    if tensor.numel() < _LARGE or tensor.dim() < 2 or tensor.is_complex() or symmetric(tensor):
        return direction_like(tensor, source) * _size(tensor), torch.ones((), device=tensor.device)
    rows = random_like(tensor[(slice(None), *[slice(1)] * (tensor.dim() - 1))], source)
    return rows, random_like(tensor[:1], source) * _size(tensor)


@contextlib.contextmanager
def _moved(subject, directions, t):
    """The point, moved along the directions: of a large model in place, and back at the end, but for rounding."""
    point = list(subject.point)
    for i, (rows, columns) in directions.items():
        point[i] = torch.addcmul(point[i], rows, columns, value=t, out=point[i] if subject.is_large_model else None)
    try:
        yield point
    finally:
        for i, (rows, columns) in directions.items() if subject.is_large_model else ():
            point[i].addcmul_(rows, columns, value=-t)


def _slope_by_backward(subject, row, directions):
    """The derivative of one projection of the outputs along one direction of the arguments."""
    tensors = subject.fresh_tensors(directions)
    outputs = subject.call(tensors)
    incoming, slope = incoming_of(row, outputs), 0.0
    for group in _groups(subject.point, directions) if subject.is_large_model else [list(directions)]:
        found = backward(outputs, [tensors[i] for i in group], incoming, retain_graph=True)
        slope += sum(_product(g, *directions[i]) for i, g in zip(group, found, strict=True))
    return slope


def _product(gradient, rows, columns):
    """Σ gradient · rows · columns."""
    if columns.dim() == 0:
        return float(flat(gradient).double() @ flat(rows).double())
    return float(rows.flatten() @ (gradient.flatten(1) @ columns.flatten()))


def _groups(point, indices):
    """The indices of the tensors in groups, whose gradients take the memory of a part of the model."""
    groups, count = [[]], 0
    for i in indices:
        count += point[i].numel()
        if count > _GROUP and groups[-1]:
            groups, count = [*groups, []], point[i].numel()
        groups[-1].append(i)
    return groups


def _size(tensor):
    """The usual size of a number of it, so that the step is relative."""
    numbers = as_real(tensor).abs()
    return float(torch.quantile(numbers.reshape(-1)[:1000].double(), 0.5).clamp(min=0.1))
