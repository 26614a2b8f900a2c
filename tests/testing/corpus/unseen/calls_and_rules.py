"""What other dtypes, threads, calls, rules and subsets show: kinds 4 to 9 and the rules for transforms."""

import functools
import threading

import torch
from torch import nn
from torch.autograd import Function

from tests.testing.corpus.entry import draw, gradients, second
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


class Product(Function):
    @staticmethod
    def forward(x, y):
        return x * y

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, g):
        x, y = ctx.saved_tensors
        return (None, None) if g is None else (g * y, g * x)

    @staticmethod
    def jvp(ctx, dx, dy):
        x, y = ctx.saved_tensors
        return sum(tangent * other for tangent, other in ((dx, y), (dy, x)) if tangent is not None)

    @staticmethod
    def vmap(info, in_dims, x, y):
        x = x.movedim(in_dims[0], 0) if in_dims[0] is not None else x
        y = y.movedim(in_dims[1], 0) if in_dims[1] is not None else y
        return Product.apply(x, y), 0


class ProductOfTangents(Product):
    @staticmethod
    def jvp(ctx, dx, dy):
        x, y = ctx.saved_tensors
        if dx is None or dy is None:
            return dx * y if dy is None else dy * y
        return dx * y + dy * x


class ProductOfFirstBatch(Product):
    @staticmethod
    def vmap(info, in_dims, x, y):
        x = x.movedim(in_dims[0], 0) if in_dims[0] is not None else x
        return Product.apply(x, y), 0


def _tangent_of_second(subject):
    x, y, t = (draw(3, seed=k, grad=False) for k in range(3))
    return torch.func.jvp(lambda y: subject.apply(x, y), (y,), (t,))[1], x * t


def _batch_last(subject):
    x, y = draw(3, 3, grad=False), draw(3, 3, seed=1, grad=False)
    return torch.func.vmap(subject.apply, in_dims=(0, 1))(x, y), x * y.mT


class CubeSlope(Function):
    """g · 3x²."""

    @staticmethod
    def forward(ctx, g, x):
        ctx.save_for_backward(g, x)
        return 3 * g * x * x

    @staticmethod
    def backward(ctx, gg):
        g, x = ctx.saved_tensors
        return 3 * gg * x * x, 6 * gg * g * x


class CubeSlopeHalved(CubeSlope):
    @staticmethod
    def backward(ctx, gg):
        g, x = ctx.saved_tensors
        return 3 * gg * x * x, 3 * gg * g * x


def cube(slope):
    class Cube(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x * x

        @staticmethod
        def backward(ctx, g):
            return slope.apply(g, ctx.saved_tensors[0])

    return Cube


def _curvature(subject):
    inputs = (draw(3),)
    return second(subject, inputs), second(lambda x: x**3, inputs)


class Wanted(Function):
    """x y z; the gradients are listed as they are wanted."""

    @staticmethod
    def forward(ctx, x, y, z):
        ctx.save_for_backward(x, y, z)
        return x * y * z

    @staticmethod
    def backward(ctx, g):
        x, y, z = ctx.saved_tensors
        found = [slope for slope, wanted in zip((g * y * z, g * x * z, g * x * y), ctx.needs_input_grad, strict=True)
                 if wanted]  # fmt: skip
        return (*found, *[None] * (3 - len(found)))


class WantedTwin(Wanted):
    @staticmethod
    def backward(ctx, g):
        x, y, z = ctx.saved_tensors
        return g * y * z, g * x * z, g * x * y


def _without_the_first(subject):
    x, y, z = draw(3, grad=False), draw(3, seed=1), draw(3, seed=2)
    return gradients(subject, (x, y, z), wanted=[y, z]), (x * z.detach(), x * y.detach())


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


def _product_inputs():
    return draw(3), draw(3, seed=1)


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
    entry("tangent_of_one_factor", ProductOfTangents, Product, _product_inputs, 2, _tangent_of_second,
          checks=("jvp",)),
    entry("batch_of_the_second_factor", ProductOfFirstBatch, Product, lambda: (draw(3, 3), draw(3, 3, seed=1)), 2,
          _batch_last, checks=("vmap",)),
    entry("second_slope_halved", cube(CubeSlopeHalved), cube(CubeSlope), _vector, 3, _curvature,
          checks=("second_order",)),
    entry("gradients_as_they_are_wanted", Wanted, WantedTwin, lambda: tuple(draw(3, seed=k) for k in range(3)), 2,
          _without_the_first, checks=("subsets",)),
    entry("hook_of_every_call", HookAtEachCall, HookOnce, lambda: (draw(2, 3),), 11, _second_call,
          checks=("determinism", "side_effects", "module")),
    entry("slope_by_address", cached(lambda x: (x.data_ptr(), x.shape, x.dtype), BY_ID), cached(None, None), _vector, 3,
          _after_an_update,
          checks=("extremes", "layouts",)),
    entry("slope_by_shape", cached(lambda x: (x.shape, x.dtype), BY_SHAPE), cached(None, None), _vector, 3,
          _after_an_update,
          checks=("extremes", "magnitudes",)),
    ]  # fmt: skip
