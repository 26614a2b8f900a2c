"""The random generators: seeded before each call, so that a dropout draws the same mask, and restored at the end."""

import random
import sys
from contextlib import contextmanager

import torch

from torchbp.testing.subject.global_settings import current_settings, restore_settings


class Randomness:
    """Seeds those of torch's, Python's and NumPy's generators from which the function draws."""

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
        """Around one call: find out which generators it draws from."""
        before_call, self.draws = self.draws, dict.fromkeys(self.draws, True)
        self.seed()
        before = random_states()
        try:
            yield
        except BaseException:
            self.draws = before_call
            raise
        after = random_states()
        self.draws = {name: not same_state(before[name], after[name]) for name in before}
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            self.draws["torch"] = True

    @property
    def is_used(self):
        return any(self.draws.values())


@contextmanager
def preserved():
    """Around an audit: restore the states of the generators, and torch's global settings."""
    settings = current_settings()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    before = random_states()
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            restore_settings(settings)
            random.setstate(before["python"])
            if before["numpy"] is not None:
                sys.modules["numpy"].random.set_state(before["numpy"])


def random_states():
    numpy = sys.modules["numpy"].random.get_state() if "numpy" in sys.modules else None
    return {"torch": torch.get_rng_state(), "python": random.getstate(), "numpy": numpy}


def same_state(a, b):
    """Whether two states are equal: of torch, of Python, or of NumPy (a tuple with an array)."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(same_state(x, y) for x, y in zip(a, b, strict=True))
    return bool((a == b).all()) if hasattr(a, "shape") and hasattr(b, "shape") else a is b or a == b
