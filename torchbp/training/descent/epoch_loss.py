"""The training loss of an epoch: the mean over its rows, of each member and of all processes."""

import torch


class EpochLoss:
    """The sum of the losses of the rows so far, on the device, so that no step waits for it.

    Args:
        members: E, for the loss of each member of an ensemble; None for one network.
        device: where the losses are.
    """

    def __init__(self, members, device):
        dtype = torch.float32 if device.type == "mps" else torch.float64  # mps has no float64
        self.sum = torch.zeros(members or (), dtype=dtype, device=device)
        self.rows = 0

    def add(self, loss, rows, factor=1):
        """Add factor × loss, `()` or `(E)`, the sum of the losses of so many rows."""
        self.sum.add_(loss, alpha=factor)
        self.rows += rows

    def mean(self, strategy):
        """The mean over the rows of all processes, on the CPU, `()` or `(E)`."""
        sums = torch.cat([self.sum.flatten(), self.sum.new_tensor([self.rows])])
        sums = strategy.reduce(sums, reduce_op="sum").cpu()
        return (sums[:-1] / sums[-1]).view(self.sum.shape)
