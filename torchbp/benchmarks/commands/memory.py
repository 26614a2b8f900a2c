"""`torchbp bench memory`: the most memory that a step takes, beside what it needs at least.

Only torch's tensors are counted: the profiler does not see memory that is allocated inside BLAS.
"""

import torch

from torchbp.benchmarks.commands import layers
from torchbp.benchmarks.helpers import ensemble_variants
from torchbp.benchmarks.helpers.memory_use import allocations, peak
from torchbp.benchmarks.helpers.networks import data_and_peer
from torchbp.benchmarks.helpers.step_variants import LR, backprop_and_torch_step, torch_step
from torchbp.engine import SGD
from torchbp.nn import MLP

# members, the sizes of each, rows a batch, and members a chunk
ENSEMBLES = [(64, (30, 16, 1), 32, 8), (64, (784, 256, 1), 128, 8)]
SUMMARY = ("peak of a step, ratio to parameters + input + activations + the largest delta", "ratio")
COLUMNS = {
    "peak_kib": ("peak KiB", "{:.1f}"),
    "bound_kib": ("what it needs, KiB", "{:.1f}"),
    "ratio": ("ratio", "{:.2f}"),
    "largest_kib": ("largest allocation, KiB", "{:.1f}"),
    "weight_kib": ("largest weight, KiB", "{:.1f}"),
}


def networks_and_steps(sizes, rows):
    """Name: its network, and its step, a function without arguments; and the batch."""
    x, y, peer = data_and_peer(sizes, rows)
    split, engine = MLP(*sizes), MLP(*sizes)
    descent = SGD(engine, lr=LR)
    return {
        "torch.nn": (peer.parameters(), torch_step(peer, x, y)),
        "backprop": (split.parameters(), backprop_and_torch_step(split, x, y)),
        "SGD.backprop_step": (engine.parameters(), lambda: descent.backprop_step(x, y)),
    }, (x, y)


def _ensembles_and_steps(count, sizes, rows, chunk):
    """The same of an ensemble, all members on the same rows."""
    x, y, each = ensemble_variants.data_and_networks(count, sizes, rows)
    whole, parts = ensemble_variants.our_ensemble(each, sizes), ensemble_variants.our_ensemble(each, sizes)
    at_once, chunked = SGD(whole, lr=LR), SGD(parts, lr=LR, chunk=chunk)
    stacked, vmapped = ensemble_variants.vmapped_step(each, x, y)
    return {
        "torch.func.vmap": (stacked.values(), vmapped),
        "SGD, members": (whole.parameters(), lambda: at_once.backprop_step(x, y)),
        f"SGD, members, chunk={chunk}": (parts.parameters(), lambda: chunked.backprop_step(x, y)),
    }, (x, y)


def measure(device="cpu"):
    """A record of every network and variant on the device, "cpu" or "cuda": their names, and the COLUMNS."""
    for sizes, rows in layers.GRID:
        with torch.device(device):
            made = networks_and_steps(sizes, rows)
        yield from memory_records(f"{'-'.join(map(str, sizes))} × {rows}", 1, sizes, rows, *made, device)
    for count, sizes, rows, chunk in ENSEMBLES:
        network = f"{count} of {'-'.join(map(str, sizes))} × {rows}"
        with torch.device(device):
            made = _ensembles_and_steps(count, sizes, rows, chunk)
        yield from memory_records(network, count, sizes, rows, *made, device)


def memory_records(network, count, sizes, rows, variants, batch, device="cpu"):
    for name, (parameters, step) in variants.items():
        parameters = list(parameters)
        held = sum(t.nbytes for t in (*parameters, *batch))
        size = parameters[0].element_size()
        activations, largest_delta = (size * count * rows * of(sizes[1:]) for of in (sum, max))
        bound = held + activations + largest_delta
        steps = allocations(lambda ps=parameters: _without_gradients(ps), step, device)
        yield {
            "network": network,
            "variant": name,
            "peak_kib": (held + peak(steps)) / 1024,
            "bound_kib": bound / 1024,
            "ratio": (held + peak(steps)) / bound,
            "largest_kib": max(steps) / 1024,
            "weight_kib": max(p.nbytes for p in parameters) / 1024,
        }


def _without_gradients(parameters):
    """So that a gradient which a step stores in `.grad` counts as memory of the step."""
    for p in parameters:
        p.grad = None
