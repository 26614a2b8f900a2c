"""Many small networks and a step of all of them: one by one, by torch.func, and ours.

The members have different weights and the same rows. The peer is torch.nn, one network after the other.
"""

import copy

import torch

from torchbp.benchmarks.helpers.networks import data_and_peer, torch_network
from torchbp.benchmarks.helpers.step_variants import (
    LR,
    compiled_program,
    functional_loss,
    repeated_rows,
    several,
    torch_step,
)
from torchbp.engine import SGD
from torchbp.nn import MLP

TRAINED = 4  # of the networks that are trained one by one, at most
PEER = "torch.nn, one by one"
SCALED = f"{PEER}: {TRAINED} networks are trained, and their time is scaled to all of them"


def data_and_networks(members, sizes, rows):
    x, y, first = data_and_peer(sizes, rows)
    return x, y, [first, *(torch_network(*sizes) for _ in range(members - 1))]


def one_by_one(networks, x, y):
    """A step of the first networks, one after the other; and the fraction of all networks that they are.

    These few stay in the processor's cache, where all of them might not.
    """
    steps = [torch_step(net, x, y) for net in networks[:TRAINED]]

    def step():
        return [each() for each in steps]

    return step, len(steps) / len(networks)


def stacked_parameters(networks):
    """{name: the parameters of all networks, which are its first dimension}."""
    parameters, _ = torch.func.stack_module_state(networks)
    return {name: p.detach() for name, p in parameters.items()}


def our_ensemble(networks, sizes):
    """Our ensemble with the weights of these networks."""
    net = MLP(*sizes, members=len(networks))
    with torch.no_grad():
        for p, values in zip(net.parameters(), stacked_parameters(networks).values(), strict=True):
            p.copy_(values)
    return net


def vmapped_step(networks, x, y):
    """The parameters, and a step of all by torch.func, as its tutorial on ensembles does it."""
    parameters = stacked_parameters(networks)
    gradients_and_losses = torch.func.vmap(
        torch.func.grad_and_value(functional_loss(copy.deepcopy(networks[0]))), in_dims=(0, None, None)
    )

    def step():
        gradients, losses = gradients_and_losses(parameters, x, y)
        for name, p in parameters.items():
            p.sub_(gradients[name], alpha=LR)
        return losses

    return parameters, step


def eager_ensemble(members, sizes, rows):
    """Name: a step, a function without arguments; and name: how many steps it makes, where that is not 1."""
    x, y, networks = data_and_networks(members, sizes, rows)
    loop, share = one_by_one(networks, x, y)
    shared, separate = (SGD(our_ensemble(networks, sizes), lr=LR, compile=False) for _ in range(2))
    xs, ys = (t.repeat(members, 1, 1) for t in (x, y))
    found = {
        PEER: loop,
        "torch.func.vmap": vmapped_step(networks, x, y)[1],
        "SGD, members": lambda: shared.backprop_step(x, y),
        "SGD, members, own rows": lambda: separate.backprop_step(xs, ys),
    }
    if x.is_cuda:
        graph = SGD(our_ensemble(networks, sizes), lr=LR, capture=True)
        found["SGD, members, captured"] = lambda: graph.backprop_step(x, y)
    return found, {PEER: share}


def compiled_ensemble(members, sizes, rows):
    """Compiled steps beside the peer, on the CPU called from C++. On a GPU our CUDA graph is among the eager ones."""
    x, y, networks = data_and_networks(members, sizes, rows)
    torch._dynamo.reset()
    loop, share = one_by_one(networks, x, y)
    found = {PEER: loop, "torch.compile, vmap": compiled_program(vmapped_step(networks, x, y)[1], x)}
    if x.is_cuda:
        return found, {PEER: share}
    xs, ys = repeated_rows(several(x), x, y)
    descent, name = SGD(our_ensemble(networks, sizes), lr=LR, compile=True), "SGD.backprop_steps, members, compiled"
    return found | {name: lambda: descent.backprop_steps(xs, ys)}, {PEER: share, name: len(xs)}
