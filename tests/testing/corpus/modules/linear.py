"""A linear layer that the defects change."""

import torch
from torch import nn
from torch.nn.functional import linear

from tests.testing.corpus.entry import Defect, draw


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 3))
        self.bias = nn.Parameter(torch.randn(3))

    def forward(self, x):
        return linear(x, self.weight, self.bias)


def entry(name, what, twin, shows, *checks, source=""):
    return Defect(
        name,
        what,
        lambda: (draw(4, 3),),
        twin=twin,
        checks=checks or ("module",),
        kind=13,
        shows=shows,
        source=source,
    )
