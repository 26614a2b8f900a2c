"""The dimension of softmax and log_softmax: which is taken where none is given, and of which there are equations."""

import math
import warnings

from torchbp.ops.expressions import SumOfRow
from torchbp.ops.places import Collect, Gather

VECTOR = {"X": (1,)}


def chosen_dim(name, dim, input, stacklevel):
    """`dim`, or where it is None torch's old choice, with a warning: 0 for 0, 1 and 3 dimensions, and otherwise 1."""
    if dim is not None:
        return dim
    warnings.warn(
        f"{name} without dim takes 0 or 1 by the dimensions of its input, which is deprecated; give dim=…",
        stacklevel=stacklevel + 1,
    )
    return 0 if input.dim() in (0, 1, 3) else 1


def axis_of(dim, shape):
    """The dimension of a row of this shape that `dim` is of its batch; None where it is that of the rows."""
    if dim is None:
        dim = 0 if len(shape) + 1 in (1, 3) else 1
    axis = dim + len(shape) if dim < 0 else dim - 1
    return axis if 0 <= axis < len(shape) else None


def sum_along(dim, shape):
    """(sum, spread) along `dim` of the batch: two functions of a tree. The first one gives the sums of each row of this
    shape, the second one what has a number for each sum in the place of each number of the row. None where the sum runs
    over the rows."""
    if (axis := axis_of(dim, shape)) is None:
        return None
    if math.prod(shape) == shape[axis]:
        return SumOfRow, lambda tree: tree
    below, size = math.prod(shape[axis + 1 :]), shape[axis]
    index = tuple(unit // (size * below) * below + unit % below for unit in range(math.prod(shape)))
    sums = (math.prod(shape) // size,)
    return lambda tree: Collect(tree, index, sums), lambda tree: Gather(tree, index)
