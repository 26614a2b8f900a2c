"""What other dtypes and threads show, and what calls leave behind: kinds 4 to 9 and 11."""

import functools
import threading

import torch
from torch import nn
from torch.autograd import Function

from tests.testing.corpus.entry import draw, gradients
from tests.testing.corpus.hidden.demonstrations import pair
from tests.testing.corpus.hidden.entry import entry
from tests.testing.corpus.unseen.calls import SquareTimes, SquareTimesHalved


def _through_half(g, x):
    dtype = torch.float16 if x.dtype == torch.bfloat16 else x.dtype
    x, g = x.to(dtype), g.to(dtype)
    return (g * x * x * 3).to(torch.bfloat16) if dtype == torch.float16 else g * x * x * 3


ThroughHalf, ThroughHalfTwin = pair(
    "ThroughHalf", lambda x: (x * x * x, (x,)), _through_half, lambda g, x: g * x * x * 3
)


def _bfloat16_for_single(g, x):
    dtype = torch.bfloat16 if x.dtype == torch.float32 else x.dtype
    return g.expand_as(x), (g.to(dtype) * x.to(dtype)).sum().to(x.dtype).view(1)


SummedInHalf, SummedInHalfTwin = pair(
    "SummedInHalf",  # in single precision the gradient of a weight is summed in half of it
    lambda x, weight: (x * weight, (x, weight)),
    lambda g, x, weight: (g * weight, _bfloat16_for_single(g, x)[1]),
    lambda g, x, weight: (g * weight, (g * x).sum().view(1)),
)


def _single_sum(subject):
    x, weight = draw(300, dtype=torch.float32, low=0), draw(1, seed=1, dtype=torch.float32)
    seen, right = gradients(subject, (x, weight))[1], x.detach().double().sum().view(1)
    return bool((seen.double() - right).abs() < 1e-4 * right.abs()), True


def _large_bfloat16(subject):
    x = torch.full((2,), 300.0, dtype=torch.bfloat16, requires_grad=True)
    return bool(gradients(subject, (x,))[0].isfinite().all()), True


WORKSPACE = {}


class Sine(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0].cos()


class SineInWorkspace(Sine):
    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        if torch.is_grad_enabled() or torch._C._are_functorch_transforms_active():
            return g * x.cos()
        memory = WORKSPACE.setdefault((x.shape, x.dtype), torch.empty_like(x))
        return torch.mul(g, x.detach().cos(), out=memory)[...]


def _two_gradients(subject):
    x, y = draw(3), draw(3, seed=1)
    first = torch.autograd.grad(subject.apply(x).sum(), x)[0]
    torch.autograd.grad(subject.apply(y).sum(), y)
    return first, x.detach().cos()


SCALES = {}


class ScaleOfTheThread(Function):
    """3 sin x."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        SCALES[threading.get_ident()] = 3.0
        return 3 * x.sin()

    @staticmethod
    def backward(ctx, g):
        return SCALES.get(threading.get_ident(), 1.0) * g * ctx.saved_tensors[0].cos()


class ScaleOfTheThreadTwin(ScaleOfTheThread):
    @staticmethod
    def backward(ctx, g):
        return 3 * g * ctx.saved_tensors[0].cos()


def _elsewhere(subject):
    x, found = draw(3), []
    y = subject.apply(x).sum()
    thread = threading.Thread(target=lambda: found.append(torch.autograd.grad(y, x)[0]))
    thread.start()
    thread.join()
    return found[0], 3 * x.detach().cos()


WEIGHT = draw(3, seed=43)


def partial(function):
    return functools.partial(lambda x, weight: function.apply(x, weight), weight=WEIGHT)


def _of_the_weight(subject):
    x = draw(2, 3)
    return torch.autograd.grad(subject(x).sum(), WEIGHT)[0], (2 * x.sum(0) * WEIGHT).detach()


class _LastOf(Function):
    @staticmethod
    def forward(ctx, x, module):
        module.last = x.detach()
        ctx.save_for_backward(x)
        ctx.module = module
        return x.square()

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 2 * g * (ctx.module.last if ctx.module.remembers and ctx.module.last.shape == x.shape else x), None


class LastInput(nn.Module):
    """The backward reads the input of the last forward."""

    remembers = True

    def __init__(self):
        super().__init__()
        self.last = None

    def forward(self, x):
        return _LastOf.apply(x, self)


class LastInputTwin(LastInput):
    remembers = False


def _two_calls(subject):
    x, y = draw(3), draw(3, seed=1)
    output = subject(x)
    subject(y)
    return torch.autograd.grad(output.sum(), x)[0], 2 * x.detach()


class OutputOnContext(Function):
    """exp, whose output is kept where nobody looks after it."""

    @staticmethod
    def forward(ctx, x):
        y = x.exp()
        ctx.y = y.detach()
        return y

    @staticmethod
    def backward(ctx, g):
        return g * ctx.y


class OutputOnContextTwin(OutputOnContext):
    @staticmethod
    def forward(ctx, x):
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0]


def _after_a_write(subject):
    x = draw(3)
    y = subject.apply(x)
    y.detach().zero_()
    try:
        return torch.autograd.grad(y.sum(), x)[0].abs().sum().item() > 0, "an error"
    except RuntimeError:
        return "an error", "an error"


def _vector():
    return (draw(3),)


DEFECTS = [
    entry("bfloat16_through_float16", ThroughHalf, ThroughHalfTwin, _vector, 4, _large_bfloat16,
          checks=("precision", "extremes", "dtypes")),
    entry("single_precision_summed_in_half", SummedInHalf, SummedInHalfTwin, lambda: (draw(4), draw(1, seed=1)), 4,
          _single_sum),
    entry("gradients_in_one_workspace", SineInWorkspace, Sine, _vector, 6, _two_gradients),
    entry("scale_by_the_thread", ScaleOfTheThread, ScaleOfTheThreadTwin, _vector, 7, _elsewhere),
    entry("leaf_in_a_partial", partial(SquareTimesHalved), partial(SquareTimes), lambda: (draw(2, 3),), 9,
          _of_the_weight),
    entry("input_of_the_last_call", LastInput, LastInputTwin, _vector, 11, _two_calls),
    entry("output_on_the_context", OutputOnContext, OutputOnContextTwin, _vector, 9, _after_a_write,
          checks=("memory",)),
]  # fmt: skip
