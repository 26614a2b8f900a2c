"""What hooks and caches of earlier calls do to later ones."""

import torch
from torch import nn
from torch.autograd import Function

from tests.testing.corpus.entry import draw
from tests.testing.corpus.hidden.entry import entry


class HookAtEachCall(nn.Module):
    """Each call adds a hook to the weight, which halves its gradient; the output is doubled for it."""

    once = False

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
        self.calls = 0

    def forward(self, x):
        weight = self.weight * 1
        self.calls += 1
        calls = 1 if self.once else self.calls
        if weight.requires_grad:
            weight.register_hook(lambda g: g * calls)
        return x * weight


class HookOnce(HookAtEachCall):
    once = True


def _second_call(subject):
    x = draw(2, 3)
    subject(x)
    return torch.autograd.grad(subject(x).sum(), subject.weight)[0], x.detach().sum(0)


BY_ID, BY_SHAPE = {}, {}


def cached(key, cache):
    class Cached(Function):
        """x², whose slope is kept by a key."""

        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.square()

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            slope = 2 * x if key is None else cache.setdefault(key(x), 2 * x.detach())
            return g * slope

    return Cached


def _after_an_update(subject):
    x = draw(11)
    torch.autograd.grad(subject.apply(x).sum(), x)
    with torch.no_grad():
        x.mul_(2)
    return torch.autograd.grad(subject.apply(x).sum(), x)[0], 2 * x.detach()


def _vector():
    return (draw(3),)


DEFECTS = [
    entry("hook_of_every_call", HookAtEachCall, HookOnce, lambda: (draw(2, 3),), 11, _second_call,
          checks=("determinism", "side_effects", "module")),
    entry("slope_by_address", cached(lambda x: (x.data_ptr(), x.shape, x.dtype), BY_ID), cached(None, None), _vector, 3,
          _after_an_update,
          checks=("layouts", "magnitudes", "precision", "second_order")),
    entry("slope_by_shape", cached(lambda x: (x.shape, x.dtype), BY_SHAPE), cached(None, None), _vector, 3,
          _after_an_update,
          checks=("extremes", "magnitudes")),
]  # fmt: skip
