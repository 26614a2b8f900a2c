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
from torchbp.benchmarks.helpers.networks import data_and_peer
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


def _descend(parameters, x, y):
    """The parameters after one step, and the loss before it."""
    value, gradients = jax.value_and_grad(_loss)(parameters, x, y)
    return jax.tree.map(lambda p, g: p - step_variants.LR * g, parameters, gradients), value


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
    """

    def __init__(self, program, parameters, *batch):
        self.program = jax.jit(program, donate_argnums=0)
        arrays = [_array(p) for p in parameters]
        self.parameters = list(zip(arrays[::2], arrays[1::2], strict=True))
        self.batch = [_array(t) for t in batch]

    def __call__(self):
        self.parameters, self.loss = self.program(self.parameters, *self.batch)


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
    name = f"JAX lax.scan, {step_variants.STEPS} steps"
    variants, _ = _jax_step(sizes, rows)
    return variants | {
        name: Descent(partial(_scanned, _descend), net.parameters(), *step_variants.repeated_rows(x, y))
    }, {name: step_variants.STEPS}


def _jax_ensemble(count, sizes, rows):
    """The same of an ensemble, all members on the same rows."""
    x, y, networks = ensemble_variants.data_and_networks(count, sizes, rows)
    loop, share = ensemble_variants.one_by_one(networks, x, y)
    vmapped = Descent(_descend_all, ensemble_variants.stacked_parameters(networks).values(), x, y)
    return {ensemble_variants.PEER: loop, "JAX jit, vmap": vmapped}, {ensemble_variants.PEER: share}


def jax_ensembles(count, sizes, rows):
    """The same, and JAX's program of several steps."""
    x, y, networks = ensemble_variants.data_and_networks(count, sizes, rows)
    name = f"JAX lax.scan, vmap, {step_variants.STEPS} steps"
    variants, steps = _jax_ensemble(count, sizes, rows)
    several = Descent(
        partial(_scanned, _descend_all),
        ensemble_variants.stacked_parameters(networks).values(),
        *step_variants.repeated_rows(x, y),
    )
    return variants | {name: several}, steps | {name: step_variants.STEPS}


KINDS = {"step": _jax_step, "steps": jax_steps, "ensemble": _jax_ensemble, "ensembles": jax_ensembles}


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
