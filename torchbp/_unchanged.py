"""A pass through a model that is no step of training leaves no trace in it."""

import contextlib

import torch


@contextlib.contextmanager
def unchanged(buffers, devices):
    """A context after which buffers, such as running statistics, and the random stream are as they were before it.

    Args:
        buffers: a function that lists the tensors.
        devices: of the random streams; that of the CPU is always among them.
    """
    before = [buffer.clone() for buffer in buffers()]
    with torch.random.fork_rng([device for device in devices if device.type == "cuda"]):
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, value in zip(buffers(), before, strict=True):
                    buffer.copy_(value)
