"""Scores of the validation or test rows, of each network, and of the mean answer of the members of a group.

What a score is, and what the mean answer, is said by the task. The spread is the mean over the rows of the standard
deviation of the members' answers. A member whose loss is not finite is left out of the mean.
"""

import torch


class Scores:
    """The sums over the rows so far, in float64 where the device has it. One network is a group of one member."""

    def __init__(self, task):
        self.task = task
        self.member_sums, self.group_sums, self.spread, self.rows = 0, 0, 0, 0

    def add(self, z, y, w=None):
        """Add the rows with the outputs z, `(groups, members, N, outputs)`, and y and w as batches have them.

        Returns the Z of the mean answer, `(groups, N, outputs)`.
        """
        task = self.task
        z = z.to(torch.promote_types(z.dtype, torch.float32))
        y = y.to(z.dtype) if y.is_floating_point() else y
        of_members = task.sums(z, y, w)
        if z.shape[1] > 1:
            z, deviation = task.mean_answer(z, of_members[0].isfinite())
            of_groups, spread = task.sums(z, y, w), (deviation if w is None else deviation * w).sum(-1)
        else:
            z = z[:, 0]
            of_groups, spread = of_members[:, :, 0], z.new_zeros(len(z))
        dtype = torch.float32 if z.device.type == "mps" else torch.float64  # mps has no float64
        self.member_sums = self.member_sums + of_members.to(dtype)
        self.group_sums = self.group_sums + of_groups.to(dtype)
        self.spread = self.spread + spread.to(dtype)
        self.rows = self.rows + (len(y) if w is None else w.to(dtype).sum())
        return z

    def means(self, reduce):
        """{metric: of each member, `(groups, members)`}, and {metric: of each group, `(groups)`} with "spread", over
        the rows of all processes; `reduce` adds a tensor up over them."""
        parts = [self.member_sums, self.group_sums, self.spread, self.spread.new_zeros(1) + self.rows]
        reduced = reduce(torch.cat([part.flatten() for part in parts])).split([part.numel() for part in parts])
        members, groups, spread, rows = (new.view_as(part) for new, part in zip(reduced, parts, strict=True))
        of_groups = self.task.scores(groups, rows)
        return self.task.scores(members, rows), {**of_groups, "spread": spread / rows}
