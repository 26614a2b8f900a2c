"""How much a network needs each column: how far the loss of the validation rows rises when its values are shuffled."""

import torch

from torchbp.training.data.columns import feature_names
from torchbp.training.scores.scores import Scores

MOST_ROWS = 2000
SHUFFLES = 3
MOST_VALUES = 10**8  # that pass the network in all; of a larger table, no column is looked at


def column_importance(model, x, y, w=None, networks=1):
    """[(column, features of it, rise of the loss)], the largest rise first; [] for a table that is too large.

    x, y, w: validation rows, as batches have them. networks: that answer each row.
    """
    columns = model.hparams.columns or {}
    places = torch.arange(0, len(x), max(-(-len(x) // MOST_ROWS), 1))
    x, y, w = x[places], y[places], None if w is None else w[places]
    if not len(x) or SHUFFLES * len(columns) * x.numel() * networks > MOST_VALUES:
        return []
    before, found, at = loss_of(model, x, y, w, places), [], 0
    generator = torch.Generator().manual_seed(0)
    for name, kind in columns.items():
        count = len(feature_names({name: kind}))
        rises = []
        for _ in range(SHUFFLES):
            shuffled = x.clone()
            shuffled[:, at : at + count] = x[torch.randperm(len(x), generator=generator), at : at + count]
            rises.append(loss_of(model, shuffled, y, w, places) - before)
        found.append((name, count, sum(rises) / SHUFFLES))
        at += count
    return sorted(found, key=lambda item: -item[2])


@torch.no_grad()
def loss_of(model, x, y, w, places):
    """The mean loss of the validation rows at these places, of the members that answer them together."""
    z = model.validation_outputs(x.to(model.scaling.median), places)  # in its dtype, on its device
    scores = Scores(model.task)
    scores.add(z, y.to(z.device), None if w is None else w.to(z.device))
    return float(scores.means(lambda sums: sums)[1]["loss"][0])
