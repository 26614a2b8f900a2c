"""The loss after a step of any length along the gradient: real values, and the minimum among them."""

import math

from torchbp.explanation.drawing import number

POINTS = 61  # of the curve, evenly spaced in log α
LOWEST, HIGHEST = 1e-2, 1e2  # times the learning rate; farther, to this many times more, where the loss still falls
FARTHEST = 1e6


def curve(explanation):
    """`points`, pairs [α, loss] with α rising, `chosen` and `minimum`, places among them; `minimum` is None where the
    loss falls to the end. Without a gradient there are no points."""
    if not (math.isfinite(explanation.loss) and explanation.squared_norm()):
        return {"points": [], "chosen": None, "minimum": None}
    low, high = explanation.lr * LOWEST, explanation.lr * HIGHEST
    points = sampled(explanation, low, high)
    nothing = 1e-3 * explanation.loss  # is left of the loss
    while lowest(points) == len(points) - 1 and points[-1][1] > nothing and high < explanation.lr * FARTHEST:
        high *= 10
        points = sampled(explanation, low, high)
    while lowest(points) == 0 and low > explanation.lr / FARTHEST:
        low /= 10
        points = sampled(explanation, low, high)
    place, best = lowest(points), None
    if 0 < place < len(points) - 1:
        best = refined(explanation, points[place - 1][0], points[place + 1][0])
        points = sorted([*points, best])
    given = [explanation.lr, explanation.new_loss]
    if given not in points:
        points = sorted([*points, given])
    return {
        "points": [[number(rate), number(loss)] for rate, loss in points],
        "chosen": points.index(given),
        "minimum": None if best is None else points.index(best),
    }


def sampled(explanation, low, high):
    rates = [low * (high / low) ** (i / (POINTS - 1)) for i in range(POINTS)]
    return [[rate, explanation.loss_after(rate)] for rate in rates]


def lowest(points):
    return min(range(len(points)), key=lambda i: points[i][1] if math.isfinite(points[i][1]) else math.inf)


def refined(explanation, low, high):
    """The minimum between two rates, by golden sections."""
    ratio = (math.sqrt(5) - 1) / 2
    found = []
    for _ in range(20):
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        pair = [[rate, explanation.loss_after(rate)] for rate in (a, b)]
        found += pair
        low, high = (low, b) if pair[0][1] < pair[1][1] else (a, high)
    return min(found, key=lambda point: point[1])
