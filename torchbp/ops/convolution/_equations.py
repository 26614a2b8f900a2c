"""The equations of a small convolution: which numbers of X and W each number of Z is a sum of products of.

    convolution     Z = X ⋆ W + b       dX = dZ ⋆ᵀ W      dW = dZ ⋆ X      db = Σ dZ
    transposed      Z = X ⋆ᵀ W + b      dX = dZ ⋆ W       dW = X ⋆ dZ      db = Σ dZ

All three are sums over the same products (number of Z, number of X, number of W).
"""

import functools
import itertools
import math

from torchbp.ops.convolution._formulas import per_dimension
from torchbp.ops.expressions import Symbol, W, X, dZ
from torchbp.ops.places import Contraction, NoEquationError, of_channels, raveled, sum_of_channels

MOST = 120_000  # products in a row, as of the first convolution of LeNet; more take seconds
B = Symbol("b")


def check_count(count):
    """
    Raises:
        NoEquationError: so many products, or numbers of windows, in a row are too many.
    """
    if count > MOST:
        raise NoEquationError(f"they would add up {count:,} products in each row, and up to {MOST:,} are shown")


def check_channels(shape, dims):
    """
    Raises:
        NoEquationError: a row has another number of dimensions than channels and so many spatial ones.
    """
    if len(shape) != dims + 1:
        raise NoEquationError(f"give rows of {dims + 1} dimensions, the first one the channels")


class ConvEquations:
    """The equations of a convolution of so many spatial dimensions, as the parts of a rule."""

    sign, sign_back = "⋆", "⋆ᵀ"

    def __init__(self, dims):
        self.shapes = {"X": (1,) * (dims + 1), "W": (1,) * (dims + 2)}

    def _products(self, shapes, stride=1, padding=0, dilation=1, groups=1, kernel_size=1):
        shapes, dims = shapes or self.shapes, len(self.shapes["X"]) - 1
        check_channels(shapes["X"], dims)
        padding = padding if isinstance(padding, str) else per_dimension(padding, dims)
        return _products(
            shapes["X"], shapes["W"], per_dimension(stride, dims), padding, per_dimension(dilation, dims), groups
        )

    def z(self, shapes=None, **options):
        shape, places = self._products(shapes, **options)
        return Contraction(self.sign, X, W, places, (math.prod(shape),)) + of_channels(B, shape)

    def dx(self, shapes=None, **options):
        places = tuple((x, z, w) for z, x, w in self._products(shapes, **options)[1])
        return Contraction(self.sign_back, dZ, W, places, (math.prod((shapes or self.shapes)["X"]),))

    def dweight(self, shapes=None, **options):
        places = tuple((w, z, x) for z, x, w in self._products(shapes, **options)[1])
        return self._dweight(places, tuple((shapes or self.shapes)["W"]))

    def _dweight(self, places, shape):
        return Contraction("⋆", dZ, X, places, shape, rows=True)

    def dbias(self, shapes=None, **options):
        return sum_of_channels(dZ, self._products(shapes, **options)[0])


class ConvTransposeEquations(ConvEquations):
    """The same of a transposed convolution: X and Z have changed places."""

    sign, sign_back = "⋆ᵀ", "⋆"

    def _products(self, shapes, stride=1, padding=0, output_padding=0, dilation=1, groups=1, kernel_size=1):
        shapes, dims = shapes or self.shapes, len(self.shapes["X"]) - 1
        (_, *size), (_, channels, *kernel) = shapes["X"], shapes["W"]
        check_channels(shapes["X"], dims)
        stride, padding, rest, dilation = (per_dimension(n, dims) for n in (stride, padding, output_padding, dilation))
        steps = zip(size, stride, padding, dilation, kernel, rest, strict=True)
        given = [(n - 1) * s - 2 * p + d * (k - 1) + r + 1 for n, s, p, d, k, r in steps]
        shape = (channels * groups, *given)
        _, found = _products(shape, shapes["W"], stride, padding, dilation, groups, tuple(size))
        return shape, tuple((z, x, w) for x, z, w in found)

    def _dweight(self, places, shape):
        return Contraction("⋆", X, dZ, tuple((w, x, z) for w, z, x in places), shape, rows=True)


@functools.lru_cache(64)
def _products(x_shape, w_shape, stride, padding, dilation, groups, windows=None):
    """(the shape of a row of Z, for each product the places of its numbers in Z, X and W). windows: how many there are
    in each dimension, where there are less than fit.

    Raises:
        NoEquationError: there are too many.
    """
    (_, *size), (kernels, channels, *kernel) = x_shape, w_shape
    before, after = _zeros(padding, dilation, kernel)
    steps = zip(size, before, after, dilation, kernel, stride, strict=True)
    given = [(n + b + a - d * (k - 1) - 1) // s + 1 for n, b, a, d, k, s in steps]
    given = windows or given
    check_count(kernels * math.prod(given) * channels * math.prod(kernel))
    shape, found = (kernels, *given), []
    for o, *i in itertools.product(*map(range, shape)):
        z, group = raveled((o, *i), shape), o * groups // kernels
        for c, *j in itertools.product(range(channels), *map(range, kernel)):
            at = [s * p + d * q - b for s, p, d, q, b in zip(stride, i, dilation, j, before, strict=True)]
            if all(0 <= place < n for place, n in zip(at, size, strict=True)):
                found.append((z, raveled((group * channels + c, *at), x_shape), raveled((o, c, *j), w_shape)))
    return shape, tuple(found)


def _zeros(padding, dilation, kernel):
    """How many zeros stand before and after X in each dimension."""
    if padding == "valid":
        return (0,) * len(kernel), (0,) * len(kernel)
    if padding == "same":
        both = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return [n // 2 for n in both], [n - n // 2 for n in both]
    return padding, padding
