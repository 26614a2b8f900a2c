"""The equations of the norms: μ, r = 1 / √(σ² + eps), U = x̂, and the two passes, as expressions.

    forward     U  = (X − μ) r      Z  = U ∘ w + b
    backward    dX = r (g − mean(g) − U ∘ mean(g ∘ U)), g = dZ ∘ w      dw = Σ dZ ∘ U      db = Σ dZ

The mean runs over the numbers of a group of channels in a row, over those of a channel in all rows, or over the last
dimensions of a row. w and b have a number for each channel, or one for each number of the last dimensions. Where the
mean m and the variance v of the training take its place:

    forward     r  = 1 / √(v + eps)     U  = (X − m) r
    backward    dX = dZ ∘ w ∘ r
"""

import math

from torchbp.ops.expressions import N, Number, SumOfRow, SumOver, Symbol, X, dZ, sqrt
from torchbp.ops.places import Collect, Gather, channels, of_channels, sum_of_channels

MU, ROOT, U, W, B, MEAN, VARIANCE = map(Symbol, ("μ", "r", "U", "w", "b", "m", "v"))
ONE = {"X": (1,)}  # the shapes of a row of one number
RUNNING = {"running_mean": "m", "running_var": "v"}
OF_ROOT = "One over the standard deviation, with a small number under the root that keeps it finite."
WHY_W = "each scale multiplies the normalised numbers of its channel, so they are the factor"
WHY_B = "the bias is simply added, so the factor is 1"
WHY_X = "each {x} also moves the mean and the deviation, where they are of these numbers; two means take that away"


class NormEquations:
    """The parts of a rule that are equations.

    Args:
        statistics: a function of the shape of a row and the options: (mean, spread), two functions of a tree. The
            first gives the mean over a group, the second what has a number for each group in the place of each number
            of the group. Or None, where the statistics are those of the training.
        of: what a mean is of, in words.
    """

    def __init__(self, statistics, of):
        self.statistics, self.of = statistics, of

    def spread(self, parameter, shape, **options):
        """w or b in the place of each number of a row."""
        return of_channels(parameter, shape)

    def summed(self, tree, shape, **options):
        """The sum over all numbers of the rows that have the same w or b."""
        return sum_of_channels(tree, shape)

    def parts(self, eps=1e-5, shapes=ONE, **options):
        """μ, r and U."""
        found = self.statistics(shapes["X"], **options)
        if found is None:
            centred, root = X - of_channels(MEAN, shapes["X"]), of_channels(ROOT, shapes["X"])
            what = "Each channel less the mean of the training, over the deviation there."
            return {"r": (1 / sqrt(VARIANCE + eps), OF_ROOT), "U": (centred * root, what)}
        mean, spread = found
        centred = X - spread(MU)
        return {
            "μ": (mean(X), f"The mean of {self.of}."),
            "r": (1 / sqrt(mean(centred**2) + eps), OF_ROOT),
            "U": (centred * spread(ROOT), "The numbers at mean 0 and variance 1."),
        }

    def z(self, eps=1e-5, shapes=ONE, **options):
        return U * self.spread(W, shapes["X"], **options) + self.spread(B, shapes["X"], **options)

    def dx(self, eps=1e-5, shapes=ONE, **options):
        shape = shapes["X"]
        g, found = dZ * self.spread(W, shape, **options), self.statistics(shape, **options)
        if found is None:
            return g * of_channels(ROOT, shape)
        mean, spread = found
        return spread(ROOT) * (g - spread(mean(g)) - U * spread(mean(g * U)))

    def dweight(self, eps=1e-5, shapes=ONE, **options):
        return self.summed(dZ * U, shapes["X"], **options)

    def dbias(self, eps=1e-5, shapes=ONE, **options):
        return self.summed(dZ, shapes["X"], **options)


class LastDimensions(NormEquations):
    """The equations of the norms of the last dimensions of a row, `normalized_shape`."""

    def __init__(self, of="the features"):
        super().__init__(of_last, of)

    def spread(self, parameter, shape, normalized_shape=(1,)):
        if tuple(shape) == tuple(normalized_shape) and len(shape) == 1:
            return parameter
        index = _places_in_last(shape, normalized_shape)
        return Gather(parameter, index, (len(index),))

    def summed(self, tree, shape, normalized_shape=(1,)):
        if tuple(shape) == tuple(normalized_shape) and len(shape) == 1:
            return SumOver(tree, rows=True)
        return Collect(tree, _places_in_last(shape, normalized_shape), tuple(normalized_shape), rows=True)


def _places_in_last(shape, normalized_shape):
    """For each number of a row its place among those that are normalised together."""
    return tuple(unit % math.prod(normalized_shape) for unit in range(math.prod(shape)))


def of_last(shape, normalized_shape=(1,)):
    """(mean, spread) over the last dimensions of a row of this shape."""
    count = math.prod(normalized_shape)
    return of_parts(tuple(unit // count for unit in range(math.prod(shape))), count)


def of_groups(shape, groups):
    """(mean, spread) over the channels of each group, and their places, in a row of this shape."""
    size = max(shape[0] // groups, 1)
    return of_parts(tuple(channel // size for channel in channels(shape)), math.prod(shape) // groups)


def of_parts(index, count):
    """(mean, spread) over parts of a row, of `count` numbers each. index: the part of each number."""
    parts = index[-1] + 1
    if parts == 1:
        return lambda tree: SumOfRow(tree) / count, lambda tree: tree
    return lambda tree: Collect(tree, index, (parts,)) / count, lambda tree: Gather(tree, index)


def of_batch(shape):
    """(mean, spread) over the rows, and the places of each channel."""
    places = math.prod(shape[1:])
    count = N if places == 1 else N * Number(places)
    return lambda tree: sum_of_channels(tree, shape) / count, lambda tree: of_channels(tree, shape)
