"""Wrong where the random numbers of a comparison do not go."""

from torch.autograd import Function
from torch.nn import functional as F

from tests.testing.corpus.entry import draw
from tests.testing.corpus.hidden.demonstrations import compared, pair
from tests.testing.corpus.hidden.entry import entry


class _RoundThrough(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(-4, 4)


class ClampThrough(_RoundThrough):
    @staticmethod
    def backward(ctx, g):
        return g


class ClampThroughTwin(_RoundThrough):
    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * ((x >= -4) & (x <= 4))


def clamp_reference(x):
    return x.clamp(-4, 4)


def wide_clamp(x):
    return x.clamp(-8, 8)


Saturated, SaturatedTwin = pair(
    "Saturated",  # a clamp whose upper end alone holds the gradient back
    lambda x: (x.clamp(-8, 8), (x,)),
    lambda g, x: g * (x < 8),
    lambda g, x: g * (x.abs() < 8),
)


def quantised_range(x):
    return (x * 16).clamp(-128, 127) / 16


BeyondRange, BeyondRangeTwin = pair(
    "BeyondRange",
    lambda x: (quantised_range(x), (x,)),
    lambda g, x: g + 0 * x,
    lambda g, x: g * ((x * 16 >= -128) & (x * 16 <= 127)),
)

BelowRange, BelowRangeTwin = pair(
    "BelowRange",
    lambda x: (x.clamp(min=-30), (x,)),
    lambda g, x: g + 0 * x,
    lambda g, x: g * (x >= -30),
)


def lower_bound(x):
    return x.clamp(min=-30)


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

DEFECTS = [
    entry("unseen: beyond the clamp", ClampThrough, ClampThroughTwin, lambda: (draw(3),), 10,
          compared(lambda: (draw(3, low=5, high=6),), clamp_reference), reference=clamp_reference,
          source="eladhoffer/quantized.pytorch#5: the gradient of large values was not cancelled"),
    entry("unseen: beyond the lower clamp", Saturated, SaturatedTwin, lambda: (draw(3),), 10,
          compared(lambda: (draw(3, low=-10, high=-9),), wide_clamp), reference=wide_clamp,
          source="pytorch/ao#4806: a straight-through estimator at the boundary of its clamp"),
    entry("beyond_the_range_of_eight_bits", BeyondRange, BeyondRangeTwin, lambda: (draw(3),), 10,
          compared(lambda: (draw(3, low=9, high=10),), quantised_range),
          "microsoft/nni#3159: a quantiser's gradient was not masked where it saturates", reference=quantised_range),
    entry("below_the_range", BelowRange, BelowRangeTwin, lambda: (draw(3),), 10,
          compared(lambda: (draw(3, low=-40, high=-35),), lower_bound),
          "es-ude/elastic-ai.creator#264: gradients beyond the range of a fixed-point number", reference=lower_bound),
    entry("beyond_six", BeyondSix, BeyondSixTwin, lambda: (draw(3),), 10,
          compared(lambda: (draw(3, low=7, high=8),), relu6), reference=relu6),
    entry("below_minus_two", InsideShrink, InsideShrinkTwin, lambda: (draw(3),), 10,
          compared(lambda: (draw(3, low=-4, high=-3),), shrink), reference=shrink),
]  # fmt: skip
