"""The training of the networks of one configuration, one for each fold, which stop together.

After each epoch t, the weights are averaged over the last ones, W̄ ← W̄ + (W − W̄)/min(t, A), and W̄ answers the rows of
each fold that its network does not train on. The training ends where the mean of their losses over the folds no longer
falls, and each network becomes the W̄ of the epoch in which it was lowest: an epoch that is good for one fold by chance
is not chosen, and the noise of the last steps is averaged out.
"""

import copy

import torch

from torchbp.engine.fitting.epoch import loss_on, one_epoch
from torchbp.engine.fitting.fit import History
from torchbp.engine.fitting.fit_arguments import check_arguments, row_dims_of
from torchbp.engine.fitting.rows import Rows
from torchbp.engine.network import Network
from torchbp.engine.stacking import stacked, write_back


def train_folds(
    networks,
    make_optimizer,
    x,
    y,
    masks=None,
    *,
    batch_size,
    max_epochs,
    min_delta,
    patience,
    generator,
    averaged=1,
    until=None,
):
    """Train networks with the same layers, in place. Returns the `History` of their losses, (epochs, folds); its second
    part is None without masks. It ends before a loss is nan or inf, but has the first one, whatever it is.

    Args:
        make_optimizer(ensemble): an optimizer of the engine.
        x, y: rows in memory, as the engine's `fit` takes them.
        masks: (folds, N) bools, which rows each trains on; the others are its validation. None: all rows, and as many
            epochs as there may be.
        min_delta, patience: the mean loss falls by more than that in so many epochs, or the training ends.
        generator: of the order of the rows, the same for all networks.
        averaged: A.
        until: is called after each epoch; where it returns true, the training ends.
    """
    alone = [Network(network) for network in networks]
    ensemble = stacked(alone)
    ensemble_of_means = copy.deepcopy(ensemble)
    optimizer, mean = make_optimizer(ensemble), make_optimizer(ensemble_of_means)
    check_arguments(optimizer.network, optimizer.loss, x, y, batch_size, max_epochs, False, min_delta, patience, 0)
    dims = row_dims_of(optimizer.loss)
    rows = Rows(x, y, mask=masks, row_dims=dims)
    held_out = None if masks is None else Rows(x, y, mask=~masks, row_dims=dims)
    history, best, lowest, reached, waited = [], None, torch.inf, torch.inf, 0
    for number in range(1, max_epochs + 1):
        losses = one_epoch(optimizer, rows, torch.randperm(rows.table, generator=generator), batch_size)
        if number > 1 and not losses.isfinite().all():
            break  # before these weights are averaged
        average(mean, optimizer, min(number, averaged))
        watched = losses if held_out is None else loss_on(mean, held_out)
        if number > 1 and not watched.isfinite().all():
            break
        history.append(torch.stack([losses, watched]))
        if held_out is not None:
            loss = float(watched.mean())
            if loss < lowest:
                lowest, best = loss, [p.clone() for p in weights(mean)]
            waited = 0 if loss < reached - min_delta else waited + 1
            reached = reached if waited else loss
        if waited >= patience or (until is not None and until()):
            break
    for p, of_best in zip(weights(mean), best or weights(mean), strict=True):
        p.copy_(of_best)
    write_back(ensemble_of_means, alone)
    training, validation = torch.stack(history, 1)
    return History(training, None if held_out is None else validation)


def weights(optimizer):
    return [p.data for group in optimizer.param_groups for p in group["params"]]


def average(mean, optimizer, count):
    """W̄ ← W̄ + (W − W̄)/count."""
    torch._foreach_lerp_(weights(mean), weights(optimizer), 1 / count)
