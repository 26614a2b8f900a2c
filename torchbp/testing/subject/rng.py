"""The random state: seeded before each call, so that a dropout draws the same mask, and put back at the end."""

import random
import sys
from contextlib import contextmanager

import torch

from torchbp.testing.subject.global_settings import positions, put_back


class Randomness:
    """Seeds torch's, Python's and NumPy's generators, as far as the function draws from them."""

    def __init__(self, seed):
        self.number = seed
        self.draws = {"torch": True, "python": True, "numpy": True}

    def seed(self):
        if self.draws["torch"]:
            torch.default_generator.manual_seed(self.number)
            if torch.cuda.is_available() and torch.cuda.is_initialized():
                torch.cuda.manual_seed_all(self.number)
        if self.draws["python"]:
            random.seed(self.number)
        if self.draws["numpy"] and "numpy" in sys.modules:
            sys.modules["numpy"].random.seed(self.number % 2**32)

    @contextmanager
    def probing(self):
        """Around one call: which generators does it draw from?"""
        known, self.draws = self.draws, dict.fromkeys(self.draws, True)
        self.seed()
        before = states()
        try:
            yield
        except BaseException:
            self.draws = known
            raise
        after = states()
        self.draws = {name: not same(before[name], after[name]) for name in before}
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            self.draws["torch"] = True

    @property
    def is_used(self):
        return any(self.draws.values())


@contextmanager
def preserved():
    """The generators' states, and torch's switches, are afterwards what they were before."""
    switches = positions()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    before = states()
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            put_back(switches)
            random.setstate(before["python"])
            if before["numpy"] is not None:
                sys.modules["numpy"].random.set_state(before["numpy"])


def states():
    numpy = sys.modules["numpy"].random.get_state() if "numpy" in sys.modules else None
    return {"torch": torch.get_rng_state(), "python": random.getstate(), "numpy": numpy}


def same(a, b):
    """Whether two states are: of torch, of Python, or of NumPy (a tuple with an array)."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool((a == b).all()) if hasattr(a, "shape") and hasattr(b, "shape") else a is b or a == b
