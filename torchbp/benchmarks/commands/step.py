"""`torchbp bench step`: a step of gradient descent, forward, backward and update: ours beside torch, numpy and JAX."""

import itertools
import warnings
from functools import partial

import torch
from threadpoolctl import threadpool_limits

from torchbp.benchmarks.commands.layers import GRID
from torchbp.benchmarks.helpers.jax import jax_process
from torchbp.benchmarks.helpers.step_variants import (
    PEER,
    Several,
    adamw_steps,
    captured_steps,
    classes_steps,
    compiled_steps,
    eager_steps,
    numpy_step,
)
from torchbp.benchmarks.helpers.timing import TIMED, interleaved

CLASSES = 10
SGD, ADAMW, CROSS_ENTROPY = "SGD", "AdamW", "cross-entropy"
SUMMARIES = {
    task: (f"forward, backward and update, ratio of times to torch.nn with {peer}", "ratio")
    for task, peer in {
        SGD: "torch.optim.SGD(fused=True)",
        ADAMW: "torch.optim.AdamW(fused=True)",
        CROSS_ENTROPY: f"CrossEntropyLoss of {CLASSES} classes and torch.optim.SGD(fused=True)",
    }.items()
}
COLUMNS = {"us": ("µs", "{:.1f}"), "ratio": ("ratio", "{:.2f}")}


def tasks_of():
    """Of each task: what makes its eager variants, compiled ones and those of JAX, and its networks."""
    of_classes = [((*sizes[:-1], CLASSES), rows) for sizes, rows in GRID]
    return {
        SGD: ((eager_steps,), compiled_steps, "steps", GRID),
        ADAMW: ((adamw_steps,), partial(adamw_steps, compiled=True), "AdamW", GRID),
        CROSS_ENTROPY: ((classes_steps,), partial(classes_steps, compiled=True), "classes", of_classes),
    }


def measure(threads, seconds, with_compile, device="cpu"):
    """A record of every number of threads, task, network and variant: their names, and the COLUMNS; or a note.

    What is compiled comes last, beside the peer once more: once the compiler was used in a process, eager modules are
    slower there. JAX is in a process of its own, beside the peer too.

    Args:
        threads: numbers of threads, one run each.
        seconds: how long each network is timed, all variants together.
        with_compile: whether torch.compile and what needs it take part. They need a C++ compiler.
        device: "cpu" or "cuda": numpy takes part on the first, CUDA graphs on the second.
    """
    on_cuda, tasks = device == "cuda", tasks_of()
    more = {SGD: (captured_steps if on_cuda else numpy_step,)}
    for task, (eager, _, _, grid) in tasks.items():
        for make in (*eager, *more.get(task, ())):
            for number, of in itertools.product(threads, grid):
                found = _timed_steps(make, of, number, seconds, device)
                yield from _step_records(number, task, *of, found, make in eager)
    labels = {(task, *of): (kind, *of) for task, (_, _, kind, grid) in tasks.items() for of in grid}
    yield from jax_process.records(
        labels, threads, seconds, device, lambda n, label, found: _step_records(n, *label, found, False)
    )
    for task, (_, make, _, grid) in tasks.items() if with_compile else ():
        if on_cuda and task != SGD:  # `compile` is of the CPU
            continue
        for number, of in itertools.product(threads, grid):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the compiler's own parts
                found = _timed_steps(make, of, number, seconds, device)
                yield from _step_records(number, task, *of, found, False)


def _timed_steps(make, of, threads, seconds, device):
    """The times of the variants that `make(*of)` makes on the device."""
    torch.set_num_threads(threads)
    with threadpool_limits(threads):
        with torch.device(device):
            variants = make(*of)
        steps = {name: variant.steps for name, variant in variants.items() if isinstance(variant, Several)}
        return interleaved(variants, seconds, steps=steps, timed=TIMED[device])


def _step_records(threads, task, sizes, rows, found, with_peer):
    network = f"{'-'.join(map(str, sizes))} × {rows}"
    for name, columns in found.items():
        if with_peer or name != PEER:
            yield {"threads": threads, "task": task, "network": network, "variant": name, **columns}
