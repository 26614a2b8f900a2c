"""`torchbp bench fit`: whole trainings on rows in memory, ours beside loops of torch.nn, scikit-learn and JAX.

A training is timed from the making of its network to its last step: each epoch draws an order and gathers its rows.
Ours begins with an empty folder of compiled programs, and with `compile=True` is timed once more with what the first
has left there; JAX's with its compilation and without.
"""

import importlib.util
import itertools

from torchbp.benchmarks.commands.layers import GRID
from torchbp.benchmarks.helpers import whole_fits
from torchbp.benchmarks.helpers.jax import jax_process
from torchbp.benchmarks.helpers.turns import in_turns

ROWS, EPOCHS = 10_000, 10
SUMMARIES = {
    optimizer: (f"a whole training with {optimizer}, ratio of times to a raw loop of torch.nn", "ratio")
    for optimizer in whole_fits.LR
}
COLUMNS = {"s": ("seconds", "{:.3f}"), "ratio": ("ratio", "{:.2f}")}


def measure(threads, seconds, with_compile):
    """A record of every number of threads, optimizer, network and variant: their names, and the COLUMNS; or a note.

    Args:
        threads: numbers of threads, one run each.
        seconds: how long each network is trained, all variants together; each has one turn or more.
        with_compile: whether `fit` with compile=True takes part.
    """
    variants = list(whole_fits.VARIANTS)
    yield {"note": f"{ROWS} rows and {EPOCHS} epochs, each variant in a process of its own"}
    yield {"note": "scikit-learn's adam has no decay"}
    if not jax_process.installed():
        yield {"note": jax_process.MISSING}
        variants.remove(whole_fits.JAX)
    if importlib.util.find_spec("sklearn") is None:
        yield {"note": "scikit-learn is not installed: pip install 'torchbp[bench]'"}
        variants.remove(whole_fits.SKLEARN)
    if not with_compile:
        variants.remove(whole_fits.COMPILED)
    for number, optimizer, (sizes, batch) in itertools.product(threads, whole_fits.LR, GRID):
        training = whole_fits.Training(sizes, batch, optimizer, ROWS, EPOCHS)
        arguments = [{"variant": name, "training": training, "threads": number} for name in variants]
        found, stopped = in_turns(whole_fits.__name__, arguments, seconds, number)
        yield from ({"note": line} for line in stopped)
        network = f"{'-'.join(map(str, sizes))} × {batch}"
        for name, columns in found.items():
            yield {"threads": number, "task": optimizer, "network": network, "variant": name, **columns}
