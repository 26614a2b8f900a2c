"""The loop over rows in memory: `torchbp.SGD.fit`."""

import contextlib
import importlib.util
import warnings

import torch

from torchbp._imports import extra_needed
from torchbp.engine.active_members import ActiveMembers
from torchbp.engine.gradients import gradient_norms
from torchbp.engine.stopping import NOT_FINITE, Minimum
from torchbp.nn.mlp import is_count

AT_ONCE = 16  # steps on rows that are gathered at once, and compiled into one graph
GATHERED = 2**26  # bytes of rows that are gathered at once, where one step does not need more
LOOKED_AT = 2**20  # numbers in which nan and inf are looked for at once


class Rows:
    """The rows in memory, and those of the members where each has a bag of its own, drawn with replacement."""

    def __init__(self, x, y, bag=None, chunk=None):
        self.x, self.y, self.count, self.bag, self.chunk = x, y, x.shape[-2], bag, chunk

    def of(self, order, steps=None):
        """x and y at these places, in batches of one size if `steps` says of how many: (steps, …, N, features)."""
        if self.bag is None:
            return (batches(t[order] if t.dim() == 2 else t[:, order], steps) for t in (self.x, self.y))
        if self.chunk is None or self.chunk >= len(self.bag):
            return (batches(t[self.bag[:, order]], steps) for t in (self.x, self.y))
        return (Bags(t, self.bag, order, steps) for t in (self.x, self.y))

    def bytes_of(self, batch_size):
        """Of what `of` gathers for a batch."""
        members = 1 if self.bag is None else len(self.bag) if self.chunk is None else min(self.chunk, len(self.bag))
        of_row = sum(t[..., 0, :].numel() * t.element_size() for t in (self.x, self.y))
        return of_row * members * min(batch_size, self.count)

    def of_members(self, which):
        x, y = (t if t.dim() == 2 else t[which] for t in (self.x, self.y))
        return Rows(x, y, None if self.bag is None else self.bag[which], self.chunk)


class Bags:
    """The rows of each member's bag at these places, in the shape of a tensor of them, gathered for those asked for."""

    def __init__(self, t, bag, order, steps):
        self.t, self.bag, self.order, self.steps = t, bag, order, steps
        of_step = (len(bag), len(order) // (steps or 1), t.shape[-1])
        self.shape = of_step if steps is None else (steps, *of_step)

    def __len__(self):
        return self.shape[0]

    def dim(self):
        return len(self.shape)

    def __getitem__(self, index):
        """bags[…, members, :, :]; or bags[step]."""
        if isinstance(index, tuple):
            return batches(self.t[self.bag[index[-3]][:, self.order]], self.steps)
        order = self.order.view(self.steps, -1)[index]
        return Bags(self.t, self.bag, order, None)


def batches(rows, steps):
    if steps is None:
        return rows
    rows = rows.unflatten(-2, (steps, -1))
    return rows if rows.dim() == 3 else rows.transpose(0, 1)


def fit(optimizer, x, y, batch_size, epochs, shuffle, bagging, generator, tol, patience, min_grad_norm, progress):
    """See `torchbp.SGD.fit`."""
    members = optimizer.network.members
    check(optimizer.network, x, y, batch_size, epochs, bagging, tol, patience, min_grad_norm)
    bag = torch.randint(x.shape[-2], (members, x.shape[-2]), generator=generator, device="cpu") if bagging else None
    chunk = None if optimizer.captured is not None else optimizer.chunk
    rows = Rows(x, y, None if bag is None else bag.to(x.device), chunk)
    with torch.device("cpu"):  # which may not be the default
        minimum = optimizer.minimum = Minimum(tol, patience, min_grad_norm, members)
    given, history = optimizer.active, []
    allowed = torch.tensor(True, device="cpu") if given is None else given.cpu()
    running = ActiveMembers(optimizer, rows)
    try:
        with bar(epochs, progress) as shown:
            for _ in range(epochs):
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
    decays = {p: group["weight_decay"] for group in groups for p in group["params"] if p.requires_grad}
    places = torch.arange(rows.count, device=rows.x.device).split(batch_size * at_once(optimizer, rows, batch_size))
    norms = []
    for members in network.chunks(optimizer.chunk):
        of = rows if members is None else rows.of_members(members)
        norms.append(gradient_norms(network, optimizer.loss, decays, map(of.of, places), rows.count, members))
    return (norms[0] if len(norms) == 1 else torch.cat(norms)).cpu()


class NoBar(contextlib.nullcontext):
    """Shows nothing: tqdm is not installed."""

    def __enter__(self):
        return self

    def update(self):
        pass

    def set_postfix_str(self, text, refresh):
        pass


def bar(epochs, progress):
    """A progress bar on stderr: on a terminal, once the work has lasted two seconds; always or never if asked."""
    if not progress and importlib.util.find_spec("tqdm") is None:
        return NoBar()
    with extra_needed("train", "progress=True"):
        from tqdm import tqdm
    disable = None if progress is None else not progress
    return tqdm(total=epochs, unit="epoch", delay=0 if progress else 2, leave=False, disable=disable)


def check(network, x, y, batch_size, epochs, bagging, tol, patience, min_grad_norm):
    """Raises a ValueError, of something that is no tensor a TypeError, for what cannot be trained on."""
    members, weight = network.members, network.first_parameter
    for name, value in (("batch_size", batch_size), ("epochs", epochs), ("patience", patience)):
        if not is_count(value):
            raise ValueError(f"{name}={value!r} must be a positive integer")
    for name, value in (("tol", tol), ("min_grad_norm", min_grad_norm)):
        if not value >= 0:
            raise ValueError(f"{name}={value!r} must not be negative")
    dimensions = (2,) if members is None or bagging else (2, 3)
    for name, t in (("x", x), ("y", y)):
        if not isinstance(t, torch.Tensor):
            raise TypeError(f"{name} is a {type(t).__name__}; give a tensor, as torch.as_tensor makes one")
        if t.dim() not in dimensions or (t.dim() == 3 and len(t) != members):
            raise ValueError(
                f"{name} has the shape {tuple(t.shape)}; give (N, features)"
                + (f", or ({members}, N, features)" if 3 in dimensions else "")
            )
        if t.device != weight.device:
            raise ValueError(f"{name} is on {t.device}, and the model on {weight.device}; use {name}.to(…) first")
    if x.dtype is not weight.dtype:
        raise ValueError(f"x is {x.dtype}, and the model {weight.dtype}; give x.to({weight.dtype})")
    features = getattr(network.named[0][1], "in_features", None)
    if features not in (None, x.shape[-1]):
        raise ValueError(f"x has {x.shape[-1]} features, and the model takes {features}")
    if x.shape[-2] != y.shape[-2] or not x.shape[-2]:
        raise ValueError(f"x has {x.shape[-2]} rows and y {y.shape[-2]}; give as many, and one at least")
    if bagging and members is None:
        raise ValueError("bagging=True draws rows for each member; the model is one network")
    for name, t in (("x", x), ("y", y)):
        check_finite(name, t)


def check_finite(name, t):
    """Raises a ValueError for nan or inf, with its place. It takes no memory that grows with the rows."""
    if not t.numel() or all(value.isfinite() for value in t.aminmax()):  # nan is both, where there is one
        return
    rows = max(1, LOOKED_AT // t[..., 0, :].numel())
    count, first = 0, None
    for number, part in enumerate(t.split(rows, dim=-2)):
        places = (~part.isfinite()).nonzero()
        count += len(places)
        if first is None and len(places):
            first = places[0].tolist()
            first[-2] += number * rows
    place = ", ".join(map(str, first))
    raise ValueError(f"{name}[{place}] is {t[tuple(first)].item()}, one of {count}; nothing was trained")


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
    with torch.no_grad():
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
