"""What the members of a group are one by one: the table of a sweep is made of it."""

import torch


def member_statistics(members, groups):
    """Of each group: the loss of its mean P, the mean and the standard deviation of its members' losses, and the same
    of their accuracies, `(5, groups)`. Members whose loss is not finite are left out.

    members: loss and accuracy of each member, `(2, groups, members)`. groups: of each group's mean P, the loss first.
    """
    finite = torch.where(members[0].isfinite(), members, torch.nan)
    mean = finite.nanmean(-1)
    deviation = (finite - mean[..., None]).square().nanmean(-1).sqrt()
    return torch.stack([groups[0], mean[0], deviation[0], mean[1], deviation[1]])
