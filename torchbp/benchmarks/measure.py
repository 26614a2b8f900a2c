"""How a time, a peak of memory, and what autograd saves are measured. It knows nothing of what is measured."""

import contextlib
import itertools
import os
import statistics
import sys
import time

import torch

SLICE = 1e-2  # seconds that one timing lasts at least, so that the clock's grain does not show
WARM_UP = 10


def interleaved(variants, seconds, warm_up=WARM_UP, steps=None, wait=None):
    """Microseconds a step, and the ratio to the first variant, of each.

    The variants take turns, in an order that rotates, for about `seconds` in all: whatever else the machine does, it
    does to all of them. The time is the median over the turns; the ratio is the median of each turn's own ratio.

    Args:
        variants: name: function without arguments; the first one is the peer.
        seconds: how long the timing lasts, warm-up apart.
        warm_up: steps of each before that, in two calls or more where a call makes several.
        steps: name: how many steps a call makes, where that is not one; it may be a part of a step.
        wait: called at both ends of a turn, for what runs asynchronously; waits for torch's accelerator by default.

    Returns:
        dict: name: {"us": float, "ratio": float}.
    """
    names, wait = list(variants), wait or synchronize
    steps = dict.fromkeys(names, 1) | (steps or {})
    calls = {}
    for name, function in variants.items():
        for _ in range(warm_up if steps[name] <= 1 else max(2, round(warm_up / steps[name]))):
            function()
        calls[name] = max(1, round(SLICE / timed(function, 1, wait)))
    turns = {name: [] for name in names}
    until = time.perf_counter() + seconds
    for turn in itertools.count():
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            turns[name].append(timed(variants[name], calls[name], wait) / steps[name])
        if time.perf_counter() > until:
            break
    first = turns[names[0]]
    return {
        name: {
            "us": statistics.median(times) * 1e6,
            "ratio": statistics.median(a / b for a, b in zip(times, first, strict=True)),
        }
        for name, times in turns.items()
    }


def timed(function, calls, wait):
    """Seconds a call."""
    wait()
    start = time.perf_counter()
    for _ in range(calls):
        function()
    wait()
    return (time.perf_counter() - start) / calls


def synchronize():
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def saved_bytes(function, not_counted=()):
    """Bytes that autograd keeps between forward and backward, the storages of `not_counted` apart."""
    own = {t.untyped_storage().data_ptr() for t in not_counted}
    saved = {}

    def keep(t):
        storage = t.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        result = function()
    del result
    return sum(size for pointer, size in saved.items() if pointer not in own)


def peak_bytes(prepare, function):
    """The most bytes of tensors alive at once during `function()`, over those after `prepare()`; on the CPU."""
    return peak(allocations(prepare, function))


def peak(allocations):
    return max(itertools.accumulate(allocations), default=0)


def allocations(prepare, function):
    """The bytes that torch allocates (over 0) and frees (under 0) during `function()`, one after the other."""
    cpu = torch.profiler.ProfilerActivity.CPU
    with silence():
        for _ in range(2):  # the first profile of a process may miss what happens while it starts
            prepare()
            with torch.profiler.profile(activities=[cpu], profile_memory=True, acc_events=True) as profile:
                function()
    return [event.nbytes() for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]


@contextlib.contextmanager
def silence():
    """Nothing on stderr, not even from C++: the profiler announces itself there."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
