"""`torchbp bench step`: one step of gradient descent, forward, backward and update: ours beside torch and numpy."""

import copy
import itertools
import warnings

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from torchbp.benchmarks import layers
from torchbp.benchmarks.layers import GRID
from torchbp.benchmarks.measure import interleaved, peak_bytes
from torchbp.engine import SGD, backprop
from torchbp.nn import MLP, FusedMLP

LR = 0.1
PEER = "torch.nn"  # with autograd and torch.optim.SGD(fused=True)
SUMMARY = ("forward, backward and update, ratio of times to torch.nn with torch.optim.SGD(fused=True)", "ratio")
COLUMNS = {"us": ("µs", "{:.1f}"), "ratio": ("ratio", "{:.2f}"), "peak_kib": ("peak KiB", "{:.1f}")}


def eager(sizes, rows):
    """Name: the step, a function without arguments, each of a network of its own with the same weights."""
    x, y, peer = layers.data_and_peer(sizes, rows)
    mlp, fused, split, engine = MLP(*sizes), FusedMLP(*sizes), MLP(*sizes), MLP(*sizes)
    for net in (mlp, fused, split, engine):
        net.load_state_dict(peer.state_dict())
    torchs = torch.nn.BCEWithLogitsLoss()
    filled, descent = descent_of(split), SGD(engine, lr=LR)

    def backprop_and_step():
        for p in split.parameters():
            if p.grad is not None:
                p.grad.zero_()
        backprop(split, x, y)
        filled.step()

    return {
        PEER: with_autograd(peer, lambda: torchs(peer(x), y)),
        "MLP": with_autograd(mlp, lambda: torchs(mlp(x), y)),
        "FusedMLP.loss": with_autograd(fused, lambda: fused.loss(x, y)),
        "backprop": backprop_and_step,
        "SGD.backprop_step": lambda: descent.backprop_step(x, y),
    }


def numpys(sizes, rows):
    """The same of numpy, beside the peer: threads of its own would stand in the way of the others'."""
    x, y, peer = layers.data_and_peer(sizes, rows)
    loss = torch.nn.BCEWithLogitsLoss()
    by_hand = of_numpy([p.detach().numpy().copy() for p in peer.parameters()], x.numpy(), y.numpy())
    return {PEER: with_autograd(peer, lambda: loss(peer(x), y)), "numpy": by_hand}


def compiled(sizes, rows):
    """The same of torch.compile, which compiles the forward and the backward; beside the peer."""
    x, y, peer = layers.data_and_peer(sizes, rows)
    torch._dynamo.reset()  # otherwise the sizes of the last network make this one dynamic
    loss, other = torch.nn.BCEWithLogitsLoss(), copy.deepcopy(peer)
    return {
        PEER: with_autograd(peer, lambda: loss(peer(x), y)),
        "torch.compile": with_autograd(other, torch.compile(lambda: loss(other(x), y))),
    }


def descent_of(net):
    return torch.optim.SGD(net.parameters(), lr=LR, fused=True)


def with_autograd(net, loss):
    optimizer = descent_of(net)

    def step():
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step


def of_numpy(parameters, x, y):
    """The article's equations, as one would write them down; W_1, b_1, … are changed in place."""
    ws, bs = parameters[::2], parameters[1::2]

    def step():
        activations = [x]
        for w, b in zip(ws, bs, strict=True):
            z = activations[-1] @ w.T + b
            activations.append(1 / (1 + np.exp(-z)))
        loss = np.mean(np.logaddexp(0, z) - y * z)
        dz = (activations.pop() - y) / y.size
        for w, b in zip(reversed(ws), reversed(bs), strict=True):
            a = activations.pop()
            da = dz @ w
            w -= LR * (dz.T @ a)
            b -= LR * dz.sum(0)
            dz = da * a * (1 - a)
        return loss

    return step


def measure(threads, seconds, with_compile):
    """A record of every number of threads, network and variant: their names, and the COLUMNS that it has.

    torch.compile comes last, beside the peer once more: once it was used in a process, eager modules are slower there.

    Args:
        threads: numbers of threads, one run each.
        seconds: how long each network is timed, all variants together.
        with_compile: whether torch.compile takes part. It needs a C++ compiler.
    """
    for make in (eager, numpys, compiled) if with_compile else (eager, numpys):
        for number, (sizes, rows) in itertools.product(threads, GRID):
            torch.set_num_threads(number)
            with warnings.catch_warnings(), threadpool_limits(number):
                warnings.simplefilter("ignore")  # of the compiler's own parts
                variants = make(sizes, rows)
                found = interleaved(variants, seconds)
                for name, times in found.items():
                    if make is eager:  # what numpy and the compiler allocate, torch's profiler does not see
                        times["peak_kib"] = peak_bytes(lambda: None, variants[name]) / 1024
            for name, columns in found.items():
                if make is eager or name != PEER:
                    network = f"{'-'.join(map(str, sizes))} × {rows}"
                    yield {"threads": number, "network": network, "variant": name, **columns}
