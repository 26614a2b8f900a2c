"""JAX's training: all epochs and steps in one program of two scans, which shuffles and gathers the rows."""

import time
from functools import partial

import jax
import jax.numpy as jnp
import torch

from torchbp.benchmarks.helpers.jax import jax_peers
from torchbp.benchmarks.helpers.networks import torch_network


def compile_and_run(training, x, y, lr):
    """{name: seconds} with and without the compilation, and the parameters at the end."""
    net = torch_network(*training.sizes)
    state = jax_peers.STATES[training.optimizer](jax_peers.pairs_of(net.parameters()))
    arrays = [jnp.array(t.numpy()) for t in (x, y)]
    program = jax.jit(partial(_train, training, lr))
    start = time.perf_counter()
    compiled = program.lower(state, *arrays).compile()
    middle = time.perf_counter()
    state = jax.block_until_ready(compiled(state, *arrays))
    end = time.perf_counter()
    parameters = state["parameters"] if isinstance(state, dict) else state
    return {
        "JAX lax.scan, compiled before": end - middle,
        "JAX lax.scan, with its compilation": end - start,
    }, [torch.tensor(array.tolist()) for pair in parameters for array in pair]


def _train(training, lr, state, x, y):
    descend = partial(jax_peers.DESCENTS[training.optimizer], lr=lr)
    whole = len(x) // training.batch * training.batch

    def step(state, rows):
        return descend(state, x[rows], y[rows])[0], None

    def epoch(state, key):
        order = jax.random.permutation(key, len(x))
        state, _ = jax.lax.scan(step, state, order[:whole].reshape(-1, training.batch))
        if whole < len(x):
            state, _ = step(state, order[whole:])
        return state, None

    return jax.lax.scan(epoch, state, jax.random.split(jax.random.key(0), training.epochs))[0]
