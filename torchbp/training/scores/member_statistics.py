"""What the members of a group are one by one: the table of a sweep is made of it."""

import torch


def member_statistics(members, groups, score):
    """Of each group: the loss of its mean answer, the mean and the standard deviation of its members' losses, and the
    same of their score, `(5, groups)`. Members whose loss is not finite are left out.

    members, groups: as from `Scores.means`. score: the name of the one beside the loss.
    """
    both = torch.stack([members["loss"], members[score]])
    finite = torch.where(both[0].isfinite(), both, torch.nan)
    mean = finite.nanmean(-1)
    deviation = (finite - mean[..., None]).square().nanmean(-1).sqrt()
    return torch.stack([groups["loss"], mean[0], deviation[0], mean[1], deviation[1]])
