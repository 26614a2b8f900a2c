"""Numbers of every magnitude: a formula may be wrong between the points that other checks look at."""

import math

import torch

from torchbp.testing.diagnosis.elsewhere import expect_right_along
from torchbp.testing.numerics.gradients import generator, need
from torchbp.testing.numerics.jacobian import compare
from torchbp.testing.numerics.tensors import largest, symmetric
from torchbp.testing.report import Skipped

SIZES = (0.01, 0.1, 0.3, 1.5, 3.0, 5.0, 7.0, 10.0, 14.0, 18.0, 25.0, 40.0, 70.0, 150.0, 400.0, 1000.0)
_GRID = 64  # numbers of both signs from 0.01 to 1000, which the entries have in turn
_MOST_MIXED = 32  # points for them
_LARGE = 4096  # numbers of all arguments, from which on one in four points is looked at


def magnitudes(subject):
    """The gradient of each input at numbers from 0.01 to 1000, of both signs, together and mixed."""
    need(subject)
    if subject.precision.unit > 1e-10:
        raise Skipped("computed in too low a precision for numerical differences at every magnitude")
    if subject.random.is_used:
        raise Skipped("random: other numbers may draw otherwise")
    if compare(subject, whole=1).any_wrong:
        raise Skipped("the gradient is wrong at the inputs: see values")
    total = sum(subject.point[i].numel() for i in subject.differentiable)
    points = list(points_of_magnitudes(subject))
    for index, words, point in points[:: 4 if total > _LARGE else 1]:
        expect_right_along(subject, point, index, f"at {words}")
    if not points:
        raise Skipped("no real input")
    return f"at {len(points)} points, from {SIZES[0]:g} to {SIZES[-1]:g}"


def points_of_magnitudes(subject, mixed=True):
    """(argument, words, point): one input scaled to each size, and with numbers of all sizes at once."""
    source = generator(subject, 15)
    for i in subject.differentiable:
        argument, tensor = subject.arguments[i], subject.point[i]
        if argument.kind != "input" or tensor.is_complex() or not tensor.numel():
            continue
        low, high = subject.domain_of(argument)
        for numbers, words in [*_scaled(tensor), *(_mixed(tensor, source) if mixed and not symmetric(tensor) else ())]:
            if float(numbers.min()) < low or float(numbers.max()) > high:
                if math.isinf(low) or math.isinf(high) or words.startswith("-"):
                    continue
                numbers = low + (high - low) * (numbers.abs() / (1 + numbers.abs()))
                words = f"between {low:g} and {high:g}"
            yield i, f"{argument.name} {words}", [numbers if j == i else t for j, t in enumerate(subject.point)]


def _scaled(tensor):
    """The tensor, scaled so that its greatest number has each size, and of both signs."""
    size = largest(tensor) or 1.0
    ones = tensor if bool(tensor.any()) else torch.ones_like(tensor)
    for wanted in SIZES:
        for sign in (1, -1):
            yield ones * (sign * wanted / size), f"scaled to {sign * wanted:g}"


def _mixed(tensor, source):
    """Tensors of numbers of all sizes, which share out a grid."""
    sizes = torch.logspace(-2, 3, _GRID // 2, dtype=torch.float64)
    grid = torch.cat([sizes, -sizes])[torch.randperm(_GRID, generator=source)]
    count = tensor.numel()
    for k in range(min(_MOST_MIXED, math.ceil(_GRID / count))):
        numbers = grid[torch.arange(k * count, (k + 1) * count) % _GRID]
        yield numbers.view(tensor.shape).to(tensor), "of mixed sizes"
