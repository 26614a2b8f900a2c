"""The loop over rows in memory: `fit` of the engine's optimizers."""

import contextlib
import importlib.util
import warnings
from typing import NamedTuple

import torch

from torchbp._imports import extra_needed
from torchbp.engine.fitting.active_members import ActiveMembers
from torchbp.engine.fitting.best_weights import BestWeights
from torchbp.engine.fitting.epoch import at_once, loss_on, one_epoch
from torchbp.engine.fitting.fit_arguments import check_arguments
from torchbp.engine.fitting.pace import Pace
from torchbp.engine.fitting.row_choice import chosen_rows
from torchbp.engine.fitting.stopping import NOT_FINITE, Minimum, ValidationMinimum
from torchbp.engine.gradients import gradient_norms


class History(NamedTuple):
    """The losses of the epochs, float64 on the CPU, each `(epochs)` or `(epochs, E)`."""

    training: torch.Tensor
    validation: torch.Tensor


def fit(optimizer, x, y, **options):
    """See `torchbp.SGD.fit`."""
    history, why = descended(optimizer, x, y, **options)
    report(optimizer.minimum, why)
    return history[0] if options["validation"] is None else History(*history)


def descended(
    optimizer,
    x,
    y,
    *,
    batch_size,
    max_epochs,
    shuffle,
    rows,
    validation,
    generator,
    min_delta,
    patience,
    min_grad_norm,
    progress,
    until=None,
    bagging=False,
):
    """The history of the loss and of that which was watched, (2, epochs, …); and where nothing goes on, since the
    loss is nan or inf, the layer that it comes from in words, else ""."""
    members = optimizer.network.members
    limits = batch_size, max_epochs, bagging, min_delta, patience, min_grad_norm
    check_arguments(optimizer.network, optimizer.loss, x, y, *limits)
    optimizer.network.draw_keys(generator)
    training, held_out = chosen_rows(optimizer, x, y, rows, bagging, validation, generator)
    with torch.device("cpu"):  # which may not be the default
        kind = Minimum if held_out is None else ValidationMinimum
        minimum = optimizer.minimum = kind(min_delta, patience, min_grad_norm, members)
    given, compiled = optimizer.active, optimizer.compiled
    history, why, pace = [], "", Pace(max_epochs, -(-training.most // batch_size))
    allowed = torch.tensor(True, device="cpu") if given is None else given.cpu()
    running, best = ActiveMembers(optimizer, training, held_out), BestWeights(optimizer)
    try:
        with bar(max_epochs, progress) as shown:
            for _ in range(max_epochs):
                order = torch.arange(training.table, device="cpu")
                if shuffle:
                    order = torch.randperm(training.table, generator=generator, device="cpu")
                before = minimum.active & allowed
                losses = running.whole(one_epoch(running.optimizer, running.rows, order.to(x.device), batch_size))
                watched = losses
                if held_out is not None:
                    watched = running.whole(loss_on(running.optimizer, running.held_out))
                now = torch.stack([losses, watched])
                history.append(torch.where(before, now, history[-1]) if history else now)
                norms = None
                if min_grad_norm:
                    norms = running.whole(norms_of(running.optimizer, running.rows, batch_size))
                active = minimum.update(torch.where(losses.isfinite(), watched, torch.nan), norms) & allowed
                if held_out is not None:
                    best.keep(running, minimum.lower & before)
                shown.update()
                shown.set_postfix_str(f"loss {watched[watched.isfinite()].mean().item():.4f}", refresh=False)
                if not active.any() or (until is not None and until()):
                    break
                running.go_on_with(active)
                pace.epoch(running.optimizer)
    finally:
        running.put_back()
        if (minimum.why == NOT_FINITE).all():
            why = trouble(optimizer.network, training, optimizer.chunk)
        best.put_back()
        optimizer.active = given
        optimizer.compiled = compiled
    return torch.stack(history, 1), why


def norms_of(optimizer, rows, batch_size):
    """‖∇L‖ over all rows, on the CPU."""
    network, groups = optimizer.network, optimizer.param_groups
    decays = {
        p: 0.0 if group.get("decoupled_weight_decay") else group["weight_decay"]
        for group in groups
        for p in group["params"]
        if p.requires_grad
    }
    size, norms = batch_size * at_once(optimizer, rows, batch_size), []
    for members in network.chunks(optimizer.chunk):
        of = rows if members is None else rows.of_members(members)
        norms.append(gradient_norms(network, optimizer.loss, decays, of.pieces(size), members))
    return (norms[0] if len(norms) == 1 else torch.cat(norms)).cpu()


class NoBar(contextlib.nullcontext):
    """Shows nothing: tqdm is not installed."""

    def __enter__(self):
        return self

    def update(self):
        pass

    def set_postfix_str(self, text, refresh):
        pass


def bar(max_epochs, progress):
    """A progress bar on stderr. With progress=None it appears on a terminal after two seconds."""
    if not progress and importlib.util.find_spec("tqdm") is None:
        return NoBar()
    with extra_needed("train", "progress=True"):
        from tqdm import tqdm
    disable = None if progress is None else not progress
    return tqdm(total=max_epochs, unit="epoch", delay=0 if progress else 2, leave=False, disable=disable)


def report(minimum, why):
    """A loss that became nan or inf is an error that names the layer, or a warning that names the members."""
    lost = (minimum.why == NOT_FINITE).flatten()
    if lost.all():
        epochs = int(minimum.epochs.max())
        raise FloatingPointError(f"the loss became nan or inf in epoch {epochs}: {why}; a smaller lr helps")
    if lost.any():
        which = ", ".join(str(int(i)) for i in lost.nonzero())
        warnings.warn(f"the loss of these members became nan or inf: {which}; a smaller lr helps", stacklevel=4)


def trouble(network, rows, chunk):
    """The first layer that gives nan or inf, or else the one with the largest weights."""
    parameters = network.parameters()
    with torch.no_grad(), network.only_read():
        for members in network.chunks(chunk):
            x, _ = next((rows if members is None else rows.of_members(members)).pieces(1024))
            of = parameters
            if members is not None:
                of = [tuple(p if p is None else p[members] for p in of_layer) for of_layer in parameters]
            try:
                network.strict = True
                with network.of_members(members):
                    network.forward(of, x)
            except FloatingPointError as error:
                return str(error)
            finally:
                network.strict = False
    largest = [
        max((p.detach().abs().max().item() for p in of_layer if p is not None), default=0) for of_layer in parameters
    ]
    layer = largest.index(max(largest))
    return f"{network.names()[layer]} has weights of {largest[layer]:.3g}"
