"""One pass over rows in memory: with a step on each batch, or only for the loss."""

import contextlib

import torch

from torchbp.engine.fitting.rows import gathered
from torchbp.engine.losses import value_and_derivative, weight_of

AT_ONCE = 16  # steps on rows that are gathered at once
GATHERED = 2**26  # bytes of rows that are gathered at once, where one step does not need more
ACTIVATIONS = 2**24  # bytes of activations at once, where only the loss is computed


class MeanLoss:
    """The mean loss over the rows of several batches, from that of each batch; with reduction="sum" the sum."""

    def __init__(self, loss):
        self.loss, self.total, self.weight = loss, 0, 0

    def add(self, losses, y, steps=None):
        """The losses, () or (E), of a batch with the target y; of so many steps, one dimension more before."""
        losses, weight = losses.double(), 1
        if self.loss.reduction == "mean":
            weight = weight_of(self.loss, y)
        if not isinstance(weight, torch.Tensor):
            self.total = self.total + (losses if steps is None else losses.sum(0)) * weight
            self.weight = self.weight + weight * (steps or 1)
            return
        weight = weight.double()
        if steps is None:
            losses, weight = losses.unsqueeze(0), weight.unsqueeze(0)
        if weight.dim() < losses.dim():  # the members have the same rows
            weight = weight.unsqueeze(-1)
        self.total = self.total + torch.where(weight == 0, 0, losses * weight).sum(0)  # the mean of nothing is nan
        self.weight = self.weight + weight.sum(0)

    def value(self):
        """On the CPU, which waits for a GPU once."""
        return (self.total / self.weight if self.loss.reduction == "mean" else self.total).cpu()


def one_epoch(optimizer, rows, order, batch_size):
    """The mean loss over all rows, each of before the step that it was in. `order` is one of all rows of the table.

    A member's steps are those that it would take alone: one for each `batch_size` of its own rows, in this order, and
    a last one on what is left.
    """
    with keys_of_active(optimizer):
        return steps_of_epoch(optimizer, rows, order, batch_size)


def steps_of_epoch(optimizer, rows, order, batch_size):
    mean, places = MeanLoss(optimizer.loss), rows.ordered(order)
    whole = rows.fewest // batch_size * batch_size
    stop = steps_of_program(optimizer, rows, places, batch_size, whole, mean) if optimizer.compiled is not None else 0
    for start in range(stop, whole, block := batch_size * at_once(optimizer, rows, batch_size)):
        stop = min(start + block, whole)
        steps = (stop - start) // batch_size
        x, y = rows.of(places[..., start:stop], steps)
        mean.add(optimizer._steps_of_engine(x, y), y, steps)
        del x, y  # so that they are freed before the next are gathered
    if rows.counts is not None:
        uneven_steps(optimizer, rows, places, batch_size, mean)
    elif whole < rows.fewest:
        x, y = rows.of(places[..., whole:])
        mean.add(optimizer._step_of_engine(x, y), y)
    return mean.value()


def steps_of_program(optimizer, rows, places, batch_size, whole, mean):
    """Steps on the rows at places[…, :whole], in calls of a program that gathers them. Returns how many of the places
    they took: none of them where no program makes the steps."""
    places, done = places if rows.bag is None else rows.bag[:, places], 0
    if optimizer._is_first() and whole:  # a step that has another rule
        first = places[..., :batch_size]
        x, y = gathered(rows.x, first, 1, None), gathered(rows.y, first, rows.row_dims, None)
        mean.add(optimizer._step_of_engine(x, y), y)
        done = batch_size
    block = batch_size * max(AT_ONCE, GATHERED // max(1, rows.bytes_of(batch_size)))
    for start in range(done, whole, block):
        stop = min(start + block, whole)
        of_block, steps = places[..., start:stop].contiguous(), (stop - start) // batch_size
        losses = optimizer._steps_of_program(rows.x, rows.y, batch_size, of_block)
        if losses is None:
            break
        mean.add(losses, gathered(rows.y, of_block, rows.row_dims, steps), steps)
        done = stop
    return done


def uneven_steps(optimizer, rows, places, batch_size, mean):
    """The steps at the end of an epoch, on batches of which some members have fewer rows than others, or none."""
    active, captured = optimizer.active, optimizer.captured
    optimizer.captured = None  # a graph does not know how many rows count
    try:
        for start in range(rows.fewest // batch_size * batch_size, rows.most, batch_size):
            x, y = rows.batch(places, start, batch_size)
            if start >= rows.fewest:  # who has no row takes no step
                optimizer.active = y.counts > 0 if active is None else active & (y.counts > 0)
            with keys_of_active(optimizer):
                mean.add(optimizer._step_of_engine(x, y), y)
            del x, y
    finally:
        optimizer.active, optimizer.captured = active, captured


@contextlib.contextmanager
def keys_of_active(optimizer):
    """A context in which the keys of random numbers are advanced for the members that are active at its start alone."""
    active = optimizer.active
    keys = [] if active is None else [layer.key for layer in optimizer.network.keyed]
    before = [key.clone() for key in keys]
    yield
    for key, old in zip(keys, before, strict=True):
        key.copy_(torch.where(active.unsqueeze(1), key, old))


def at_once(optimizer, rows, batch_size):
    """How many batches are gathered at once; one where the memory is to be bounded."""
    if optimizer.chunk is not None:
        return 1
    return max(1, min(AT_ONCE, GATHERED // max(1, rows.bytes_of(batch_size))))


@torch.no_grad()
def loss_on(optimizer, rows):
    """The mean loss over rows that are not trained on, (E) of an ensemble, on the CPU; as in evaluation."""
    network, loss = optimizer.network, optimizer.loss
    whole, found = network.parameters(), []
    with evaluation(network):
        for members in network.chunks(optimizer.chunk):
            of, parameters = rows, whole
            if members is not None:
                of = rows.of_members(members)
                parameters = [tuple(p if p is None else p[members] for p in of_layer) for of_layer in whole]
            mean = MeanLoss(loss)
            for x, y in of.pieces(max(1, ACTIVATIONS // bytes_of_activations(parameters, network.members))):
                output = network.forward(parameters, x)[0]
                mean.add(value_and_derivative(loss, output, y, network.members)[0], y)
                del x, y, output
            found.append(mean.value())
    return found[0] if len(found) == 1 else torch.cat(found)


def bytes_of_activations(parameters, members):
    """About how many bytes the inputs and outputs of the layers take, for a row of all members."""
    matrices = [p for of_layer in parameters for p in of_layer if p is not None and p.dim() > 1 + (members is not None)]
    bytes_of_each = sum(sum(p.shape[-2:]) * p.element_size() for p in matrices)
    return max(1, bytes_of_each * (1 if members is None or not matrices else len(matrices[0])))


@contextlib.contextmanager
def evaluation(network):
    """A context in which all layers are in evaluation."""
    training = [(module, module.training) for _, module in network.modules]
    try:
        for module, _ in training:
            module.training = False
        yield
    finally:
        for module, was in training:
            module.training = was
