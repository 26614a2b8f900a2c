"""How a peak of memory, and what autograd saves, are measured. It knows nothing of what is measured."""

import contextlib
import itertools
import os
import sys

import torch
from torch.autograd import DeviceType

KINDS = {"cpu": DeviceType.CPU, "cuda": DeviceType.CUDA}


def saved_bytes(function, not_counted=()):
    """Bytes that autograd keeps between forward and backward, without the storages of `not_counted`."""
    excluded = {t.untyped_storage().data_ptr() for t in not_counted}
    saved = {}

    def keep(t):
        storage = t.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        result = function()
    del result
    return sum(size for pointer, size in saved.items() if pointer not in excluded)


def peak_bytes(prepare, function, device="cpu"):
    """The most bytes of tensors alive at once during `function()`, over those after `prepare()`."""
    return peak(allocations(prepare, function, device))


def peak(allocations):
    return max(itertools.accumulate(allocations), default=0)


def allocations(prepare, function, device="cpu"):
    """The bytes that torch allocates (over 0) and frees (under 0) during `function()`, one after the other.

    On a GPU they are what its allocator gives, multiples of 512 bytes.
    """
    with _silence():
        for _ in range(2):  # the first profile of a process may miss what happens while it starts
            prepare()
            # not torch.profiler's, which makes objects of all events: that takes ten times as long as the function
            with torch.autograd.profiler.profile(use_kineto=True, profile_memory=True) as profile:
                function()
    events, kind = profile.kineto_results.events(), KINDS[device]
    return [event.nbytes() for event in events if event.name() == "[memory]" and event.device_type() == kind]


@contextlib.contextmanager
def _silence():
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
