"""How a time is measured. It knows nothing of what is measured."""

import itertools
import statistics
import time

import torch

SLICE = 1e-2  # seconds that one timing lasts at least, so that the resolution of the clock does not matter
WARM_UP = 10


def interleaved(variants, seconds, warm_up=WARM_UP, steps=None, timed=None):
    """Microseconds a step, and the ratio to the first variant, of each.

    The variants take turns, in an order that rotates, for about `seconds` in all: whatever else the machine does, it
    does to all of them. The time is the median over the turns; the ratio is the median of the turns' ratios.

    Args:
        variants: name: function without arguments; the first one is the peer.
        seconds: how long the timing lasts, warm-up apart.
        warm_up: steps of each before that, in two calls or more where a call makes several.
        steps: name: how many steps a call makes, where that is not one; it may be a part of a step.
        timed: of a function and a number of calls to the seconds of a call; `by_clock` is the default.

    Returns:
        dict: name: {"us": float, "ratio": float}.
    """
    names, timed = list(variants), timed or by_clock
    steps = dict.fromkeys(names, 1) | (steps or {})
    calls = {}
    for name, function in variants.items():
        for _ in range(warm_up if steps[name] <= 1 else max(2, round(warm_up / steps[name]))):
            function()
        calls[name] = max(1, round(SLICE / timed(function, 1)))
    turns = {name: [] for name in names}
    until = time.perf_counter() + seconds
    for turn in itertools.count():
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            turns[name].append(timed(variants[name], calls[name]) / steps[name])
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


def by_clock(function, calls, wait=lambda: None):
    """Seconds a call. `wait` is called at both ends, for work that goes on after a call has returned."""
    wait()
    start = time.perf_counter()
    for _ in range(calls):
        function()
    wait()
    return (time.perf_counter() - start) / calls


def _by_events(function, calls):
    """Seconds a call, between two events on the GPU, which is idle before the first."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    for _ in range(calls):
        function()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3 / calls


TIMED = {"cpu": by_clock, "cuda": _by_events}
