"""What a second forward gives: of a checkpoint, of a mask, or on another device."""

import numpy as np
import torch
from torch import nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from tests.testing.corpus.entry import draw, raised
from tests.testing.corpus.transforms.demonstrations import entry, matrix


class Tanh(nn.Module):
    def forward(self, x):
        return torch.tanh(x)


class TanhMeasuresEveryOther(Tanh):
    """Tells its mean square at every second call."""

    calls = 0

    def tell(self, level):
        pass

    def forward(self, x):
        y = torch.tanh(x)
        self.calls += 1
        if self.calls % 2:
            self.tell((y * y).mean())
        return y


class DropRecomputed(Function):
    """Dropout of tanh that is computed anew in the backward, to save memory."""

    @staticmethod
    def forward(ctx, x, training):
        ctx.training = training
        ctx.save_for_backward(x, torch.random.get_rng_state())
        return torch.dropout(torch.tanh(x), 0.5, training)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, state = ctx.saved_tensors
        with torch.enable_grad(), torch.random.fork_rng(devices=()):
            torch.random.set_rng_state(state)
            x = x.detach().requires_grad_()
            y = torch.dropout(torch.tanh(x), 0.5, ctx.training)
        return torch.autograd.grad(y, x, grad)[0], None


class DropRecomputedAnotherMask(DropRecomputed):
    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, _ = ctx.saved_tensors
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            y = torch.dropout(torch.tanh(x), 0.5, ctx.training)
        return torch.autograd.grad(y, x, grad)[0], None


class Recomputed(nn.Module):
    drop = DropRecomputed

    def forward(self, x):
        return self.drop.apply(x, self.training)


class RecomputedAnotherMask(Recomputed):
    drop = DropRecomputedAnotherMask


class Drop(nn.Module):
    def forward(self, x):
        return torch.dropout(x, 0.5, self.training)


class DropByNumpy(nn.Module):
    def forward(self, x):
        if not self.training:
            return x
        mask = torch.from_numpy(np.random.rand(*x.shape) < 0.5).to(x)  # noqa: NPY002
        return 2 * x * mask


def position(x):
    return x * torch.arange(1, x.shape[-1] + 1, dtype=x.dtype, device=x.device)


def position_on_cpu(x):
    return x * torch.arange(1, x.shape[-1] + 1, dtype=x.dtype, device="cpu")


def checkpointed(subject):
    x = draw(2, 3)
    return raised(lambda: checkpoint(subject, x, use_reentrant=False).sum().backward()), "nothing"


def seeded_twice(subject):
    subject.train()
    x = draw(20, grad=False)
    results = []
    for _ in range(2):
        torch.manual_seed(3)
        results.append(subject(x))
    return tuple(results)


def same_mask(subject):
    """Where the output is 0, and where the gradient is."""
    subject.train()
    x = draw(40)
    y = subject(x)
    return torch.autograd.grad(y.sum(), x)[0] == 0, y == 0


def on_meta(subject):
    return raised(lambda: subject(torch.empty(2, 3, device="meta"))), "nothing"


DEFECTS = [
    # every second call saves one tensor more: the recomputation does not match
    entry(
        "saves_more_every_other_call",
        TanhMeasuresEveryOther,
        Tanh,
        matrix,
        checkpointed,
        "checkpointing",
        source="pytorch/pytorch#144035: forward and recomputation under a checkpoint saved other numbers of tensors",
    ),
    # the mask is numpy's: neither seeded nor restored with torch's
    entry(
        "mask_by_numpy",
        DropByNumpy,
        Drop,
        matrix,
        seeded_twice,
        "determinism",
        "checkpointing",
        "module",
        source="harvard-edge/cs249r_book#1869: dropout drew from numpy's global state instead of the seeded one",
        kind=12,
        train=False,
    ),
    # the backward computes the forward anew, with another mask
    entry(
        "recomputes_another_mask",
        RecomputedAnotherMask,
        Recomputed,
        matrix,
        same_mask,
        "values",
        "determinism",
        "module",
        "side_effects",
        source="openai/guided-diffusion#167: the recomputation drew another dropout mask than the forward",
        kind=12,
        train=False,
    ),
    # a constant is made on the CPU, wherever the input is
    entry(
        "constant_on_cpu",
        position_on_cpu,
        position,
        matrix,
        on_meta,
        "meta",
        source="ourownstory/neural_prophet#1023: tensors made in the forward stayed on the CPU",
        require=("meta",),
    ),
]
