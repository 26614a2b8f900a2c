"""Flatten, for the engine: it changes no number."""

import torch

from torchbp.ops.layers.flatten import RULE
from torchbp.ops.registry import implements


@implements(RULE)
class Flatten(torch.nn.Flatten):
    """`torch.nn.Flatten`: the dimensions from `start_dim` to `end_dim` become one. The result is a view, as torch's.

    Example:
        >>> torchbp.nn.Flatten()(torch.ones(2, 3, 4)).shape  # (2, 12)
    """
