"""Gradients that are nan or infinite where the output is finite."""

import torch
from torch.autograd import Function
from torch.nn.functional import hardtanh, normalize

from tests.testing.corpus.entry import Defect, draw, gradients


def norm(x):
    return torch.linalg.vector_norm(x, dim=-1)


def norm_by_hand(x):
    return x.square().sum(-1).sqrt()


class Softplus(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.nn.functional.softplus(x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * torch.sigmoid(x)


class SoftplusByExp(Softplus):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * torch.exp(x) / (1 + torch.exp(x))


class Sigmoid(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.sigmoid(x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        y = torch.sigmoid(x)
        return grad * y * (1 - y)


class SigmoidByExp(Sigmoid):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * torch.exp(-x) / (1 + torch.exp(-x)).square()


def log_tail(x):
    """log from 1 on, its tangent before."""
    return torch.where(x >= 1, torch.log(x.clamp(min=1)), x - 1)


def log_tail_unguarded(x):
    return torch.where(x >= 1, torch.log(x), x - 1)


EPS = 1e-3


class Normalise(Function):
    """Rows of norm 1; shorter ones than EPS are divided by EPS."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x / torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp(min=EPS)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        size = norm.clamp(min=EPS)
        unit = x / size
        return (grad - unit * (grad * unit).sum(-1, keepdim=True) * (norm > EPS)) / size


class NormaliseUnclamped(Normalise):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        size = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        unit = x / size
        return (grad - unit * (grad * unit).sum(-1, keepdim=True)) / size


def log_softmax(x):
    return torch.log_softmax(x, -1)


def log_of_softmax(x):
    return torch.log(torch.softmax(x, -1))


class Clip(Function):
    """Cut to [-1, 1]."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(-1, 1)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * ((x > -1) & (x < 1))


class ClipOneSided(Clip):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * (x < 1)


def at(reference, *values):
    def shows(subject):
        x = torch.tensor(values, dtype=torch.float64, requires_grad=True)
        return gradients(subject, (x,)), gradients(reference, (x,))

    return shows


def entry(name, what, twin, shows, checks=("extremes",), source="", low=-1.0, high=1.0, **options):
    return Defect(
        name,
        what,
        lambda: (draw(2, 3, low=low, high=high),),
        options,
        twin=twin,
        checks=checks,
        kind=8,
        shows=shows,
        source=source,
    )


DEFECTS = [
    # 0·∞ at the zero vector
    entry(
        "norm_at_zero",
        norm_by_hand,
        norm,
        at(norm, 0.0, 0.0, 0.0),
        source="pytorch/pytorch#2421: the gradient of the norm of a zero vector was nan",
    ),
    # ∞/∞ for large x, where the output is x
    entry(
        "softplus_by_exp",
        SoftplusByExp,
        Softplus,
        at(torch.nn.functional.softplus, 0.5, 1e4),
        source="tenstorrent/tt-metal#56397: softplus' backward by exp was wrong once exp overflowed",
    ),
    # ∞/∞ for x far below 0
    entry(
        "sigmoid_by_exp",
        SigmoidByExp,
        Sigmoid,
        at(torch.sigmoid, 0.5, -1e4),
        source="jeshraghian/snntorch#433: the surrogate's backward was nan once exp overflowed",
    ),
    # the branch that is not chosen gives nan
    entry(
        "where_unguarded",
        log_tail_unguarded,
        log_tail,
        at(log_tail, 2.0, 0.0),
        source="pytorch/pytorch#187297: nan from the inactive branch of torch.where",
        low=0.2,
        high=3.0,
    ),
    # the forward guards against the zero vector, the backward does not
    entry(
        "normalise_zero_vector",
        NormaliseUnclamped,
        Normalise,
        at(lambda x: normalize(x, dim=-1, eps=EPS), 0.0, 0.0),
        source="pytorch/pytorch#3264: normalize gave nan gradients at entries that are 0",
    ),
    # softmax underflows before its logarithm is taken
    entry(
        "log_of_softmax",
        log_of_softmax,
        log_softmax,
        at(log_softmax, 1e3, -1e3, 0.0),
        source="FluxML/NNlib.jl#68: the gradient of logsoftmax through softmax was nan for large logits",
    ),
    # the gradient passes below the lower bound, where no input of the check lies
    entry(
        "clip_one_sided",
        ClipOneSided,
        Clip,
        at(hardtanh, 0.5, -3.0),
        ("reference", "values", "extremes"),
        reference=hardtanh,
    ),
]
