"""Numerical derivatives of fourth order, each with an estimate of its error.

    D(h) = [8 (f(x+h) − f(x−h)) − (f(x+2h) − f(x−2h))] / 12h  =  f′ + O(h⁴)

D(h/2) is the value; its error is |D(h) − D(h/2)|, plus the rounding error of f, over h. Where that is not good enough,
other steps are tried, and the best one of each entry is kept. The slopes to either side tell a kink from an error.
"""

import math
from dataclasses import dataclass

import torch

from torchbp.testing.numerics.rounding import HALF_UNIT
from torchbp.testing.numerics.tensors import as_real, coarseness

STEP = 2e-3
STEP_FACTORS = (1 / 16, 1 / 256, 1 / 4096, 1 / 65536, 8.0)


@dataclass
class Slopes:
    """The derivative of each output along one direction, with its error, and the slopes to the left and the right."""

    value: torch.Tensor
    error: torch.Tensor
    left: torch.Tensor
    right: torch.Tensor
    step: torch.Tensor

    def improve(self, other):
        """Take the other's entries where their error is less, unless the finer of the two steps shows it to be false.

        A step over several periods of a function may show small differences by accident.
        """
        differ = (self.value - other.value).abs() > 10 * (self.error + other.error)
        finer = other.step < self.step
        better = torch.where(differ, finer, other.error < self.error) | self.error.isnan()
        for name in ("value", "error", "left", "right", "step"):
            setattr(self, name, torch.where(better, getattr(other, name), getattr(self, name)))

    def widen_error(self, other):
        """Two steps that agree by accident are found out by a third one: the error is at least the difference to it."""
        self.error = torch.maximum(self.error, (self.value - other.value).abs().nan_to_num(math.inf))


def slopes(function, h, noise):
    """The derivative at 0 of a function of one number that is 0 there, rounded by `noise`, with the step h."""
    p1, m1 = function(h / 2), function(-h / 2)
    p2, m2 = function(h), function(-h)
    p4, m4 = function(2 * h), function(-2 * h)
    coarse = (8 * (p2 - m2) - (p4 - m4)) / (12 * h)
    fine = (8 * (p1 - m1) - (p2 - m2)) / (6 * h)
    error = (coarse - fine).abs() + 4 * noise / h
    error = torch.where(fine.isfinite() & coarse.isfinite(), error, math.inf)
    return Slopes(fine, error, (m2 - 4 * m1) / h, (4 * p1 - p2) / h, torch.full_like(fine, h))


def along(function, point, argument, direction):
    """t ↦ f(x + t d): the direction d is one entry of an argument (its index), or a vector of weights."""
    like = as_real(point[argument])
    is_entry = isinstance(direction, int)
    if is_entry:
        index = tuple(int(i) for i in torch.unravel_index(torch.tensor(direction), like.shape))
    else:
        weights = direction.view(like.shape).to(like)

    def at(t):
        moved = list(point)
        moved[argument] = point[argument].clone()
        numbers = as_real(moved[argument])
        if is_entry:
            numbers[index] += t
        else:
            numbers += t * weights
        return function(moved)

    return at


def steps(tensor, direction, unit=0.0, is_half=False):
    """The first step along a direction, and further ones, where the first does not settle the matter.

    In float64 the first step is 0.002 of the entry, in float32 ten times that, in float16 a sixth. Of a projection it
    is that far in all. Another step suits numbers that are less than 0.1.
    """
    numbers = as_real(tensor).reshape(-1)
    if isinstance(direction, int):
        size, share = abs(float(numbers[direction])), STEP
    else:
        size, share = float(numbers.abs().double().median()), STEP / max(1.0, numbers.numel() ** 0.5)
    factor = 1.0 if unit < 1e-10 else (unit / 2.2e-16) ** (0.15 if is_half else 0.12)
    first, for_small = share * max(size, 0.1) * factor, share * size
    further = [first * factor for factor in STEP_FACTORS]
    return first, [*further, for_small] if 0 < for_small < first / 16 else further


def noise_of(function, at_0, point, arguments, generator, unit):
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
        except Exception:  # outside of its domain
            return torch.full_like(at_0, math.nan)

    def third_difference(delta):
        found = (at(3 * delta) - 3 * at(2 * delta) + 3 * at(delta) - at_0).abs() / 4
        return torch.where(found.isfinite(), found, 0.0)

    delta = 3e-6 if unit < 1e-10 else 3 * unit
    third = third_difference(delta)
    if unit < 1e-10:
        closer, closest = third_difference(delta / 10), third_difference(delta / 100)
        smooth = third > 100 * closer  # what shrinks as the cube of the step is the function itself
        third = torch.minimum(third, torch.where(smooth, torch.minimum(closer, closest), closer))
    unit = max(unit, coarseness(torch.cat([at(0.11), at(0.17)])))
    typical = third.square().mean().sqrt() if third.numel() else 0.0
    floor = (1 if unit > HALF_UNIT else 2) * unit * at_0.abs().nan_to_num(0, 0, 0)
    return torch.maximum(third, floor).clamp(min=typical), unit
