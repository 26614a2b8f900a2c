"""What a pass over validation or test rows adds up to: losses and right answers, of each network and of their mean.

Of the members e of a group (one network is a group of one), each with the logits Z_e of the same rows:

    P_e = σ(Z_e)        L_e = −mean [ w y ln P_e + (1 − y) ln(1 − P_e) ]
    P   = mean_e P_e    L   the same of P          spread = mean over rows of the deviation of P_e over e

ln P = ln Σ_e exp(ln σ(Z_e)) − ln E is exact where P itself is rounded to 0 or 1. A member that has diverged is left
out.
"""

import torch
import torch.nn.functional as F

QUANTITIES = ("loss", "accuracy", "spread")


class Scores:
    """The sums over the rows so far, in float64 where the device has it.

    Args:
        pos_weight: w, a number for each output, or None.
        exclusive: whether a row is of the one class with the largest P, and not of each with P ≥ ½.
    """

    def __init__(self, pos_weight, exclusive):
        self.pos_weight, self.exclusive = pos_weight, exclusive
        self.of_members, self.of_groups, self.rows = 0, 0, 0

    def add(self, z, y):
        """Take the logits z, shape `(groups, members, N, outputs)`, of rows with the labels y `(N, outputs)`.

        Returns P, shape `(groups, N, outputs)`.
        """
        z = z.to(torch.promote_types(z.dtype, torch.float32))
        y = y.to(z.dtype)
        w = 1 if self.pos_weight is None else self.pos_weight.to(z.dtype)
        log_p, log_not_p = F.logsigmoid(z), F.logsigmoid(-z)

        def loss(log_p, log_not_p):
            return (w * y * -log_p + (1 - y) * -log_not_p).mean(-1).sum(-1)

        of_each = loss(log_p, log_not_p)
        alive = of_each.isfinite()
        if z.shape[1] > 1:
            count = alive.sum(1)[:, None, None]
            left_out = ~alive[:, :, None, None]
            log_p, log_not_p = (t.masked_fill(left_out, -torch.inf) for t in (log_p, log_not_p))
            p_each = log_p.exp()
            log_p, log_not_p = (t.logsumexp(1) - count.log() for t in (log_p, log_not_p))
            p = log_p.exp()
            deviation = (p_each - p[:, None]).masked_fill(left_out, 0).square().sum(1).div(count).sqrt()
            of_group, spread = loss(log_p, log_not_p), deviation.mean(-1).sum(-1)
        else:
            p = log_p[:, 0].exp()
            of_group, spread = of_each[:, 0], z.new_zeros(len(z))
        exact = torch.float32 if z.device.type == "mps" else torch.float64
        self.of_members = self.of_members + torch.stack([of_each, self.right(z.sigmoid(), y)]).to(exact)
        self.of_groups = self.of_groups + torch.stack([of_group, self.right(p, y), spread]).to(exact)
        self.rows += len(y)
        return p

    def right(self, p, y):
        """How many rows have the right answer; of independent labels, the share of them that are right adds up."""
        if self.exclusive:
            return (p.argmax(-1) == y.argmax(-1)).sum(-1).to(p.dtype)
        return ((p >= 0.5) == (y > 0.5)).to(p.dtype).mean(-1).sum(-1)

    def means(self, reduce):
        """The means over the rows of all processes, whose sums `reduce` gives: of each member loss and accuracy, shape
        `(2, groups, members)`, and of each group loss, accuracy and spread, `(3, groups)`."""
        sums = [self.of_members.flatten(), self.of_groups.flatten(), self.of_groups.new_tensor([self.rows])]
        members, groups, rows = reduce(torch.cat(sums)).split([len(part) for part in sums])
        return (members / rows).view_as(self.of_members), (groups / rows).view_as(self.of_groups)
