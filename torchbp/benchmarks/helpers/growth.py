"""How the time of a step grows with the members, the width, the depth and the batch: a part of `bench ensemble`."""

import torch
from threadpoolctl import threadpool_limits

from torchbp.benchmarks.helpers import ensemble_variants, step_variants
from torchbp.benchmarks.helpers.jax import jax_process
from torchbp.benchmarks.helpers.networks import data_and_peer
from torchbp.benchmarks.helpers.timing import interleaved
from torchbp.engine import SGD
from torchbp.nn import MLP

FEATURES, UNITS, ROWS = 30, 16, 32
# what grows: of what, its values, and the (kind of task, arguments) of one
AXES = {
    "members": (
        f"{FEATURES}-{UNITS}-1 × {ROWS}",
        (1, 4, 16, 64, 256, 1024, 4096),
        lambda value: ("ensemble", value, (FEATURES, UNITS, 1), ROWS),
    ),
    "width": (
        f"{FEATURES}-width-1 × {ROWS}",
        (4, 16, 64, 256, 1024, 4096),
        lambda value: ("step", (FEATURES, value, 1), ROWS),
    ),
    "depth": (
        f"{FEATURES}-{UNITS}-…-{UNITS}-1 × {ROWS}, hidden layers",
        (1, 2, 4, 8, 16, 32),  # the gradients of a deeper one are denormal numbers, which a processor is slow at
        lambda value: ("step", (FEATURES, *[UNITS] * value, 1), ROWS),
    ),
    "batch": (
        f"{FEATURES}-{UNITS}-1, rows",
        (1, 8, 64, 512, 4096, 32768),
        lambda value: ("step", (FEATURES, UNITS, 1), value),
    ),
}
PEERS = {"step": step_variants.PEER, "ensemble": ensemble_variants.PEER}


def _one_network(sizes, rows):
    """Name: a step, a function without arguments; and name: how many steps it makes, where that is not 1: none."""
    x, y, peer = data_and_peer(sizes, rows)
    net = MLP(*sizes)
    net.load_state_dict(peer.state_dict())
    descent = SGD(net, lr=step_variants.LR, compile=False)
    return {
        step_variants.PEER: step_variants.torch_step(peer, x, y),
        "SGD.backprop_step": lambda: descent.backprop_step(x, y),
    }, {}


KINDS = {"step": _one_network, "ensemble": ensemble_variants.eager_ensemble}


def measure_growth(threads, seconds):
    """A record of every number of threads, point of an axis, and variant, on the CPU; or a note.

    Args:
        threads: numbers of threads, one run each.
        seconds: how long each point is timed, all variants together.
    """
    tasks = {(axis, value): of(value) for axis, (_, values, of) in AXES.items() for value in values}
    for number in threads:
        torch.set_num_threads(number)
        with threadpool_limits(number):
            for point, (kind, *of) in tasks.items():
                variants, steps = KINDS[kind](*of)
                yield from _growth_records(number, *point, interleaved(variants, seconds, steps=steps), None)
    yield from jax_process.records(
        tasks,
        threads,
        seconds,
        "cpu",
        lambda n, point, found: _growth_records(n, *point, found, PEERS[tasks[point][0]]),
    )


def _growth_records(threads, axis, value, found, left_out):
    network = f"growth with {axis}: {AXES[axis][0]}"
    for name, columns in found.items():
        if name != left_out:
            yield {"threads": threads, "network": network, "growth": axis, "value": value, "variant": name, **columns}
