"""`torchbp bench ensemble`: a step of many small networks at once, beside a loop over them, torch.func and JAX."""

import itertools
import warnings

import torch
from threadpoolctl import threadpool_limits

from torchbp.benchmarks.helpers import growth
from torchbp.benchmarks.helpers.ensemble_variants import PEER, SCALED, compiled_ensemble, eager_ensemble
from torchbp.benchmarks.helpers.jax import jax_process
from torchbp.benchmarks.helpers.timing import TIMED, interleaved

# members, the sizes of each, and rows a batch
GRID = [
    (64, (30, 16, 1), 32),
    (512, (30, 16, 1), 32),
    (64, (2, 4, 1), 4),
    (512, (2, 4, 1), 4),
    (4096, (2, 4, 1), 4),
    (64, (64, 64, 10), 32),
    (64, (30, 64, 64, 1), 128),
    (8, (784, 256, 1), 128),
]
LARGE = (4096, (30, 16, 1), 32)  # on a GPU
SUMMARY = (f"a step of all members, ratio of times to {PEER}", "ratio")
COLUMNS = {"us": ("µs", "{:.1f}"), "member_us": ("µs per member", "{:.2f}"), "ratio": ("ratio", "{:.2f}")}


def measure(threads, seconds, with_compile, device="cpu"):
    """A record of every number of threads, ensemble and variant: their names, and the COLUMNS; of growth; and notes.

    Args:
        threads: numbers of threads, one run each.
        seconds: how long each ensemble is timed, all variants together; the points of the growth, a quarter of that.
        with_compile: whether torch.compile takes part. It needs a C++ compiler.
        device: "cpu" or "cuda". On a GPU an ensemble of 4096 takes the place of the growth.
    """
    yield {"note": SCALED}
    grid = [*GRID, LARGE] if device == "cuda" else GRID
    for number, of in itertools.product(threads, grid):
        yield from _ensemble_records(number, *of, _timed_ensemble(eager_ensemble, of, number, seconds, device), True)
    tasks = {of: ("ensembles", *of) for of in grid}
    yield from jax_process.records(
        tasks, threads, seconds, device, lambda n, of, found: _ensemble_records(n, *of, found, False)
    )
    if device == "cpu":
        yield from growth.measure_growth(threads, seconds / 4)
    for number, of in itertools.product(threads if with_compile else (), grid):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the compiler's own parts
            yield from _ensemble_records(
                number, *of, _timed_ensemble(compiled_ensemble, of, number, seconds, device), False
            )


def _timed_ensemble(make, of, threads, seconds, device):
    """The times of the variants that `make(*of)` makes on the device."""
    torch.set_num_threads(threads)
    with threadpool_limits(threads):
        with torch.device(device):
            variants, steps = make(*of)
        return interleaved(variants, seconds, steps=steps, timed=TIMED[device])


def _ensemble_records(threads, members, sizes, rows, found, with_peer):
    network = f"{members} of {'-'.join(map(str, sizes))} × {rows}"
    for name, columns in found.items():
        if with_peer or name != PEER:
            member_us = columns["us"] / members
            yield {"threads": threads, "network": network, "variant": name, "member_us": member_us, **columns}
