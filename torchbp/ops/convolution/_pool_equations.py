"""The equations of pooling: which numbers of X belong to each window, and what becomes of them.

    average     Z = Σₖ X[windows] / n          dX = Σ dZ[windows] / n
    largest     M = [X[windows] is largest]    Z  = Σₖ M ∘ X[windows]      dX = Σ M ∘ dZ[windows]

X[windows] are the numbers of the first window, then those of the second, …; dZ[windows] has beside each of them the
number of its window.
"""

import functools
import itertools
import math

from torchbp.ops.convolution._equations import check_channels, check_count
from torchbp.ops.expressions import Symbol, X, dZ
from torchbp.ops.places import Collect, FirstLargest, Gather, NoEquationError, raveled

M = Symbol("M")


class PoolEquations:
    """What the equations of all kinds of pooling share: `windows_of` says which windows there are.

    Args:
        dims: the number of spatial dimensions.
        windows_of: a function of the spatial size of a row and the options: for each dimension the windows, each with
            the places that it covers, and what the sum of each is divided by.
    """

    def __init__(self, dims, windows_of):
        self.shapes, self.windows_of = {"X": (1,) * (dims + 1)}, windows_of

    def _found(self, shapes, options):
        """(X's places, the window of each), and what the sum of each window is divided by.

        Raises:
            NoEquationError: rows without channels, or too many products.
        """
        shape = tuple((shapes or self.shapes)["X"])
        check_channels(shape, len(self.shapes["X"]) - 1)
        windows, divisors = self.windows_of(shape[1:], **options)
        return _covered(shape, windows), divisors * shape[0]


class MeanEquations(PoolEquations):
    """The equations of the mean of each window."""

    WHY = "each {x} is in the sums of the windows that cover it; their errors come back, divided as these sums were"

    def z(self, shapes=None, **options):
        (places, windows), divisors = self._found(shapes, options)
        return _divided(X, places, windows, len(divisors), windows, divisors)

    def dx(self, shapes=None, **options):
        (places, windows), divisors = self._found(shapes, options)
        return _divided(dZ, windows, places, math.prod((shapes or self.shapes)["X"]), windows, divisors)


class LargestEquations(PoolEquations):
    """The equations of the largest number of each window."""

    def parts(self, shapes=None, **options):
        (places, windows), _ = self._found(shapes, options)
        what = "1 where a number is the largest of its window, or the first of several that are; otherwise 0."
        return {"M": (FirstLargest(Gather(X, places, name="windows"), windows), what)}

    def z(self, shapes=None, **options):
        (places, windows), divisors = self._found(shapes, options)
        if shapes and len(set(windows)) < len(divisors):
            raise NoEquationError("a window holds none of their numbers")
        return Collect(M * Gather(X, places, name="windows"), windows, (len(divisors),))

    def dx(self, shapes=None, **options):
        (places, windows), _ = self._found(shapes, options)
        count = math.prod((shapes or self.shapes)["X"])
        return Collect(M * Gather(dZ, windows, name="windows"), places, (count,))


def _divided(tree, taken, sums, count, windows, divisors):
    """Σ tree[taken] / n, added up to so many sums; a term for each n."""
    found = []
    for n in sorted(set(divisors), reverse=True):
        of_n = [i for i, window in enumerate(windows) if divisors[window] == n]
        name = "windows" if len(set(divisors)) == 1 else f"windows of {n}"
        part = Gather(tree, tuple(taken[i] for i in of_n), name=name)
        total = Collect(part, tuple(sums[i] for i in of_n), (count,))
        found.append(total if n == 1 else total / n)
    return sum(found[1:], found[0]) if found else Collect(Gather(tree, ()), (), (count,))


@functools.lru_cache(64)
def _covered(shape, windows):
    """(places, windows): for each number of each window its place in a row of this shape, and the window's number."""
    channels, *_ = shape
    check_count(channels * math.prod(sum(map(len, of)) for of in windows))
    places, numbers = [], []
    for number, (channel, *covers) in enumerate(itertools.product(range(channels), *windows)):
        for at in itertools.product(*covers):
            places.append(raveled((channel, *at), shape))
            numbers.append(number)
    return tuple(places), tuple(numbers)


def sliding(size, kernel, stride, padding, dilation, ceil_mode):
    """The places of X that each window covers, of one dimension."""
    reach = dilation * (kernel - 1) + 1
    free = size + 2 * padding - reach
    count = (-(-free // stride) if ceil_mode else free // stride) + 1
    if ceil_mode and (count - 1) * stride >= size + padding:  # it would begin beyond X
        count -= 1
    starts = (i * stride - padding for i in range(count))
    covers = (range(start, start + reach, dilation) for start in starts)
    return tuple(tuple(at for at in cover if 0 <= at < size) for cover in covers)
