"""The equations of a linear layer. Where a row holds several vectors, such as the words of a sentence, each of them
goes through the layer alone: X[vectors] has each as a row.
"""

import math

from torchbp.ops.expressions import SumOver, Symbol, W, X, dZ
from torchbp.ops.places import Folded

ONE = {"X": (1,), "W": (1, 1)}


def _of_vectors(tree, shapes, columns):
    """The tree's rows as vectors of so many numbers; where a row is one, the tree itself."""
    return tree if len(shapes["X"]) == 1 else Folded(tree, columns, name="vectors")


def _in_rows(tree, shapes, features):
    """The vectors of each row, one behind the other, where each has so many features."""
    shape = shapes["X"]
    return tree if len(shape) == 1 else Folded(tree, math.prod(shape[:-1]) * features)


def z(shapes=ONE):
    outputs, features = shapes["W"]
    return _in_rows(_of_vectors(X, shapes, features) @ W.T + Symbol("b"), shapes, outputs)


def dx(shapes=ONE):
    outputs, features = shapes["W"]
    return _in_rows(_of_vectors(dZ, shapes, outputs) @ W, shapes, features)


def dweight(shapes=ONE):
    outputs, features = shapes["W"]
    return _of_vectors(dZ, shapes, outputs).T @ _of_vectors(X, shapes, features)


def dbias(shapes=ONE):
    return SumOver(_of_vectors(dZ, shapes, shapes["W"][0]), rows=True)
