"""Hidden units that hardly learn, since f′ is nearly 0: what that is of each activation, and how it is said."""

from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Saturation:
    """share: of a hidden layer's outputs a, `(…, N, units)`, a number for each network, `(…)`, from 0 to 1.
    title, look: of its plot. trouble: the end of the sentence "60% of layer 1's …", with what helps."""

    share: Callable[[torch.Tensor], torch.Tensor]
    title: str
    look: str
    trouble: str


def of_outputs(nearly_flat):
    return lambda a: nearly_flat(a).mean((-2, -1), dtype=a.dtype)


def dead_units(a):
    return (a <= 0).all(-2).mean(-1, dtype=a.dtype)


HARDLY = "is their factor in dZ, so saturated units hardly learn, and hardly pass a gradient on."
# f′(a) under 4 % of the most that it can be
SATURATION = {
    "sigmoid": Saturation(
        of_outputs(lambda a: a * (1 - a) < 0.01),
        "Saturated units",
        "The share of a layer’s outputs a, of its sigmoid units for some training rows, with a(1 − a) < 0.01. "
        f"That product {HARDLY}",
        "outputs are saturated: its units hardly learn. A smaller lr, more weight_decay or tanh as model.activation "
        "helps",
    ),
    "tanh": Saturation(
        of_outputs(lambda a: 1 - a.square() < 0.04),
        "Saturated units",
        "The share of a layer’s outputs a, of its tanh units for some training rows, with 1 − a² < 0.04. "
        f"That difference {HARDLY}",
        "outputs are saturated: its units hardly learn. A smaller lr, more weight_decay or relu as model.activation "
        "helps",
    ),
    "relu": Saturation(
        dead_units,
        "Dead units",
        "The share of a layer’s relu units whose output is 0 for each of some training rows. Their factor in dZ is 0 "
        "there, so dead units do not learn, and pass no gradient on.",
        "units are dead: their output is 0 for every row, and they do not learn. A smaller lr or tanh as "
        "model.activation helps",
    ),
}
MUCH = 0.5  # a share that is worth a word
