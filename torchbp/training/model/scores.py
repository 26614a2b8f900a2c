"""Scores of the validation or test rows: loss and accuracy of each network, and of the mean answer of an ensemble.

The members e of a group (one network is a group of one member) answer the same rows with the logits Z_e:

    P_e = σ(Z_e)        L_e = the cross-entropy of Z_e and y
    P   = mean_e P_e    L   = the cross-entropy of Z = ln P − ln(1 − P), the logit of the mean
    spread              = the mean over the rows of the standard deviation of P_e over e

ln P = ln Σ_e exp(ln σ(Z_e)) − ln E is exact where P itself is rounded to 0 or 1. A member whose loss is not finite is
left out of P.
"""

import torch
import torch.nn.functional as F

from torchbp import ops


class Scores:
    """The sums over the rows so far, in float64 where the device has it.

    Args:
        pos_weight: the weight of the positive class, a number for each output, or None.
        exclusive: True if each row has one class, the one with the largest P; False if a label is predicted from
            P = ½ on.
    """

    def __init__(self, pos_weight, exclusive):
        self.pos_weight, self.exclusive = pos_weight, exclusive
        self.member_sums, self.group_sums, self.rows = 0, 0, 0

    def add(self, z, y):
        """Add the rows with the logits z, `(groups, members, N, outputs)`, and the labels y, `(N, outputs)`.

        Returns P, `(groups, N, outputs)`.
        """
        z = z.to(torch.promote_types(z.dtype, torch.float32))
        y = y.to(z.dtype)
        member_loss = self._loss_sum(z, y)
        if z.shape[1] > 1:
            z_mean, p, spread = _mean_answer(z, member_loss.isfinite())
            group_loss = self._loss_sum(z_mean, y)
        else:
            p, group_loss, spread = z[:, 0].sigmoid(), member_loss[:, 0], z.new_zeros(len(z))
        dtype = torch.float32 if z.device.type == "mps" else torch.float64  # mps has no float64
        correct = self._count_correct
        self.member_sums = self.member_sums + torch.stack([member_loss, correct(z.sigmoid(), y)]).to(dtype)
        self.group_sums = self.group_sums + torch.stack([group_loss, correct(p, y), spread]).to(dtype)
        self.rows += len(y)
        return p

    def _loss_sum(self, z, y):
        """Σ over the rows of the mean loss over the outputs, `z.shape[:-2]`."""
        losses = ops.binary_cross_entropy_with_logits(z, y.expand_as(z), reduction="none", pos_weight=self.pos_weight)
        return losses.mean(-1).sum(-1)

    def _count_correct(self, p, y):
        """The number of rows with the correct answer; of independent labels, a row counts with its share of them."""
        if self.exclusive:
            return (p.argmax(-1) == y.argmax(-1)).sum(-1).to(p.dtype)
        return ((p >= 0.5) == (y > 0.5)).to(p.dtype).mean(-1).sum(-1)

    def means(self, reduce):
        """The means over the rows of all processes; `reduce` adds a tensor up over them. They are the loss and the
        accuracy of each member, `(2, groups, members)`, and loss, accuracy and spread of each group, `(3, groups)`."""
        sums = [self.member_sums.flatten(), self.group_sums.flatten(), self.group_sums.new_tensor([self.rows])]
        members, groups, rows = reduce(torch.cat(sums)).split([len(part) for part in sums])
        return (members / rows).view_as(self.member_sums), (groups / rows).view_as(self.group_sums)


def _mean_answer(z, finite):
    """Of the members whose loss is `finite`, `(groups, members)`: the logit of their mean P and that P, both
    `(groups, N, outputs)`, and the sum over the rows of the deviation of P, `(groups)`."""
    count = finite.sum(1)[:, None, None]
    left_out = ~finite[:, :, None, None]
    log_p, log_not_p = (t.masked_fill(left_out, -torch.inf) for t in (F.logsigmoid(z), F.logsigmoid(-z)))
    p_each = log_p.exp()
    log_p, log_not_p = (t.logsumexp(1) - count.log() for t in (log_p, log_not_p))
    p = log_p.exp()
    deviation = (p_each - p[:, None]).masked_fill(left_out, 0).square().sum(1).div(count).sqrt()
    return log_p - log_not_p, p, deviation.mean(-1).sum(-1)
