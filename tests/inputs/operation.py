"""What a row of the table of operations says."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

# 0-D, 1-D, 2-D, N-D, one row, empty batch
SHAPES = [(), (3,), (4, 3), (2, 3, 2), (1, 3), (0, 3)]

PER_CLASS = "a positive number for each index of the last dimension"
PER_CHANNEL = "a positive number for each index of dimension 1, or of the only one"

REDUCTIONS = [{}, {"reduction": "sum"}, {"reduction": "none"}]


@dataclass(frozen=True)
class Operation:
    """An operation of ours, and torch's.

    shapes: of the tensor arguments, one tuple of shapes a case. Every case is also run in other memory layouts.
    options: keyword arguments, each of them with every tuple of shapes.
    values: how each argument is drawn, see `draw`; "normal" where nothing is said. "below n" are integers, which have
        no gradient.
    complex: whether torch's takes complex numbers.
    samples: the names of torch's sample inputs (op_db) of it.
    layouts: whether it is run in other memory layouts than the contiguous one, too.
    names: of the tensor arguments, where they are given as keywords.
    """

    ours: Callable
    torchs: Callable
    shapes: list
    options: list = field(default_factory=lambda: [{}])
    values: tuple = ()
    complex: bool = True
    samples: tuple = ()
    layouts: bool = True
    names: tuple = ()

    @property
    def name(self):
        return self.ours.__name__

    def drawn(self, count):
        """How each of so many arguments is drawn."""
        return self.values[:count] or ("normal",) * count


def draw(value, shape):
    if value == "probability":  # away from 0 and 1, where numerical differences would leave [0, 1]
        return 0.05 + 0.9 * torch.rand(shape, dtype=torch.float64)
    if value == "positive":
        return 0.5 + torch.rand(shape, dtype=torch.float64)
    if value.startswith("below "):
        return torch.randint(int(value.removeprefix("below ")), shape)
    if value == "normal":
        return torch.randn(shape, dtype=torch.float64)
    raise ValueError(f"draw: there is no {value!r}")
