"""Numerical derivatives of fourth order, each with an estimate of its error.

    D(h) = [8 (f(x+h) − f(x−h)) − (f(x+2h) − f(x−2h))] / 12h  =  f′ + O(h⁴)

D(h/2) is the value; its error is |D(h) − D(h/2)|, plus what the rounding of f is worth. Where that is not good enough,
other steps are tried, and the best one of each entry is kept. The slopes to either side tell a kink from an error.
"""

import math
from dataclasses import dataclass

import torch

from torchbp.testing.numerics.tensors import as_real, coarseness

STEP = 2e-3
HALF = 1e-4  # rounding units above are those of bfloat16 and float16
LADDER = (1 / 16, 1 / 256, 1 / 4096, 1 / 65536, 8.0)


@dataclass
class Slopes:
    """Of each output along one direction: the derivative, its error, and the slopes to the left and the right."""

    value: torch.Tensor
    error: torch.Tensor
    left: torch.Tensor
    right: torch.Tensor
    step: torch.Tensor

    def improve(self, other):
        """Take the other's entries where their error is less, unless the finer of the two steps shows it to be false.

        A step over several periods of a function may show small differences by accident.
        """
        apart = (self.value - other.value).abs() > 10 * (self.error + other.error)
        finer = other.step < self.step
        better = torch.where(apart, finer, other.error < self.error) | self.error.isnan()
        for name in ("value", "error", "left", "right", "step"):
            setattr(self, name, torch.where(better, getattr(other, name), getattr(self, name)))

    def doubt(self, other):
        """Two steps that agree by accident are told by a third one."""
        self.error = torch.maximum(self.error, (self.value - other.value).abs().nan_to_num(math.inf))


class Line:
    """f along a line through a point: the direction is one entry of one tensor, or a whole tensor of weights."""

    def __init__(self, function, point, argument, direction):
        self.function, self.point, self.argument, self.direction = function, point, argument, direction
        base = as_real(point[argument]).reshape(-1)
        whole = isinstance(direction, int)
        size = abs(float(base[direction])) if whole else float(base.abs().double().median())
        share = STEP if whole else STEP / max(1.0, base.numel() ** 0.5)  # so far in all
        self.step, self.least = share * max(size, 0.1), share * size

    def ladder(self, step):
        """Further steps: of other sizes, and one that suits small numbers, if they are such."""
        own = [self.least] if 0 < self.least < step / 16 else []
        return [*(step * factor for factor in LADDER), *own]

    def __call__(self, t):
        moved = list(self.point)
        moved[self.argument] = tensor = self.point[self.argument].clone()
        numbers = as_real(tensor)
        if isinstance(self.direction, int):
            numbers[tuple(torch.unravel_index(torch.tensor(self.direction), numbers.shape))] += t
        else:
            numbers += t * self.direction.view(numbers.shape).to(numbers)
        return self.function(moved)


def slopes(line, h, noise):
    """The derivative along a line of changes f − f(x), rounded by `noise`, with the step h."""
    p1, m1 = line(h / 2), line(-h / 2)
    p2, m2 = line(h), line(-h)
    p4, m4 = line(2 * h), line(-2 * h)
    coarse = (8 * (p2 - m2) - (p4 - m4)) / (12 * h)
    fine = (8 * (p1 - m1) - (p2 - m2)) / (6 * h)
    error = (coarse - fine).abs() + 4 * noise / h
    error = torch.where(fine.isfinite() & coarse.isfinite(), error, math.inf)
    return Slopes(fine, error, (m2 - 4 * m1) / h, (4 * p1 - p2) / h, torch.full_like(fine, h))


def noise_of(function, at_0, point, arguments, generator, eps):
    """How much each output is rounded, from differences over a step too small for a smooth function; and the unit."""
    moves = {}
    for i in arguments:
        numbers = as_real(point[i])
        signs = 1.0 - 2.0 * torch.rand(numbers.shape, generator=generator, dtype=torch.float64).to(numbers)
        moves[i] = numbers.abs().clamp(min=0.1) * signs

    def at(t):
        moved = list(point)
        for i, move in moves.items():
            moved[i] = point[i].clone()
            as_real(moved[i]).add_(t * move)
        try:
            return function(moved)
        except Exception:  # out of its domain, as it says itself
            return torch.full_like(at_0, math.nan)

    def third_difference(delta):
        found = (at(3 * delta) - 3 * at(2 * delta) + 3 * at(delta) - at_0).abs() / 4
        return torch.where(found.isfinite(), found, 0.0)

    delta = 3e-6 if eps < 1e-10 else 3 * eps
    third = third_difference(delta)
    if eps < 1e-10:
        closer, closest = third_difference(delta / 10), third_difference(delta / 100)
        smooth = third > 100 * closer  # what becomes less as the cube of the step is the function itself
        third = torch.minimum(third, torch.where(smooth, torch.minimum(closer, closest), closer))
    unit = max(eps, coarseness(torch.cat([at(0.11), at(0.17)])))
    typical = third.square().mean().sqrt() if third.numel() else 0.0
    floor = (1 if unit > HALF else 2) * unit * at_0.abs().nan_to_num(0, 0, 0)
    return torch.maximum(third, floor).clamp(min=typical), unit


def first_step(line, unit, given=None, wide=False):
    """A step that suits the precision: in float64 0.002 of the entry, in float32 ten times that, in float16 a sixth."""
    if given is not None:
        return given
    return line.step * (1.0 if unit < 1e-10 else (unit / 2.2e-16) ** (0.15 if wide else 0.12))
