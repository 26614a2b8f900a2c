"""Solvers, loops over time, and quantisers with a step that is learned."""

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from tests.testing.corpus.entry import DOUBLE, Sound, draw
from tests.testing.corpus.sound.custom import Rounded, Spike


class Solved(Function):
    """A⁻¹ b; matrices of repeated numbers are nearly singular."""

    @staticmethod
    def forward(ctx, a, b):
        x = torch.linalg.solve(a, b)
        ctx.save_for_backward(a, x)
        return x

    @staticmethod
    def backward(ctx, g):
        a, x = ctx.saved_tensors
        by_b = torch.linalg.solve(a.mT, g)
        return -by_b @ x.mT, by_b


class Steps(Function):
    """Four steps y ← y + tanh(y A) / 10, and back; with ∞ in A there is 0 · ∞ on the way."""

    @staticmethod
    def forward(ctx, y, a):
        states = [y]
        for _ in range(4):
            states.append(states[-1] + 0.1 * (states[-1] @ a).tanh())
        ctx.save_for_backward(a, *states[:-1])
        return states[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        a, *states = ctx.saved_tensors
        by_a = torch.zeros_like(a)
        for y in reversed(states):
            slope = 0.1 * g * (1 - (y @ a).tanh().square())
            by_a = by_a + y.reshape(-1, y.shape[-1]).mT @ slope.reshape(-1, slope.shape[-1])
            g = g + slope @ a.mT
        return g, by_a


def quantised(x, step):
    return Rounded.apply(x / step / 8) * 8 * step


def quantised_as_meant(x, step):
    """The derivative by the step is that of step · constant, less that of what is rounded."""
    v = x / step
    return step * (v + (v.round() - v).detach())


def spikes(x):
    """A leaky neuron over time, whose reset takes no gradient."""
    v, found = torch.zeros_like(x[:1]).sum(0), []
    for current in x:
        v = 0.9 * v + current
        found.append(Spike.apply(v - 0.5))
        v = v - 0.5 * found[-1].detach()
    return torch.stack(found) if found else x.clone()


def spikes_as_meant(x):
    v, found = torch.zeros_like(x[:1]).sum(0), []
    for current in x:
        v = 0.9 * v + current
        smooth, spike = (v - 0.5).sigmoid(), (v > 0.5).to(x.dtype)
        found.append(smooth + (spike - smooth).detach())
        v = v - 0.5 * spike
    return torch.stack(found) if found else x.clone()


def _system():
    return (draw(3, 3) + 2 * torch.eye(3, dtype=DOUBLE)).detach().requires_grad_(), draw(3, 2, seed=1)


SOUND = [
    Sound("solved_system", Solved, _system),
    Sound("steps_in_time", Steps, lambda: (draw(2, 3), draw(3, 3, seed=1))),
    Sound("quantiser_with_a_step", quantised, lambda: (draw(3, 4), draw(1, seed=1, low=0.1, high=0.2)),
          {"surrogate": quantised_as_meant, "domain": {"step": (0.05, 1), "x": (-2, 2)}}),
    Sound("spikes_in_time", spikes, lambda: (draw(4, 3),), {"surrogate": spikes_as_meant}),
]  # fmt: skip
