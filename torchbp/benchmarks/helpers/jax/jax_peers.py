"""JAX's descent of the same networks. As a program, it times it beside torch.nn, in a process with threads of its own.

It is `jax.jit` of a whole step, which donates the parameters: the fastest that JAX has for one step a call.
"""

import json
import os
import sys
from contextlib import suppress
from functools import partial

import jax
import jax.numpy as jnp
import torch

from torchbp.benchmarks.helpers import ensemble_variants, step_variants
from torchbp.benchmarks.helpers.networks import classes_and_peer, data_and_peer
from torchbp.benchmarks.helpers.timing import by_clock, interleaved


def _logits(parameters, x):
    """Of a network [(W_1, b_1), …, (W_L, b_L)], each W `(out_features, in_features)`."""
    *hidden, (weight, bias) = parameters
    for w, b in hidden:
        x = jax.nn.sigmoid(x @ w.T + b)
    return x @ weight.T + bias


def _loss(parameters, x, y):
    z = _logits(parameters, x)
    return jnp.mean(jax.nn.softplus(z) - y * z)


def _cross_entropy(parameters, x, y):
    """y: the class of each row."""
    logs = jax.nn.log_softmax(_logits(parameters, x))
    return -jnp.mean(jnp.take_along_axis(logs, y[:, None], axis=1))


def _descend(parameters, x, y, lr=step_variants.LR, loss=_loss):
    """The parameters after one step, and the loss before it."""
    value, gradients = jax.value_and_grad(loss)(parameters, x, y)
    return jax.tree.map(lambda p, g: p - lr * g, parameters, gradients), value


def _descend_by_adamw(state, x, y, lr=step_variants.ADAMW_LR, decay=0.01, betas=(0.9, 0.999), eps=1e-8):
    """AdamW as `torch.optim.AdamW` computes it."""
    p, m, v = (state[name] for name in ("parameters", "m", "v"))
    value, g = jax.value_and_grad(_loss)(p, x, y)
    t = state["t"] + 1
    m = jax.tree.map(lambda m, g: betas[0] * m + (1 - betas[0]) * g, m, g)
    v = jax.tree.map(lambda v, g: betas[1] * v + (1 - betas[1]) * g * g, v, g)
    of_m, root_of_v = 1 - betas[0] ** t, jnp.sqrt(1 - betas[1] ** t)
    p = jax.tree.map(lambda p, m, v: p * (1 - lr * decay) - lr / of_m * m / (jnp.sqrt(v) / root_of_v + eps), p, m, v)
    return {"parameters": p, "m": m, "v": v, "t": t}, value


def _adamw_state(parameters):
    m, v = (jax.tree.map(jnp.zeros_like, parameters) for _ in range(2))
    return {"parameters": parameters, "m": m, "v": v, "t": jnp.zeros(())}


DESCENTS = {"SGD": _descend, "AdamW": _descend_by_adamw}
STATES = {"SGD": lambda parameters: parameters, "AdamW": _adamw_state}  # of the parameters

_descend_all = jax.vmap(_descend, in_axes=(0, None, None))  # members, which share the rows


def _scanned(step, parameters, xs, ys):
    """The parameters after a step for each x of xs and y of ys, and the losses before each."""
    return jax.lax.scan(lambda p, batch: step(p, *batch), parameters, (xs, ys))


class Descent:
    """A call is one call of the compiled program; `parameters` and `loss` are its results, which may not be there yet.

    Args:
        program: of the parameters and the batch to new parameters and the loss.
        parameters: tensors W_1, b_1, …, which are copied.
        batch: tensors.
        state: of the parameters, to what the program changes.
    """

    def __init__(self, program, parameters, *batch, state=STATES["SGD"]):
        self.program = jax.jit(program, donate_argnums=0)
        self.parameters = state(pairs_of(parameters))
        self.batch = [_array(t) for t in batch]

    def __call__(self):
        self.parameters, self.loss = self.program(self.parameters, *self.batch)


def pairs_of(parameters):
    """[(W_1, b_1), …] of the tensors W_1, b_1, …"""
    arrays = [_array(p) for p in parameters]
    return list(zip(arrays[::2], arrays[1::2], strict=True))


def _array(tensor):
    return jnp.array(tensor.detach().cpu().numpy())


def _jax_step(sizes, rows):
    """Name: the step, of the peer and of JAX; and name: how many steps that is, where it is not one."""
    x, y, net = data_and_peer(sizes, rows)
    return {
        step_variants.PEER: step_variants.torch_step(net, x, y),
        "JAX jit": Descent(_descend, net.parameters(), x, y),
    }, {}


def jax_steps(sizes, rows):
    """The same, and JAX's program of several steps."""
    x, y, net = data_and_peer(sizes, rows)
    return _one_and_several(step_variants.torch_step(net, x, y), _descend, net, x, y)


def _jax_adamw(sizes, rows):
    x, y, net = data_and_peer(sizes, rows)
    peer = step_variants.torch_step(net, x, y, step_variants.adamw)
    return _one_and_several(peer, _descend_by_adamw, net, x, y, state=_adamw_state)


def _jax_classes(sizes, rows):
    x, y, net = classes_and_peer(sizes, rows)
    peer = step_variants.torch_step(net, x, y, loss=torch.nn.CrossEntropyLoss())
    return _one_and_several(peer, partial(_descend, loss=_cross_entropy), net, x, y)


def _one_and_several(peer, descend, net, x, y, **state):
    """The peer's step, JAX's step, and JAX's program of several; and how many steps that is."""
    steps = step_variants.several(x)
    batches = step_variants.repeated_rows(steps, x, y)
    return {
        step_variants.PEER: peer,
        "JAX jit": Descent(descend, net.parameters(), x, y, **state),
        "JAX lax.scan": Descent(partial(_scanned, descend), net.parameters(), *batches, **state),
    }, {"JAX lax.scan": steps}


def _jax_ensemble(count, sizes, rows):
    """The same of an ensemble, all members on the same rows."""
    x, y, networks = ensemble_variants.data_and_networks(count, sizes, rows)
    loop, share = ensemble_variants.one_by_one(networks, x, y)
    vmapped = Descent(_descend_all, ensemble_variants.stacked_parameters(networks).values(), x, y)
    return {ensemble_variants.PEER: loop, "JAX jit, vmap": vmapped}, {ensemble_variants.PEER: share}


def jax_ensembles(count, sizes, rows):
    """The same, and JAX's program of several steps."""
    x, y, networks = ensemble_variants.data_and_networks(count, sizes, rows)
    variants, steps = _jax_ensemble(count, sizes, rows)
    of_call = step_variants.several(x)
    several = Descent(
        partial(_scanned, _descend_all),
        ensemble_variants.stacked_parameters(networks).values(),
        *step_variants.repeated_rows(of_call, x, y),
    )
    return variants | {"JAX lax.scan, vmap": several}, steps | {"JAX lax.scan, vmap": of_call}


KINDS = {
    "step": _jax_step,
    "steps": jax_steps,
    "AdamW": _jax_adamw,
    "classes": _jax_classes,
    "ensemble": _jax_ensemble,
    "ensembles": jax_ensembles,
}


def main(arguments):
    """Print a line of JSON, name: times, for each task [kind, argument of its function, …] of `arguments`.

    Everything in this process, torch and JAX, has `arguments["threads"]` threads, and as many cores where the system
    lets a process choose; JAX counts those, or takes NPROC, when it starts.
    """
    with suppress(AttributeError):  # macOS and Windows have no such call
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments["threads"]])
    torch.set_num_threads(arguments["threads"])
    for kind, *of in arguments["tasks"]:
        with torch.device(arguments["device"]):
            variants, steps = KINDS[kind](*of)
        descents = [variant for variant in variants.values() if isinstance(variant, Descent)]

        def wait(descents=descents):
            for descent in descents:
                jax.block_until_ready(descent.parameters)
            if arguments["device"] == "cuda":
                torch.cuda.synchronize()

        found = interleaved(variants, arguments["seconds"], steps=steps, timed=partial(by_clock, wait=wait))
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
