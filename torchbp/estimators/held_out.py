"""Which rows each member of an ensemble is validated on."""

import numpy as np
import torch


def training_rows(classes, rows, members, count, random):
    """(members, rows) bools: the rows that each member trains on. The others, `count` of them, are its validation.

    The members' validation rows are parts of one permutation after the other, so that few rows, or none, are in no
    member's training. Each class has its share of every part, as far as it has as many rows.

    Args:
        classes: (rows), an integer for each row, or None.
        random: a numpy.random.RandomState.
    """
    trains, order, start = torch.ones(members, rows, dtype=torch.bool), None, rows
    for of_member in trains:
        if start + count > rows:
            order, start = spread(classes, rows, random), 0
        of_member[order[start : start + count]] = False
        start += count
    return trains


def spread(classes, rows, random):
    """A random permutation of the rows, as places. With classes, each class is spread evenly over it."""
    order = random.permutation(rows)
    if classes is None:
        return torch.from_numpy(order)
    position = np.empty(rows)
    for of_class in np.unique(classes):
        places = order[classes[order] == of_class]
        position[places] = (np.arange(len(places)) + random.uniform()) / len(places)
    return torch.from_numpy(np.argsort(position, kind="stable"))
