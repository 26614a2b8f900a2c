"""The curve of the loss after steps of different lengths, its minimum, and a sentence on it."""

import math

import torch

from torchbp.explanation.notation.numbers import formatted
from torchbp.explanation.render.html.network_data import rounded

POINTS = 61  # of the curve, evenly spaced in log α
LOWEST, HIGHEST = 1e-2, 1e2  # times the learning rate
FARTHEST = 1e6
VISIBLE = 1e-6  # of the loss's fall: it must rise again by this much for a minimum


def curve(explanation):
    """`points`, pairs [α, loss] with α rising; `chosen` and `minimum`, places among them; and `says`, a sentence.

    `minimum` is None where the loss does not rise again on both sides. Where there is nothing to descend along, there
    are no points, and the sentence says why.
    """
    if nothing := _no_descent(explanation):
        return {"points": [], "chosen": None, "minimum": None, "says": nothing}
    points = _searched(explanation)
    place, best = _lowest(points), None
    falls = _rises(explanation, [[0, explanation.loss], *points[:place]], points[place])
    again = _rises(explanation, points[place + 1 :], points[place])
    if place and falls and again:
        best = _refined(explanation, points[place - 1][0], points[place + 1][0])
        points = sorted([*points, best])
        says = f"The minimum along {_way(explanation)}: {formatted(best[1])} at α = {formatted(best[0], 3)}."
    elif again:
        says = (
            f"The loss rises from the start of the scale, α = {formatted(points[0][0], 3)}: a longer step is no better."
        )
    elif falls:
        says = (
            f"The loss falls to the end of the scale, α = {formatted(points[-1][0], 3)}: no minimum is in this range."
        )
    else:
        says = "The loss is flat: no step of this range changes it by more than rounding."
    half, twice = (formatted(explanation.loss_after(times * explanation.lr)) for times in (0.5, 2))
    says += f" With half of α the loss would be {half}, with twice α {twice}."
    chosen = [explanation.lr, explanation.new_loss]
    if chosen not in points:
        points = sorted([*points, chosen])
    return {
        "points": [[rounded(rate, 6), rounded(loss, 6)] for rate, loss in points],
        "chosen": points.index(chosen),
        "minimum": None if best is None else points.index(best),
        "says": says,
    }


def _no_descent(explanation):
    """Why there is nothing to descend along; "" if there is."""
    directions, way = explanation.step.directions.values(), _way(explanation)
    if not math.isfinite(explanation.loss):
        return "The loss is not finite, and so it has no gradient to follow."
    if not directions:
        return "All parameters are frozen: no step changes them."
    if not all(direction.isfinite().all() for direction in directions):
        return f"{way.capitalize()} is not finite: no step along it has a loss."
    if not any(direction.any() for direction in directions):
        return f"{way.capitalize()} is 0: no step changes the loss."
    return ""


def _way(explanation):
    """Where the step goes, D of W′ = W − α D, in words."""
    return "the gradient" if explanation.step.descent.is_plain else "the optimizer's direction"


def _searched(explanation):
    """Points from below the learning rate to above it; farther while the lowest point is at an end."""
    limits = torch.finfo(explanation.values["X"].dtype)
    most, least = min(explanation.lr * FARTHEST, limits.max), explanation.lr / FARTHEST
    low, high = explanation.lr * LOWEST, min(explanation.lr * HIGHEST, most)
    points = _sampled(explanation, low, high)
    nothing = 1e-3 * explanation.loss  # is left of the loss
    while _lowest(points) == len(points) - 1 and points[-1][1] > nothing and high < most:
        high = min(10 * high, most)
        points = _sampled(explanation, low, high)
    while _lowest(points) == 0 and low > least:
        low = max(low / 10, least)
        points = _sampled(explanation, low, high)
    return points


def _sampled(explanation, low, high):
    span = math.log(high / low)
    rates = [min(low * math.exp(span * i / (POINTS - 1)), high) for i in range(POINTS)]
    return [[rate, explanation.loss_after(rate)] for rate in rates]


def _lowest(points):
    return min(range(len(points)), key=lambda i: _finite(points[i][1]))


def _finite(loss):
    return loss if math.isfinite(loss) else math.inf


def _rises(explanation, points, lowest):
    """Whether a point's loss is above the lowest one by more than rounding, and visibly."""
    eps = torch.finfo(explanation.values["X"].dtype).eps
    least = max(VISIBLE * abs(explanation.loss - lowest[1]), 16 * eps * abs(explanation.loss))
    return any(_finite(loss) > lowest[1] + least for _, loss in points)


def _refined(explanation, low, high):
    """The minimum between two rates, by golden-section search."""
    ratio, found = (math.sqrt(5) - 1) / 2, []

    def point(rate):
        found.append([rate, explanation.loss_after(rate)])
        return found[-1]

    a, b = point(high - ratio * (high - low)), point(low + ratio * (high - low))
    for _ in range(20):
        if _finite(a[1]) < _finite(b[1]):
            high, b = b[0], a
            a = point(high - ratio * (high - low))
        else:
            low, a = a[0], b
            b = point(low + ratio * (high - low))
    return min(found, key=lambda point: _finite(point[1]))
