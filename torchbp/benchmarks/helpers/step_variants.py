"""A step of gradient descent in each variant: torch.nn, ours, NumPy by hand, and compiled."""

import copy

import numpy as np
import torch

from torchbp.benchmarks.helpers.networks import classes_and_peer, data_and_peer
from torchbp.engine import SGD, AdamW, backprop
from torchbp.engine.native.single_step import STEPS_BEFORE
from torchbp.engine.optimizers.cuda_graph import record
from torchbp.nn import MLP, CrossEntropyLoss, FusedMLP

LR, ADAMW_LR = 0.1, 1e-3
UNROLLED = 16  # steps of one program of torch.compile
MOST_STEPS, MOST_BYTES = 8192, 2**22  # of a call that makes several, and of its rows
PEER = "torch.nn"  # with autograd and torch.optim.SGD(fused=True)


def eager_steps(sizes, rows):
    """Name: a step, a function without arguments. Each variant has its own network; all have the same weights."""
    x, y, peer = data_and_peer(sizes, rows)
    mlp, fused, split, engine = MLP(*sizes), FusedMLP(*sizes), MLP(*sizes), MLP(*sizes)
    for net in (mlp, fused, split, engine):
        net.load_state_dict(peer.state_dict())
    loss, descent = torch.nn.BCEWithLogitsLoss(), SGD(engine, lr=LR, compile=False)
    return {
        PEER: torch_step(peer, x, y),
        "MLP": _with_autograd(mlp, lambda: loss(mlp(x), y)),
        "FusedMLP.loss": _with_autograd(fused, lambda: fused.loss(x, y)),
        "backprop": backprop_and_torch_step(split, x, y),
        "SGD.backprop_step": lambda: descent.backprop_step(x, y),
    }


def captured_steps(sizes, rows):
    """The step of the peer and ours, each as one CUDA graph, beside the peer."""
    x, y, peer = data_and_peer(sizes, rows)
    graph, engine = copy.deepcopy(peer), MLP(*sizes)
    engine.load_state_dict(peer.state_dict())
    descent = SGD(engine, lr=LR, capture=True)
    return {
        PEER: torch_step(peer, x, y),
        "torch.nn, captured": step_in_cuda_graph(graph, x, y),
        "SGD.backprop_step, captured": lambda: descent.backprop_step(x, y),
    }


def step_in_cuda_graph(net, x, y):
    """torch's step as a CUDA graph, as its documentation of whole-network capture does it: each batch is copied in."""
    batch, pool = (x.clone(), y.clone()), torch.cuda.graph_pool_handle()
    step = torch_step(net, *batch)
    replay, loss = record(lambda: step().detach(), [p.detach() for p in net.parameters()], pool)

    def replayed(_=step):  # keeps the weights and gradients alive: the graph reads their memory
        for memory, rows in zip(batch, (x, y), strict=True):
            memory.copy_(rows)
        replay()
        return loss.clone()

    return replayed


def numpy_step(sizes, rows):
    """NumPy's step, beside the peer. Its threads would slow the other variants down, so it is timed apart."""
    x, y, peer = data_and_peer(sizes, rows)
    by_hand = numpy_by_hand([p.detach().numpy().copy() for p in peer.parameters()], x.numpy(), y.numpy())
    return {PEER: torch_step(peer, x, y), "numpy": by_hand}


def compiled_steps(sizes, rows):
    """The same compiled, beside the peer.

    `torch.compile` compiles forward and backward, and leaves the update to torch.optim.SGD; with "whole step" the
    update is in its program, and with "16 steps" so are 16 of them, unrolled. Those two are called from C++, as ours.
    On a GPU a CUDA graph takes the place of the 16 steps.
    """
    x, y, peer = data_and_peer(sizes, rows)
    torch._dynamo.reset()  # otherwise the sizes of the last network make this one dynamic
    loss, halves, engine = torch.nn.BCEWithLogitsLoss(), copy.deepcopy(peer), MLP(*sizes)
    engine.load_state_dict(peer.state_dict())
    mode = "reduce-overhead" if x.is_cuda else None  # torch.compile's own CUDA graphs
    whole = compiled_program(_functional_step(peer), x)
    found = {
        PEER: torch_step(peer, x, y),
        "torch.compile": _with_autograd(halves, torch.compile(lambda: loss(halves(x), y), mode=mode)),
        "torch.compile, whole step": lambda: whole(x, y),
    }
    if x.is_cuda:
        return found
    steps, batches = compiled_program(_unrolled(_functional_step(peer)), x), repeated_rows(UNROLLED, x, y)
    xs, ys = repeated_rows(several(x), x, y)
    descent = SGD(engine, lr=LR, compile=True)
    return found | {
        "torch.compile, 16 steps": Several(lambda: steps(*batches), UNROLLED),
        "SGD.backprop_step, compiled": compiled_step(SGD, LR, None, peer, sizes, x, y),
        "SGD.backprop_steps, compiled": Several(lambda: descent.backprop_steps(xs, ys), len(xs)),
    }


def compiled_step(optimizer, lr, loss, peer, sizes, x, y):
    """`backprop_step` once it is a program, from the weights of the peer."""
    engine = MLP(*sizes)
    descent = optimizer(engine, lr=lr, loss=loss, compile=True)
    for _ in range(2 * STEPS_BEFORE):
        descent.backprop_step(x, y)
    engine.load_state_dict(peer.state_dict())
    for state in descent.state.values():
        for tensor in state.values():
            tensor.zero_()
    return lambda: descent.backprop_step(x, y)


class Several:
    """A call that makes several steps."""

    def __init__(self, function, steps):
        self.function, self.steps = function, steps

    def __call__(self):
        return self.function()


def several(x):
    """How many steps on rows like x a call makes."""
    return max(UNROLLED, min(MOST_STEPS, MOST_BYTES // x.nbytes))


def torch_step(net, x, y, optimizer=None, loss=None):
    """A step of torch.nn with `optimizer(net)`, SGD where it is None; with BCEWithLogitsLoss, or another loss."""
    loss = loss or torch.nn.BCEWithLogitsLoss()
    return _with_autograd(net, lambda: loss(net(x), y), optimizer)


def _with_autograd(net, loss, optimizer=None):
    optimizer = (optimizer or _torch_sgd)(net)

    def step():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        return value

    return step


def _torch_sgd(net):
    return torch.optim.SGD(net.parameters(), lr=LR, fused=True)


def adamw(net):
    return torch.optim.AdamW(net.parameters(), lr=ADAMW_LR, fused=True)


def adamw_steps(sizes, rows, compiled=False):
    """The step of AdamW, of torch.nn and ours; `compiled` is ours alone beside the peer."""
    x, y, peer = data_and_peer(sizes, rows)
    ours = _our_steps("AdamW", AdamW, ADAMW_LR, None, compiled, peer, sizes, x, y)
    return {PEER: torch_step(peer, x, y, adamw), **ours}


def classes_steps(sizes, rows, compiled=False):
    """The step of SGD with softmax and cross-entropy, of torch.nn and ours; `compiled` as above."""
    x, y, peer = classes_and_peer(sizes, rows)
    ours = _our_steps("SGD", SGD, LR, CrossEntropyLoss(), compiled, peer, sizes, x, y)
    return {PEER: torch_step(peer, x, y, loss=torch.nn.CrossEntropyLoss()), **ours}


def _our_steps(name, optimizer, lr, loss, compiled, peer, sizes, x, y):
    engine = MLP(*sizes)
    engine.load_state_dict(peer.state_dict())
    descent = optimizer(engine, lr=lr, loss=loss, compile=compiled)
    if not compiled:
        return {f"{name}.backprop_step": lambda: descent.backprop_step(x, y)}
    batches = repeated_rows(several(x), x, y)
    return {
        f"{name}.backprop_step, compiled": compiled_step(optimizer, lr, loss, peer, sizes, x, y),
        f"{name}.backprop_steps, compiled": Several(lambda: descent.backprop_steps(*batches), len(batches[0])),
    }


def backprop_and_torch_step(net, x, y):
    optimizer = _torch_sgd(net)

    def step():
        for p in net.parameters():
            if p.grad is not None:
                p.grad.zero_()
        value = backprop(net, x, y)
        optimizer.step()
        return value

    return step


def _functional_step(net):
    """A step of x and y on a copy of the network's parameters, which the compiler can compile as one program."""
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


def _unrolled(step):
    return lambda xs, ys: torch.stack([step(x, y) for x, y in zip(xs.unbind(), ys.unbind(), strict=True)])


def compiled_program(step, x):
    """The step compiled for the device of x; on the CPU it is called from C++."""
    return torch.compile(step, fullgraph=True, options={"cpp_wrapper": not x.is_cuda})


def repeated_rows(steps, *batch):
    """The same rows for each of some steps, as copies: other rows would be in other memory too."""
    return [t.repeat(steps, *[1] * t.dim()) for t in batch]


def numpy_by_hand(parameters, x, y):
    """A step by the equations as a reader would write them in NumPy; W_1, b_1, … are changed in place."""
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
