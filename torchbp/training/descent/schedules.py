"""Learning-rate schedules: the factor of the rate, as a function of how much of the training is done.

With U updates of the rate in the whole training, the first W of them in the warm-up, the factor of update u is

    warm-up     (u + 1)/W                                                  for u < W; then, with v = u − W and V = U − W
    cosine      ½ (1 + cos(π v/V))
    one_cycle   from 1/25 up to 1 at v = 0.3 V − 1, and down to 1/250 000 at v = V − 1, on half cosines
    plateau     1, and half of it each time that the validation loss has not fallen in `PATIENCE` validations

They are those of torch.optim.lr_scheduler: LinearLR, CosineAnnealingLR, OneCycleLR without its cycle of the momentum,
and ReduceLROnPlateau. Only a plateau has a state; the others need none for a run to be resumed.
"""

import math

import torch

SCHEDULES = ("cosine", "one_cycle", "plateau")
RISE, START, END = 0.3, 1 / 25, 1 / 25e4  # of one_cycle
PATIENCE, HALF, THRESHOLD = 5, 0.5, 1e-4  # of plateau; a fall counts if it is by more than this part of the loss


def factor(schedule, update, updates, warmup=0):
    """The factor of the update number `update`, from 0, of so many. warmup: W, which need not be a whole number."""
    if update + 1 <= warmup:
        return (update + 1) / warmup
    update, updates = update - warmup, updates - warmup
    if schedule == "cosine":
        return between(1, 0, update / updates)
    if schedule == "one_cycle":
        top, last = RISE * updates - 1, updates - 1
        if update <= top:
            return between(START, 1, update / top)
        return between(1, END, (update - top) / (last - top))
    return 1.0


def between(start, end, part):
    """Half a cosine from start to end."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * min(max(part, 0.0), 1.0)))


class Plateau(torch.nn.Module):
    """The factor of each network, which is halved where its loss no longer falls; its buffers are its state.

    Args:
        members: E, for a factor of each; None is one network.
    """

    def __init__(self, members=None):
        super().__init__()
        shape = () if members is None else (members,)
        self.register_buffer("factor", torch.ones(shape, dtype=torch.float32))
        self.register_buffer("best", torch.full(shape, torch.inf))
        self.register_buffer("waited", torch.zeros(shape, dtype=torch.long))

    def update(self, losses):
        """Take the losses of a validation, `()` or `(E)`."""
        losses = losses.to(self.best)
        better = losses < self.best * (1 - THRESHOLD)
        self.best.copy_(torch.where(better, losses, self.best))
        self.waited.copy_(torch.where(better, 0, self.waited + 1))
        late = self.waited > PATIENCE
        self.factor.copy_(torch.where(late, self.factor * HALF, self.factor))
        self.waited.masked_fill_(late, 0)


def set_rates(optimizer, lr, factor):
    """Let the groups of an optimizer descend with lr × factor. lr: a number, or a tensor `(E)` of one for each member.
    factor: a number, or a tensor `(E)`, where lr is one too."""
    for group in optimizer.param_groups:
        if isinstance(factor, torch.Tensor) and factor.dim():
            group["lr_of_members"] = lr * factor.to(lr)
        else:
            group["lr"] = float(factor) * (1.0 if isinstance(lr, torch.Tensor) else lr)
