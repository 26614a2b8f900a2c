"""Defects written without a look at the auditor: what the given inputs hide."""

import contextvars
import math
import threading
import warnings

import torch
from torch import nn
from torch.autograd import Function
from torch.nn import functional as F

from tests.testing.corpus.entry import DOUBLE, HIDDEN_BY_THE_INPUTS, Defect, draw, gradients

ROW = draw(4, seed=11, grad=False)


def autograd_function(name, forward, backward):
    """A Function of two formulas; forward returns the output and what is saved."""

    def run(ctx, *inputs):
        output, saved = forward(*inputs)
        ctx.save_for_backward(*(value for value in saved if isinstance(value, torch.Tensor)))
        ctx.options = [value for value in saved if not isinstance(value, torch.Tensor)]
        return output

    def gradients_of(ctx, incoming):
        found = backward(incoming, *ctx.saved_tensors, *ctx.options)
        return found if isinstance(found, tuple) else (found, *[None] * (len(ctx.needs_input_grad) - 1))

    return type(name, (Function,), {"forward": staticmethod(run), "backward": staticmethod(gradients_of)})


def pair(name, forward, wrong, right):
    return (
        autograd_function(f"{name}{suffix}", forward, backward) for suffix, backward in (("", wrong), ("Twin", right))
    )


# 2: what is not differentiable is never varied

WeightedSquare, WeightedSquareTwin = pair(
    "WeightedSquare",
    lambda x, weight: ((weight * x * x).sum(), (x, weight)),
    lambda g, x, weight: 2 * g * x,
    lambda g, x, weight: 2 * g * x * weight,
)

Shifted, ShiftedTwin = pair(
    "Shifted",  # the square of the distance from a background
    lambda x, background: ((x - background) ** 2, (x, background)),
    lambda g, x, background: g * 2 * (x - 2 * background),
    lambda g, x, background: g * 2 * (x - background),
)


def _scattered(g, table, index):
    out = torch.zeros_like(table)
    out[index] = g
    return out


Lookup, LookupTwin = pair(
    "Lookup",
    lambda table, index: (table[index], (table, index)),
    _scattered,
    lambda g, table, index: torch.zeros_like(table).index_add(0, index, g),
)


def masked_mean(x, mask):
    return (x * mask).sum() / mask.sum().clamp(min=1)


MaskedMean, MaskedMeanTwin = pair(
    "MaskedMean",
    lambda x, mask: (masked_mean(x, mask), (x, mask)),
    lambda g, x, mask: g * mask / x.numel() * torch.ones_like(x),
    lambda g, x, mask: (g * mask / mask.sum().clamp(min=1) * torch.ones_like(x)).sum_to_size(x.shape),
)


def nll(logits, target, ignore_index):
    return F.cross_entropy(logits, target, ignore_index=ignore_index, reduction="sum")


def _nll_gradient(g, logits, target, ignore_index):
    return (g * (logits.double().softmax(1) - F.one_hot(target.clamp(min=0), logits.shape[1]))).to(g.dtype)


Nll, NllTwin = pair(
    "Nll",
    lambda logits, target, ignore_index: (nll(logits, target, ignore_index), (logits, target, ignore_index)),
    _nll_gradient,
    lambda g, logits, target, ignore: _nll_gradient(g, logits, target, ignore) * (target != ignore).unsqueeze(1),
)


def mean_or_sum(x, reduction):
    return x.square().mean() if reduction == "mean" else x.square().sum()


Reduced, ReducedTwin = pair(
    "Reduced",
    lambda x, reduction: (mean_or_sum(x, reduction), (x, reduction)),
    lambda g, x, reduction: 2 * g * x / x.numel(),
    lambda g, x, reduction: 2 * g * x / (x.numel() if reduction == "mean" else 1),
)

Tempered, TemperedTwin = pair(
    "Tempered",  # tanh(x / t) at t = 1
    lambda x, temperature: (torch.tanh(x / temperature), (x, temperature)),
    lambda g, x, temperature: g * (1 - torch.tanh(x / temperature) ** 2),
    lambda g, x, temperature: g * (1 - torch.tanh(x / temperature) ** 2) / temperature,
)

# 3: sizes and magnitudes between the probes


def _mish_slope(x):
    tanh, sigmoid = torch.tanh(F.softplus(x)), torch.sigmoid(x)
    return tanh + x * (1 - tanh * tanh) * sigmoid


Mish, MishTwin = pair(
    "Mish",
    lambda x: (F.mish(x), (x,)),
    lambda g, x: g * torch.where((x > 12) & (x < 18), 0, _mish_slope(x)),
    lambda g, x: g * _mish_slope(x),
)


def row_norm(x):
    return (x * x).sum(-1).add(1).sqrt()


def _row_norm_gradient(g, x, out):
    return (g / out).unsqueeze(-1) * x


def _blocked_row_norm_gradient(g, x, out):
    slope = _row_norm_gradient(g, x, out)
    if x.shape[-1] < 64:
        return slope
    return torch.cat([slope[..., :63], torch.zeros_like(slope[..., 63:])], -1)


def _with_output(function):
    def forward(*inputs):
        output = function(*inputs)
        return output, (*inputs, output)

    return forward


RowNorm, RowNormTwin = pair("RowNorm", _with_output(row_norm), _blocked_row_norm_gradient, _row_norm_gradient)


def outer(a, b):
    return a.unsqueeze(1) * b


Outer, OuterTwin = pair(
    "Outer",
    lambda a, b: (outer(a, b), (a, b)),
    lambda g, a, b: ((g[:, :32] * b[:32]).sum(1), (g * a.unsqueeze(1)).sum(0)),
    lambda g, a, b: ((g * b).sum(1), (g * a.unsqueeze(1)).sum(0)),
)


def _first_rows(g, x):
    slope = 2 * x * g
    return torch.cat([slope[:16], torch.zeros_like(slope[16:])])


ColumnSquares, ColumnSquaresTwin = pair(
    "ColumnSquares", lambda x: ((x * x).sum(0), (x,)), _first_rows, lambda g, x: 2 * x * g
)

# 4: precision

TanhSingle, TanhSingleTwin = pair(
    "TanhSingle",
    lambda x: (x.tanh(), (x,)),
    lambda g, x: (g.float() / x.float().cosh() ** 2).to(g.dtype),
    lambda g, x: g * (1 - x.tanh() ** 2),
)


def row_loss(z, target):
    return F.cross_entropy(z, target)


def _softmax_less_one(g, z, target):
    return g * (z.softmax(-1) - F.one_hot(target, z.shape[-1]).to(z.dtype)) / len(z)


RowLoss, RowLossTwin = pair(
    "RowLoss",
    lambda z, target: (row_loss(z, target), (z, target)),
    _softmax_less_one,
    lambda g, z, target: _softmax_less_one(g.double(), z.double(), target).to(z.dtype),
)


def length(x):
    return (x.double().square().sum(-1) + 1).sqrt().to(x.dtype)


Length, LengthTwin = pair(
    "Length",  # in float16 the sum of squares is inf from 256 on
    lambda x: (length(x), (x,)),
    lambda g, x: (g / ((x * x).sum(-1) + 1).sqrt()).unsqueeze(-1) * x,
    lambda g, x: (g / length(x)).unsqueeze(-1) * x,
)

# 5: mixed dtypes

MixedLinear, MixedLinearTwin = pair(
    "MixedLinear",
    lambda x, weight: (x @ weight.to(x.dtype).t(), (x, weight)),
    lambda g, x, weight: (g @ weight.to(g.dtype), g.t() @ x.to(g.dtype) if x.dtype == weight.dtype else None),
    lambda g, x, weight: (g @ weight.to(g.dtype), (g.t() @ x.to(g.dtype)).to(weight.dtype)),
)

MixedScale, MixedScaleTwin = pair(
    "MixedScale",
    lambda x, gamma: (x * gamma.to(x.dtype), (x, gamma)),
    lambda g, x, gamma: (g * gamma.to(g.dtype), (g * x).sum(0) / (1 if x.dtype == gamma.dtype else 2)),
    lambda g, x, gamma: (g * gamma.to(g.dtype), (g * x).sum(0)),
)

# 6: gradients that share memory


def _one_gradient(g):
    both = 2 * g
    return both.view(g.shape), both.view(g.shape)


Doubled, DoubledTwin = pair("Doubled", lambda a, b: (2 * a + 2 * b, ()), _one_gradient, lambda g: (2 * g, 2 * g))

Dot, DotTwin = pair(
    "Dot",
    lambda a, b: ((a * b).sum(), (a, b)),
    lambda g, a, b: (b.view(b.shape), a.view(a.shape)) if g.item() == 1 else (g * b, g * a),
    lambda g, a, b: (g * b, g * a),
)

# 7: backward in another thread

LOCAL = threading.local()
VARIABLE = contextvars.ContextVar("power", default=1)


def _local_sine(x):
    LOCAL.factor = 3.0
    return 3 * x.sin(), (x,)


LocalSine, LocalSineTwin = pair(
    "LocalSine",
    _local_sine,
    lambda g, x: g * x.cos() * getattr(LOCAL, "factor", 1.0),
    lambda g, x: g * x.cos() * 3.0,
)


def _variable_cube(x):
    VARIABLE.set(3)
    return x**3, (x,)


VariableCube, VariableCubeTwin = pair(
    "VariableCube", _variable_cube, lambda g, x: g * VARIABLE.get() * x**2, lambda g, x: g * 3 * x**2
)

# 8: compiled, the custom backward is gone


class Reverse(Function):
    """x² whose backward is written by hand; and what the compiler sees."""

    @staticmethod
    def forward(x):
        return x * x

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 2 * x * g


def square_unless_compiled(x):
    if torch.compiler.is_compiling():
        return x.detach() * x
    return Reverse.apply(x)


def square(x):
    return Reverse.apply(x)


# 9: closures over a leaf

HIDDEN = draw(4, seed=5)


def scaled_by_a_cut_leaf(x):
    return x * HIDDEN.detach()


def scaled_by_a_leaf(x):
    return x * HIDDEN


class _Tanh(Function):
    @staticmethod
    def forward(ctx, x, bias):
        ctx.save_for_backward(x, bias)
        return torch.tanh(x + bias)

    @staticmethod
    def backward(ctx, g):
        x, bias = ctx.saved_tensors
        slope = g * (1 - torch.tanh(x + bias) ** 2)
        return slope, slope.sum(0) if ctx.needs_input_grad[1] else None


class _TanhWrong(_Tanh):
    @staticmethod
    def backward(ctx, g):
        x, bias = ctx.saved_tensors
        slope = g * (1 - torch.tanh(x + bias) ** 2)
        return slope, slope[0]


class Layer:
    """No module: an object with a parameter, as a closure would hold it."""

    def __init__(self, function):
        self.bias = nn.Parameter(draw(4, seed=6, grad=False))
        self.function = function

    def __call__(self, x):
        return self.function.apply(x, self.bias)


# 10: wrong where the random spread of a comparison does not go


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

# 11: a write into an input that shows elsewhere


def capped(x):
    if (x.detach() > 5).any():
        x.data.clamp_(max=5)
    return x.clamp(max=5).sin()


def capped_twin(x):
    return x.clamp(max=5).sin()


def wrapped(table, index):
    if (index < 0).any():
        index.remainder_(table.shape[0])
    return table[index] ** 2


def wrapped_twin(table, index):
    return table[index.remainder(table.shape[0])] ** 2


# 12: a forward that overflows in single precision


def log_cosh(x):
    return torch.log(torch.cosh(x))


def log_cosh_twin(x):
    return x.abs() + F.softplus(-2 * x.abs()) - math.log(2)


def naive_log_sum(x):
    return x.exp().sum(-1).log()


def naive_log_sum_twin(x):
    return x.logsumexp(-1)


def at(*inputs):
    return lambda subject: gradients(subject, inputs)


def compared(inputs, right):
    return lambda subject: (gradients(subject, inputs()), gradients(right, inputs()))


def _in_thread(inputs, right):
    def shows(subject):
        seen = []
        apply = subject.apply
        x = inputs()
        out = apply(*x).sum()

        def target():
            try:
                out.backward()
                seen.append(x[0].grad)
            except Exception:
                seen.append(torch.tensor(float("nan")))

        thread = threading.Thread(target=target)
        thread.start()
        thread.join()
        return seen[0], gradients(right, inputs())[0]

    return shows


def _shared(inputs):
    def shows(subject):
        x = inputs()
        before = [i.detach().clone() for i in x]
        grads = torch.autograd.grad(subject.apply(*x).sum(), x)
        held = [grads[0].clone(), before]
        grads[1].data.zero_()
        return (grads[0].clone(), *(i.detach().clone() for i in x)), (held[0], *held[1])

    return shows


def _compiled_gradient(subject):
    x = draw(3, grad=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch makes an instance of the Function, and warns of that
        got = torch.compile(torch.func.grad(lambda x: subject(x).sum()), backend="aot_eager")(x)
    return got, 2 * x


def _closed_over(subject):
    leaf = HIDDEN
    out = subject(draw(3, 4)).sum()
    got = torch.autograd.grad(out, leaf, allow_unused=True)[0]
    return torch.zeros_like(leaf) if got is None else got, draw(3, 4, grad=False).sum(0)


def _layer(subject):
    x = draw(3, 4)
    right = (1 - torch.tanh(x + subject.bias) ** 2).sum(0)
    return torch.autograd.grad(subject(x).sum(), subject.bias)[0], right.detach()


def _written(inputs):
    def shows(subject):
        x = inputs()
        before = tuple(i.detach().clone() for i in x)
        subject(*x)
        return tuple(i.detach() for i in x), before

    return shows


CHECKS = {
    2: ("variations",),
    3: ("magnitudes", "shapes"),
    4: ("precision",),
    5: ("precision",),
    6: ("side_effects",),
    7: ("determinism",),
    8: ("compiled_grad",),
    9: ("values", "memory"),
    10: ("reference",),
    11: ("side_effects", "variations"),
    12: ("extremes",),
}


SOURCES = {  # reports of the like
    "a mask of True": "microsoft/Semi-supervised-learning#96: a masked loss was averaged over the masked entries, too",
    "the other reduction": "paiml/aprender#2182: a backward divided by the batch, whatever the reduction",
    "more than sixteen rows": "BobMcDear/attorch#18: the last block of rows was missing in a weight's gradient",
    "a confident row in bfloat16": "tenstorrent/tt-metal#55724: s (1 − s) was 0 as soon as s was rounded to 1",
    "a weight of another dtype": "pytorch/pytorch#159829: a norm's gradients were wrong beside weights of another dtype",
    "half a scale's gradient": "pytorch/pytorch#156513: a batch norm's gradients were wrong in mixed precision",
    "a number of the forward's thread": "pytorch/pytorch#191777: autograd's threads do not see the caller's values",
    "cut where it is compiled": "pytorch/pytorch#182012: compiled, the gradient of one input was 0",
    "a cap written into the input": "torch/cutorch#432: clamp altered its argument",
    "a cosine that overflows": "Lightning-AI/torchmetrics#3488: log(cosh(x)) was infinite for large finite x",
    "indices without a repeat": "ooples/AiDotNet.Tensors#894: gather's backward has to add where an index repeats",
    "nobody is ignored": "pytorch/pytorch#73205: the smoothed part of a loss took ignored samples into account",
    "squares in float16": "pytorch/pytorch#44350: mean and var overflowed where the result does not",
    "a sum that overflows": "rushter/MLAlgorithms#30: log(1 + exp(x)) was infinite for large x",
    "beyond the clamp": "eladhoffer/quantized.pytorch#5: the gradient of large values was not cancelled",
    "beyond the lower clamp": "pytorch/ao#4806: a straight-through estimator at the boundary of its clamp",
    "a variable of the forward's context": "pytorch/pytorch#186583: context variables did not reach autograd's threads",
}


def entry(name, what, twin, inputs, kind, shows, **more):
    more["source"] = SOURCES.get(name, "")
    name, more["checks"] = f"unseen: {name}", CHECKS[kind]
    return Defect(name, what, inputs, twin=twin, kind=HIDDEN_BY_THE_INPUTS + kind, shows=shows, **more)


def confident_row(subject):
    z, target = torch.tensor([[7.0, 0.0, 0.0]], dtype=torch.bfloat16, requires_grad=True), torch.tensor([0])
    got = torch.autograd.grad(subject.apply(z, target), z)[0][0, 0].double()
    right = z.detach().double().softmax(-1)[0, 0] - 1
    return bool((got - right).abs() < 0.1 * right.abs()), True


def long_row_in_half(subject):
    x = torch.full((1, 3), 300.0, dtype=torch.float16, requires_grad=True)
    return bool(torch.autograd.grad(subject.apply(x).sum(), x)[0].sum() > 1.5), True


def mixed_gradient(right):
    """The gradient of a float32 argument beside one of bfloat16: its sum, to a percent."""

    def shows(subject):
        x, other = draw(3, 4, dtype=torch.bfloat16), draw(2, 4, seed=1, dtype=torch.float32)
        if right is not None:
            other = draw(4, seed=1, dtype=torch.float32)
        got = gradients(subject, (x, other))[1]
        expected = x.detach().float().sum(0)
        return bool((got - expected).abs().max() < 0.02), True

    return shows


WEIGHTS = torch.tensor([0.5, 2.0, 1.5], dtype=DOUBLE)
MASK = torch.tensor([True, False, True, True])


def constant(value):
    return torch.full((3,), value, dtype=DOUBLE)


DEFECTS = [
    entry("a weight of ones", WeightedSquare, WeightedSquareTwin, lambda: (draw(3), constant(1.0)), 2,
          compared(lambda: (draw(3), WEIGHTS), lambda x, w: (w * x * x).sum())),
    entry("a background of zeros", Shifted, ShiftedTwin, lambda: (draw(3), constant(0.0)), 2,
          compared(lambda: (draw(3), WEIGHTS), lambda x, b: (x - b) ** 2)),
    entry("indices without a repeat", Lookup, LookupTwin, lambda: (draw(5, 2), torch.tensor([3, 0, 1])), 2,
          compared(lambda: (draw(5, 2), torch.tensor([3, 3, 1])), lambda t, i: t[i])),
    entry("a mask of True", MaskedMean, MaskedMeanTwin, lambda: (draw(4), torch.ones(4, dtype=torch.bool)), 2,
          compared(lambda: (draw(4), MASK), masked_mean)),
    entry("nobody is ignored", Nll, NllTwin, lambda: (draw(4, 3), torch.tensor([0, 2, 1, 1]), -100), 2,
          compared(lambda: (draw(4, 3), torch.tensor([0, -100, 1, 1]), -100), nll)),
    entry("the other reduction", Reduced, ReducedTwin, lambda: (draw(4), "mean"), 2,
          compared(lambda: (draw(4), "sum"), mean_or_sum)),
    entry("a temperature of one", Tempered, TemperedTwin, lambda: (draw(4), 1.0), 2,
          compared(lambda: (draw(4), 2.0), lambda x, t: torch.tanh(x / t))),
    entry("between twelve and eighteen", Mish, MishTwin, lambda: (draw(4),), 3,
          compared(lambda: (draw(4, low=13, high=17),), F.mish)),
    entry("from 64 columns on", RowNorm, RowNormTwin, lambda: (draw(2, 5),), 3,
          compared(lambda: (draw(2, 65),), row_norm)),
    entry("one longer argument", Outer, OuterTwin, lambda: (draw(3), draw(4, seed=1)), 3,
          compared(lambda: (draw(3), draw(40, seed=1)), outer)),
    entry("more than sixteen rows", ColumnSquares, ColumnSquaresTwin, lambda: (draw(3, 2),), 3,
          compared(lambda: (draw(17, 2),), lambda x: (x * x).sum(0))),
    entry("a slope in single precision", TanhSingle, TanhSingleTwin, lambda: (draw(3),), 4,
          compared(lambda: (draw(3),), torch.tanh)),
    entry("a confident row in bfloat16", RowLoss, RowLossTwin, lambda: (draw(3, 4), torch.tensor([1, 0, 3])), 4,
          confident_row),
    entry("squares in float16", Length, LengthTwin, lambda: (draw(2, 3),), 4, long_row_in_half),
    entry("a weight of another dtype", MixedLinear, MixedLinearTwin, lambda: (draw(3, 4), draw(2, 4, seed=1)), 5,
          mixed_gradient(None)),
    entry("half a scale's gradient", MixedScale, MixedScaleTwin, lambda: (draw(3, 4), draw(4, seed=1)), 5,
          mixed_gradient("scale")),
    entry("two views of one gradient", Doubled, DoubledTwin, lambda: (draw(3), draw(3, seed=1)), 6,
          _shared(lambda: (draw(3), draw(3, seed=1)))),
    entry("a gradient that is an input", Dot, DotTwin, lambda: (draw(3), draw(3, seed=1)), 6,
          _shared(lambda: (draw(3), draw(3, seed=1)))),
    entry("a number of the forward's thread", LocalSine, LocalSineTwin, lambda: (draw(3),), 7,
          _in_thread(lambda: (draw(3),), lambda x: 3 * x.sin())),
    entry("a variable of the forward's context", VariableCube, VariableCubeTwin, lambda: (draw(3),), 7,
          _in_thread(lambda: (draw(3),), lambda x: x**3)),
    entry("cut where it is compiled", square_unless_compiled, square, lambda: (draw(3),), 8,
          _compiled_gradient),
    entry("a leaf that is cut", scaled_by_a_cut_leaf, scaled_by_a_leaf, lambda: (draw(3, 4),), 9,
          _closed_over),
    entry("an object's parameter", Layer(_TanhWrong), Layer(_Tanh), lambda: (draw(3, 4),), 9, _layer),
    entry("beyond the clamp", ClampThrough, ClampThroughTwin, lambda: (draw(3),), 10,
          compared(lambda: (draw(3, low=5, high=6),), clamp_reference), options={"reference": clamp_reference}),
    entry("beyond the lower clamp", Saturated, SaturatedTwin, lambda: (draw(3),), 10,
          compared(lambda: (draw(3, low=-10, high=-9),), wide_clamp), options={"reference": wide_clamp}),
    entry("a cap written into the input", capped, capped_twin, lambda: (draw(3),), 11,
          _written(lambda: (draw(3, low=6, high=7, grad=False),))),
    entry("indices wrapped in place", wrapped, wrapped_twin, lambda: (draw(4), torch.tensor([0, 3])), 11,
          _written(lambda: (draw(4, grad=False), torch.tensor([0, -1])))),
    entry("a cosine that overflows", log_cosh, log_cosh_twin, lambda: (draw(1, 3),), 12,
          lambda subject: (bool(subject(torch.tensor([[100.0]])).isfinite()), True)),
    entry("a sum that overflows", naive_log_sum, naive_log_sum_twin, lambda: (draw(2, 3),), 12,
          lambda subject: (bool(subject(torch.tensor([[100.0]])).isfinite()), True)),
]  # fmt: skip
