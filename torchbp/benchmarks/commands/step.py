"""`torchbp bench step`: a step of gradient descent, forward, backward and update: ours beside torch, numpy and JAX."""

import copy
import itertools
import warnings

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from torchbp.benchmarks.commands import layers
from torchbp.benchmarks.commands.layers import GRID
from torchbp.benchmarks.helpers import jax_process
from torchbp.benchmarks.helpers.timing import TIMED, interleaved
from torchbp.engine import SGD, backprop
from torchbp.engine.cuda_graph import record
from torchbp.nn import MLP, FusedMLP

LR = 0.1
STEPS = 16  # of a call that makes several
PEER = "torch.nn"  # with autograd and torch.optim.SGD(fused=True)
SUMMARY = ("forward, backward and update, ratio of times to torch.nn with torch.optim.SGD(fused=True)", "ratio")
COLUMNS = {"us": ("µs", "{:.1f}"), "ratio": ("ratio", "{:.2f}")}


def eager(sizes, rows):
    """Name: the step, a function without arguments, each of a network of its own with the same weights."""
    x, y, peer = layers.data_and_peer(sizes, rows)
    mlp, fused, split, engine = MLP(*sizes), FusedMLP(*sizes), MLP(*sizes), MLP(*sizes)
    for net in (mlp, fused, split, engine):
        net.load_state_dict(peer.state_dict())
    loss, descent = torch.nn.BCEWithLogitsLoss(), SGD(engine, lr=LR)
    return {
        PEER: torchs(peer, x, y),
        "MLP": with_autograd(mlp, lambda: loss(mlp(x), y)),
        "FusedMLP.loss": with_autograd(fused, lambda: fused.loss(x, y)),
        "backprop": backprop_and_step(split, x, y),
        "SGD.backprop_step": lambda: descent.backprop_step(x, y),
    }


def captured(sizes, rows):
    """The step of the peer and ours, each as one CUDA graph, beside the peer."""
    x, y, peer = layers.data_and_peer(sizes, rows)
    graph, engine = copy.deepcopy(peer), MLP(*sizes)
    engine.load_state_dict(peer.state_dict())
    descent = SGD(engine, lr=LR, capture=True)
    return {
        PEER: torchs(peer, x, y),
        "torch.nn, captured": graph_of(graph, x, y),
        "SGD.backprop_step, captured": lambda: descent.backprop_step(x, y),
    }


def graph_of(net, x, y):
    """torch's step as a CUDA graph, as its documentation of whole-network capture does it: each batch is copied in."""
    batch, pool = (x.clone(), y.clone()), torch.cuda.graph_pool_handle()
    step = torchs(net, *batch)
    replay, loss = record(lambda: step().detach(), [p.detach() for p in net.parameters()], pool)

    def replayed(_=step):  # it holds the weights and gradients, which the graph reads where they are
        for memory, rows in zip(batch, (x, y), strict=True):
            memory.copy_(rows)
        replay()
        return loss.clone()

    return replayed


def numpys(sizes, rows):
    """The same of numpy, beside the peer: threads of its own would stand in the way of the others'."""
    x, y, peer = layers.data_and_peer(sizes, rows)
    by_hand = of_numpy([p.detach().numpy().copy() for p in peer.parameters()], x.numpy(), y.numpy())
    return {PEER: torchs(peer, x, y), "numpy": by_hand}


def compiled(sizes, rows):
    """The same compiled, beside the peer.

    `torch.compile` compiles forward and backward, and leaves the update to torch.optim.SGD; with "whole step" the
    update is in its program, and with "16 steps" so are 16 of them, unrolled. Those two are called from C++, as ours.
    On a GPU a CUDA graph takes the place of the 16 steps.
    """
    x, y, peer = layers.data_and_peer(sizes, rows)
    torch._dynamo.reset()  # otherwise the sizes of the last network make this one dynamic
    loss, halves, engine = torch.nn.BCEWithLogitsLoss(), copy.deepcopy(peer), MLP(*sizes)
    engine.load_state_dict(peer.state_dict())
    mode = "reduce-overhead" if x.is_cuda else None  # torch.compile's own CUDA graphs
    whole = program(functional(peer), x)
    found = {
        PEER: torchs(peer, x, y),
        "torch.compile": with_autograd(halves, torch.compile(lambda: loss(halves(x), y), mode=mode)),
        "torch.compile, whole step": lambda: whole(x, y),
    }
    if x.is_cuda:
        return found
    steps, (xs, ys) = program(unrolled(functional(peer)), x), repeated(x, y)
    descent = SGD(engine, lr=LR, compile=True)
    return found | {
        "torch.compile, 16 steps": lambda: steps(xs, ys),
        "SGD.backprop_steps, compiled": lambda: descent.backprop_steps(xs, ys),
    }


STEPS_OF = dict.fromkeys(("torch.compile, 16 steps", "SGD.backprop_steps, compiled"), STEPS)


def torchs(net, x, y):
    loss = torch.nn.BCEWithLogitsLoss()
    return with_autograd(net, lambda: loss(net(x), y))


def with_autograd(net, loss):
    optimizer = descent_of(net)

    def step():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        return value

    return step


def descent_of(net):
    return torch.optim.SGD(net.parameters(), lr=LR, fused=True)


def backprop_and_step(net, x, y):
    optimizer = descent_of(net)

    def step():
        for p in net.parameters():
            if p.grad is not None:
                p.grad.zero_()
        value = backprop(net, x, y)
        optimizer.step()
        return value

    return step


def functional(net):
    """A step of x and y on a copy of the network's parameters, in a form that the compiler takes whole."""
    parameters = {name: p.detach().clone() for name, p in net.named_parameters()}
    gradients_and_loss = torch.func.grad_and_value(functional_loss(net))

    def step(x, y):
        gradients, value = gradients_and_loss(parameters, x, y)
        for name, p in parameters.items():
            p.sub_(gradients[name], alpha=LR)
        return value

    return step


def functional_loss(net):
    loss = torch.nn.BCEWithLogitsLoss()
    return lambda parameters, x, y: loss(torch.func.functional_call(net, parameters, (x,)), y)


def unrolled(step):
    return lambda xs, ys: torch.stack([step(x, y) for x, y in zip(xs.unbind(), ys.unbind(), strict=True)])


def program(step, x):
    """The step compiled for the device of x; on the CPU it is called from C++."""
    return torch.compile(step, fullgraph=True, options={"cpp_wrapper": not x.is_cuda})


def repeated(*batch):
    """The same rows for each of 16 steps, each in memory of its own, as other rows would be."""
    return [t.repeat(STEPS, 1, 1) for t in batch]


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


def measure(threads, seconds, with_compile, device="cpu"):
    """A record of every number of threads, network and variant: their names, and the COLUMNS; or a note.

    What is compiled comes last, beside the peer once more: once the compiler was used in a process, eager modules are
    slower there. JAX is in a process of its own, beside the peer too.

    Args:
        threads: numbers of threads, one run each.
        seconds: how long each network is timed, all variants together.
        with_compile: whether torch.compile and what needs it take part. They need a C++ compiler.
        device: "cpu" or "cuda": numpy takes part on the first, CUDA graphs on the second.
    """
    for make in (eager, captured if device == "cuda" else numpys):
        for number, of in itertools.product(threads, GRID):
            yield from records(number, *of, timed(make, of, number, seconds, device), make is eager)
    tasks = {of: ("steps", *of) for of in GRID}
    yield from jax_process.records(tasks, threads, seconds, device, lambda n, of, found: records(n, *of, found, False))
    for number, of in itertools.product(threads if with_compile else (), GRID):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the compiler's own parts
            yield from records(number, *of, timed(compiled, of, number, seconds, device), False)


def timed(make, of, threads, seconds, device):
    """The times of the variants that `make(*of)` makes on the device."""
    torch.set_num_threads(threads)
    with threadpool_limits(threads):
        with torch.device(device):
            variants = make(*of)
        steps = {name: STEPS_OF[name] for name in variants if name in STEPS_OF}
        return interleaved(variants, seconds, steps=steps, timed=TIMED[device])


def records(threads, sizes, rows, found, with_peer):
    network = f"{'-'.join(map(str, sizes))} × {rows}"
    for name, columns in found.items():
        if with_peer or name != PEER:
            yield {"threads": threads, "network": network, "variant": name, **columns}
