"""`torchbp bench step`: a step of gradient descent, forward, backward and update: ours beside torch, numpy and JAX."""

import itertools
import warnings

import torch
from threadpoolctl import threadpool_limits

from torchbp.benchmarks.commands.layers import GRID
from torchbp.benchmarks.helpers import jax_process
from torchbp.benchmarks.helpers.step_variants import (
    PEER,
    STEPS_OF,
    captured_steps,
    compiled_steps,
    eager_steps,
    numpy_step,
)
from torchbp.benchmarks.helpers.timing import TIMED, interleaved

SUMMARY = ("forward, backward and update, ratio of times to torch.nn with torch.optim.SGD(fused=True)", "ratio")
COLUMNS = {"us": ("µs", "{:.1f}"), "ratio": ("ratio", "{:.2f}")}


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
    for make in (eager_steps, captured_steps if device == "cuda" else numpy_step):
        for number, of in itertools.product(threads, GRID):
            yield from _step_records(number, *of, _timed_steps(make, of, number, seconds, device), make is eager_steps)
    tasks = {of: ("steps", *of) for of in GRID}
    yield from jax_process.records(
        tasks, threads, seconds, device, lambda n, of, found: _step_records(n, *of, found, False)
    )
    for number, of in itertools.product(threads if with_compile else (), GRID):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the compiler's own parts
            yield from _step_records(number, *of, _timed_steps(compiled_steps, of, number, seconds, device), False)


def _timed_steps(make, of, threads, seconds, device):
    """The times of the variants that `make(*of)` makes on the device."""
    torch.set_num_threads(threads)
    with threadpool_limits(threads):
        with torch.device(device):
            variants = make(*of)
        steps = {name: STEPS_OF[name] for name in variants if name in STEPS_OF}
        return interleaved(variants, seconds, steps=steps, timed=TIMED[device])


def _step_records(threads, sizes, rows, found, with_peer):
    network = f"{'-'.join(map(str, sizes))} × {rows}"
    for name, columns in found.items():
        if with_peer or name != PEER:
            yield {"threads": threads, "network": network, "variant": name, **columns}
