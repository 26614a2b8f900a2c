"""Flatten: some dimensions become one. It changes no number, so torch's view is both passes; the engine needs its rule.

forward     Z  = X in the shape (…, n, …)
backward    dX = dZ in the shape of X
"""

import torch

from torchbp.ops.expressions import X, dZ
from torchbp.ops.layers._dim import VECTOR, axis_of
from torchbp.ops.registry import register
from torchbp.ops.rules import Layer


def _forward(x, start_dim, end_dim):
    return x.flatten(start_dim, end_dim)


def _backward(dz, x, start_dim, end_dim):
    return dz.reshape(x.shape)


def _same(tree):
    """The equation of what keeps each row for itself."""
    return lambda start_dim=1, end_dim=-1, shapes=VECTOR: None if axis_of(start_dim, shapes["X"]) is None else tree


RULE = register(
    Layer(
        name="flatten",
        apply=torch.flatten,
        torch_module=torch.nn.Flatten,
        options=("start_dim", "end_dim"),
        forward=_forward,
        backward=_backward,
        saves="input",
        parameters=(),
        equation=_same(X),
        backward_equation=_same(dZ),
        backward_why="the numbers are the same",
        description="Each row becomes a vector; its numbers stay as they are.",
    )
)
