"""The loop over rows in memory: `fit` of the engine's optimizers."""

import contextlib
import importlib.util
import warnings

import torch

from torchbp._imports import extra_needed
from torchbp.engine.active_members import ActiveMembers
from torchbp.engine.fit_arguments import check_arguments
from torchbp.engine.gradients import gradient_norms
from torchbp.engine.rows import Rows
from torchbp.engine.stopping import NOT_FINITE, Minimum

AT_ONCE = 16  # steps on rows that are gathered at once, and compiled into one graph
GATHERED = 2**26  # bytes of rows that are gathered at once, where one step does not need more


def fit(
    optimizer, x, y, batch_size, max_epochs, shuffle, bagging, generator, min_delta, patience, min_grad_norm, progress
):
    """See `torchbp.SGD.fit`."""
    members = optimizer.network.members
    limits = batch_size, max_epochs, bagging, min_delta, patience, min_grad_norm
    check_arguments(optimizer.network, optimizer.loss, x, y, *limits)
    bag = torch.randint(x.shape[-2], (members, x.shape[-2]), generator=generator, device="cpu") if bagging else None
    chunk = None if optimizer.captured is not None else optimizer.chunk
    rows = Rows(x, y, None if bag is None else bag.to(x.device), chunk)
    with torch.device("cpu"):  # which may not be the default
        minimum = optimizer.minimum = Minimum(min_delta, patience, min_grad_norm, members)
    given, history = optimizer.active, []
    allowed = torch.tensor(True, device="cpu") if given is None else given.cpu()
    running = ActiveMembers(optimizer, rows)
    try:
        with bar(max_epochs, progress) as shown:
            for _ in range(max_epochs):
                order = torch.arange(rows.count, device="cpu")
                if shuffle:
                    order = torch.randperm(rows.count, generator=generator, device="cpu")
                before = minimum.active & allowed
                losses = running.whole(one_epoch(running.optimizer, running.rows, order.to(x.device), batch_size))
                history.append(torch.where(before, losses, history[-1]) if history else losses)
                norms = None
                if min_grad_norm:
                    norms = running.whole(norms_of(running.optimizer, running.rows, batch_size))
                active = minimum.update(losses, norms) & allowed
                shown.update()
                shown.set_postfix_str(f"loss {losses[losses.isfinite()].mean().item():.4f}", refresh=False)
                if not active.any():
                    break
                running.go_on_with(active)
    finally:
        running.put_back()
        optimizer.active = given
    report(optimizer, minimum, rows)
    return torch.stack(history)


def one_epoch(optimizer, rows, order, batch_size):
    """The mean loss over all rows, each of before the step that it was in; on the CPU, which waits for a GPU once.

    With reduction="sum" it is the sum over all rows.
    """
    total, whole = 0, rows.count // batch_size * batch_size
    mean = optimizer.loss.reduction == "mean"
    for places in order[:whole].split(batch_size * at_once(optimizer, rows, batch_size)) if whole else ():
        losses = optimizer.backprop_steps(*rows.of(places, len(places) // batch_size))
        total = total + losses.double().sum(0) * (batch_size if mean else 1)
    if whole < rows.count:
        last = optimizer.backprop_step(*rows.of(order[whole:])).double()
        total = total + last * (rows.count - whole if mean else 1)
    return total.cpu() / (rows.count if mean else 1)


def at_once(optimizer, rows, batch_size):
    """How many batches are gathered at once; one where the memory is to be bounded."""
    if optimizer.chunk is not None and optimizer.compiled is None:
        return 1
    return max(1, min(AT_ONCE, GATHERED // max(1, rows.bytes_of(batch_size))))


def norms_of(optimizer, rows, batch_size):
    """‖∇L‖ over all rows, on the CPU."""
    network, groups = optimizer.network, optimizer.param_groups
    decays = {
        p: 0.0 if group.get("decoupled_weight_decay") else group["weight_decay"]
        for group in groups
        for p in group["params"]
        if p.requires_grad
    }
    places = torch.arange(rows.count, device=rows.x.device).split(batch_size * at_once(optimizer, rows, batch_size))
    norms = []
    for members in network.chunks(optimizer.chunk):
        of = rows if members is None else rows.of_members(members)
        norms.append(gradient_norms(network, optimizer.loss, decays, map(of.of, places), members))
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


def report(optimizer, minimum, rows):
    """A loss that became nan or inf is an error that names the layer, or a warning that names the members."""
    lost = (minimum.why == NOT_FINITE).flatten()
    if lost.all():
        raise FloatingPointError(
            f"the loss became nan or inf in epoch {int(minimum.epochs.max())}: "
            f"{trouble(optimizer.network, rows, optimizer.chunk)}; a smaller lr helps"
        )
    if lost.any():
        which = ", ".join(str(int(i)) for i in lost.nonzero())
        warnings.warn(f"the loss of these members became nan or inf: {which}; a smaller lr helps", stacklevel=4)


def trouble(network, rows, chunk):
    """The first layer that gives nan or inf, or else the one with the largest weights."""
    parameters = network.parameters()
    places = torch.arange(min(rows.count, 1024), device=rows.x.device)
    with torch.no_grad(), network.only_read():
        for members in network.chunks(chunk):
            x, _ = (rows if members is None else rows.of_members(members)).of(places)
            of = parameters
            if members is not None:
                of = [tuple(p if p is None else p[members] for p in of_layer) for of_layer in parameters]
            try:
                network.strict = True
                network.forward(of, x)
            except FloatingPointError as error:
                return str(error)
            finally:
                network.strict = False
    largest = [
        max((p.detach().abs().max().item() for p in of_layer if p is not None), default=0) for of_layer in parameters
    ]
    place = largest.index(max(largest))
    return f"{network.names()[place]} has weights of {largest[place]:.3g}"
