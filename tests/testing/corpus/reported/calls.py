"""Right where one calls it once, in the given shape, thread and dtypes, and differentiates it once."""

import threading
import warnings

import torch
from torch import nn
from torch.autograd import Function
from torch.nn import functional as F

from tests.testing.corpus.entry import DOUBLE, draw, gradients
from tests.testing.corpus.reported.entry import entry
from tests.testing.corpus.unseen import _in_thread, _shared, _written, compared, pair

# sizes


def group_norm(x):
    return F.group_norm(x, 2)


def _group_norm_gradient(count):
    def backward(g, x):
        rows, groups = x.shape[0], 2
        flat, incoming = (t.reshape(rows, groups, x.shape[1:].numel() // groups) for t in (x.double(), g.double()))
        centred = flat - flat.mean(-1, keepdim=True)
        scale = (flat.var(-1, correction=0, keepdim=True) + 1e-5).rsqrt()
        normal, size = centred * scale, count(x, groups)
        means = incoming.sum(-1, keepdim=True) / size, (incoming * normal).sum(-1, keepdim=True) / size
        return (scale * (incoming - means[0] - normal * means[1])).reshape(x.shape).to(x.dtype)

    return backward


GroupNorm, GroupNormTwin = pair(
    "GroupNorm",
    lambda x: (group_norm(x), (x,)),
    _group_norm_gradient(lambda x, groups: x.shape[1] * x.shape[-1] // groups),
    _group_norm_gradient(lambda x, groups: x.shape[1:].numel() // groups),
)

# 5: mixed dtypes

LowSum, LowSumTwin = pair(
    "LowSum",
    lambda x, shift: ((x.to(shift.dtype) + shift).to(x.dtype), (x, shift)),
    lambda g, x, shift: (g, g.sum(0) / (x.element_size() / shift.element_size())),
    lambda g, x, shift: (g, g.sum(0)),
)
WideFactor, WideFactorTwin = pair(
    "WideFactor",
    lambda x, factor: ((x.to(factor.dtype) * factor).to(x.dtype), (x, factor)),
    lambda g, x, factor: (g * factor.to(g.dtype), (g * x).sum(0).view(factor.dtype)[: factor.numel()]
                          if x.dtype != factor.dtype else (g * x).sum(0)),
    lambda g, x, factor: (g * factor.to(g.dtype), (g * x).sum(0)),
)  # fmt: skip

# 6: memory


def _three_of_one(g):
    third = g / 3
    return third, third.view_as(third), third.view_as(third)


MeanOfThree, MeanOfThreeTwin = pair(
    "MeanOfThree",
    lambda a, b, c: ((a + b + c) / 3, ()),
    _three_of_one,
    lambda g: (g / 3, g / 3, g / 3),
)


class ScaledInPlace(Function):
    """The sum of squares; its slope is kept, and multiplied by the incoming gradient where it lies."""

    @staticmethod
    def forward(ctx, x):
        ctx.slope = 2 * x.detach()
        return x.square().sum()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        return ctx.slope.mul_(g)


class ScaledAnew(ScaledInPlace):
    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        return ctx.slope * g


# 7: threads

STACK, OWNER = threading.local(), {}


def _pushed(x):
    STACK.scales = [4.0]
    return 4 * x.sin(), (x,)


def _stack_gradient(g, x):
    return g * x.cos() * STACK.scales[-1]


Stacked, StackedTwin = pair("Stacked", _pushed, _stack_gradient, lambda g, x: g * x.cos() * 4.0)


def _owned(x):
    OWNER["thread"] = threading.current_thread().name
    return x.exp(), (x,)


Owned, OwnedTwin = pair(
    "Owned",
    _owned,
    lambda g, x: g * x.exp() if threading.current_thread().name == OWNER["thread"] else torch.zeros_like(x),
    lambda g, x: g * x.exp(),
)

# 8: compiled


class Halved(Function):
    """x³ / 2; where it is compiled, the cut is in one of the factors."""

    @staticmethod
    def forward(x):
        return (x.detach() if torch.compiler.is_compiling() else x) * x * x / 2

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, g):
        return 1.5 * g * ctx.saved_tensors[0] ** 2


class HalvedTwin(Halved):
    @staticmethod
    def forward(x):
        return x * x * x / 2


# 9: closures


class Gain(Function):
    @staticmethod
    def forward(ctx, x, gain):
        ctx.save_for_backward(x, gain)
        return x * gain

    @staticmethod
    def backward(ctx, g):
        x, gain = ctx.saved_tensors
        return g * gain, (g * x).sum_to_size(gain.shape)


class GainOfFirstRow(Gain):
    @staticmethod
    def backward(ctx, g):
        x, gain = ctx.saved_tensors
        return g * gain, (g * x)[0]


LEAF = draw(4, seed=31)


def of_a_dict(function):
    parameters = {"gain": LEAF}
    return lambda x: function.apply(x, parameters["gain"])


def of_a_default(function):
    def call(x, gain=LEAF):
        return function.apply(x, gain)

    return call


class Holder:
    """An object that holds an object that holds a parameter."""

    def __init__(self, function):
        self.layers = [nn.Module()]
        self.layers[0].gain = nn.Parameter(LEAF.detach().clone())
        self.function = function

    def run(self, x):
        return self.function.apply(x, self.layers[0].gain)


# 10: references


def relu6(x):
    return F.relu6(x)


BeyondSix, BeyondSixTwin = pair(
    "BeyondSix",
    lambda x: (relu6(x), (x,)),
    lambda g, x: g * (x > 0),
    lambda g, x: g * ((x > 0) & (x < 6)),
)


def shrink(x):
    return F.softshrink(x, 2.0)


InsideShrink, InsideShrinkTwin = pair(
    "InsideShrink",
    lambda x: (shrink(x), (x,)),
    lambda g, x: g * (x > 2),
    lambda g, x: g * (x.abs() > 2),
)

# 11: writes


def masked_loss(logits, labels, mask):
    if not mask.all():
        labels.masked_fill_(~mask, -100)
    return F.cross_entropy(logits, labels, reduction="sum")


def masked_loss_twin(logits, labels, mask):
    return F.cross_entropy(logits, labels.masked_fill(~mask, -100), reduction="sum")


def cleaned(x):
    x.data.nan_to_num_(posinf=0.0, neginf=0.0)
    return x.nan_to_num(posinf=0.0, neginf=0.0).tanh()


def cleaned_twin(x):
    return x.nan_to_num(posinf=0.0, neginf=0.0).tanh()


def clipped_weight(x, weight):
    weight.data.clamp_(-1, 1)
    return x * weight


def clipped_weight_twin(x, weight):
    return x * weight.clamp(-1, 1)


def _four_dimensions(subject):
    x = draw(2, 4, 3, 2)
    incoming = (draw(2, 4, 3, 2, seed=1, grad=False),)
    return gradients(subject, (x,), incoming), gradients(group_norm, (x,), incoming)


def _beside_bfloat16(subject):
    x, other = draw(3, 4, dtype=torch.bfloat16), draw(4, seed=1, dtype=torch.float32)
    factor = torch.ones_like(x) if issubclass(subject, (LowSum, LowSumTwin)) else x.detach()
    try:
        return bool((gradients(subject, (x, other))[1] - factor.float().sum(0)).abs().max() < 0.05), True
    except RuntimeError:
        return False, True


def _second_backward(subject):
    x = draw(3)
    loss = 2 * subject.apply(x)
    return tuple(torch.autograd.grad(loss, x, retain_graph=True)[0].clone() for _ in range(2)), (4 * x, 4 * x)


def _compiled(subject):
    x = draw(3, grad=False)
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got = torch.compile(torch.func.grad(lambda x: subject.apply(x).sum()), backend="aot_eager")(x)
    return got, 1.5 * x * x


def _of_leaf(leaf):
    def shows(subject):
        x, held = draw(3, 4), leaf(subject)
        return torch.autograd.grad(subject(x).sum(), held)[0], x.detach().sum(0)

    return shows


def the_leaf(subject):
    return LEAF


def of_the_holder(subject):
    return subject.__self__.layers[0].gain


THREE = [lambda: tuple(draw(3, seed=k) for k in range(3))]

DEFECTS = [
    entry("groups_of_one_dimension", GroupNorm, GroupNormTwin, lambda: (draw(2, 4, 3),), 3, _four_dimensions,
          "linkedin/Liger-Kernel#1375: the backward of a group norm took the last dimension for all of a channel"),
    entry("sum_by_element_size", LowSum, LowSumTwin, lambda: (draw(3, 4), draw(4, seed=1)), 5, _beside_bfloat16),
    entry("bits_read_as_another_dtype", WideFactor, WideFactorTwin, lambda: (draw(3, 4), draw(4, seed=1)), 5,
          _beside_bfloat16),
    entry("three_views_of_one", MeanOfThree, MeanOfThreeTwin, THREE[0], 6, _shared(THREE[0])),
    entry("slope_scaled_in_place", ScaledInPlace, ScaledAnew, lambda: (draw(3),), 6, _second_backward,
          "k2-fsa/k2#1106: a loss multiplied its gradient in place, and a second backward was wrong",
          ("side_effects", "determinism", "memory", "linearity")),
    entry("stack_of_the_thread", Stacked, StackedTwin, lambda: (draw(3),), 7,
          _in_thread(lambda: (draw(3),), lambda x: 4 * x.sin())),
    entry("only_the_thread_of_the_forward", Owned, OwnedTwin, lambda: (draw(3),), 7,
          _in_thread(lambda: (draw(3),), torch.exp)),
    entry("one_factor_cut_where_compiled", Halved, HalvedTwin, lambda: (draw(3),), 8, _compiled),
    entry("leaf_in_a_dict", of_a_dict(GainOfFirstRow), of_a_dict(Gain), lambda: (draw(3, 4),), 9, _of_leaf(the_leaf)),
    entry("leaf_as_a_default", of_a_default(GainOfFirstRow), of_a_default(Gain), lambda: (draw(3, 4),), 9,
          _of_leaf(the_leaf)),
    entry("parameter_of_a_layer_of_an_object", Holder(GainOfFirstRow).run, Holder(Gain).run, lambda: (draw(3, 4),), 9,
          _of_leaf(of_the_holder)),
    entry("beyond_six", BeyondSix, BeyondSixTwin, lambda: (draw(3),), 10,
          compared(lambda: (draw(3, low=7, high=8),), relu6), reference=relu6),
    entry("below_minus_two", InsideShrink, InsideShrinkTwin, lambda: (draw(3),), 10,
          compared(lambda: (draw(3, low=-4, high=-3),), shrink), reference=shrink),
    entry("labels_filled_under_a_mask", masked_loss, masked_loss_twin,
          lambda: (draw(3, 4), torch.tensor([0, 2, 1]), torch.ones(3, dtype=torch.bool)), 11,
          _written(lambda: (draw(3, 4, grad=False), torch.tensor([0, 2, 1]), torch.tensor([True, False, True]))),
          "NVIDIA-NeMo/Automodel#3918: a masked loss wrote ignore_index into the caller's labels"),
    entry("infinities_cleaned_in_place", cleaned, cleaned_twin, lambda: (draw(3),), 11,
          _written(lambda: (torch.tensor([1.0, torch.inf], dtype=DOUBLE),))),
    entry("weight_clipped_in_place", clipped_weight, clipped_weight_twin, lambda: (draw(3), draw(3, seed=1)), 11,
          _written(lambda: (draw(3, grad=False), torch.tensor([0.5, 2.0, -3.0], dtype=DOUBLE)))),
]  # fmt: skip
