"""Swapping torch's layers for ours and back, in any module tree, in place. Parameters are never copied."""

from dataclasses import dataclass, field

import torch

from torchbp import nn

PAIRS = {
    ours.__mro__[1]: ours
    for ours in (nn.Linear, nn.Sigmoid, nn.Tanh, nn.ReLU, nn.BCELoss, nn.BCEWithLogitsLoss, nn.MSELoss)
}


@dataclass
class Report:
    """What `convert` or `revert` did, by the modules' names: `converted`, and `left` with the reason of each."""

    converted: list = field(default_factory=list)
    left: dict = field(default_factory=dict)

    def __str__(self):
        lines = [f"converted {len(self.converted)}: {', '.join(self.converted) or 'none'}"]
        lines += [f"left {name}: {reason}" for name, reason in self.left.items()]
        return "\n".join(lines)
