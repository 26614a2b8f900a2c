"""Defects, many after reports, that the given inputs hide: constants, sizes, magnitudes, precisions, threads."""

import functools
import threading
import warnings

import torch
from torch import nn
from torch.autograd import Function
from torch.nn import functional as F

from tests.testing.corpus.entry import DOUBLE, HIDDEN_BY_THE_INPUTS, Defect, draw, gradients
from tests.testing.corpus.unseen import CHECKS, _in_thread, _shared, _written, compared, pair

# 2: what is not differentiable

Gathered, GatheredTwin = pair(
    "Gathered",
    lambda x, index: (x.gather(1, index), (x, index)),
    lambda g, x, index: torch.zeros_like(x).scatter(1, index, g),
    lambda g, x, index: torch.zeros_like(x).scatter_add(1, index, g),
)


def mean_nll(logits, target):
    valid = target != -100
    return F.cross_entropy(logits, target, reduction="sum") / valid.sum().clamp(min=1)


def _mean_nll_gradient(at_least):
    def backward(g, logits, target):
        valid = target != -100
        p = logits.double().softmax(1) - F.one_hot(target.clamp(min=0), logits.shape[1])
        return (g * p * valid.unsqueeze(1) / valid.sum().clamp(min=at_least)).to(logits.dtype)

    return backward


AllIgnored, AllIgnoredTwin = pair(
    "AllIgnored",
    lambda logits, target: (mean_nll(logits, target), (logits, target)),
    _mean_nll_gradient(0),
    _mean_nll_gradient(1),
)


def smooth_nll(logits, target):
    log_p, valid = logits.log_softmax(1), target != -100
    hard = -log_p.gather(1, target.clamp(min=0).unsqueeze(1)).squeeze(1)
    return ((0.9 * hard - 0.1 * log_p.mean(1)) * valid).sum()


def _smooth_gradient(masks_the_mean):
    def backward(g, logits, target):
        p, classes = logits.double().softmax(1), logits.shape[1]
        valid = (target != -100).unsqueeze(1)
        hard = (p - F.one_hot(target.clamp(min=0), classes)) * valid
        smooth = (p - 1 / classes) * (valid if masks_the_mean else 1)
        return (g * (0.9 * hard + 0.1 * smooth)).to(logits.dtype)

    return backward


Smoothed, SmoothedTwin = pair(
    "Smoothed",
    lambda logits, target: (smooth_nll(logits, target), (logits, target)),
    _smooth_gradient(False),
    _smooth_gradient(True),
)


def weighted_mean(x, weight):
    return (weight * x * x).sum() / weight.sum()


WeightedMean, WeightedMeanTwin = pair(
    "WeightedMean",
    lambda x, weight: (weighted_mean(x, weight), (x, weight)),
    lambda g, x, weight: 2 * g * weight * x / x.numel(),
    lambda g, x, weight: 2 * g * weight * x / weight.sum(),
)


def soft_sign(x, eps):
    return x / (x * x + eps).sqrt()


SoftSign, SoftSignTwin = pair(
    "SoftSign",
    lambda x, eps: (soft_sign(x, eps), (x, eps)),
    lambda g, x, eps: g * (x * x + 1) ** -1.5,
    lambda g, x, eps: g * eps * (x * x + eps) ** -1.5,
)


def running_sum(x, reverse):
    return x.flip(0).cumsum(0).flip(0) if reverse else x.cumsum(0)


RunningSum, RunningSumTwin = pair(
    "RunningSum",
    lambda x, reverse: (running_sum(x, reverse), (reverse,)),
    lambda g, reverse: g.flip(0).cumsum(0).flip(0),
    lambda g, reverse: running_sum(g, not reverse),
)


def _narrow_index_gradient(g, table, index):
    out = torch.zeros_like(table)
    return out.index_add(0, index, g) if index.dtype == torch.int64 else out.index_copy(0, index.long(), g / 2)


NarrowIndex, NarrowIndexTwin = pair(
    "NarrowIndex",
    lambda table, index: (table[index], (table, index)),
    _narrow_index_gradient,
    lambda g, table, index: torch.zeros_like(table).index_put((index,), g, accumulate=True),
)

# 3: sizes and magnitudes


def row_sums(x):
    return (x * x).sum(-1)


def _without_tail(g, x):
    slope = 2 * g.unsqueeze(-1) * x
    whole = x.shape[-1] // 128 * 128
    return slope if x.shape[-1] < 128 else torch.cat([slope[..., :whole], torch.zeros_like(slope[..., whole:])], -1)


TailOfBlocks, TailOfBlocksTwin = pair(
    "TailOfBlocks", lambda x: (row_sums(x), (x,)), _without_tail, lambda g, x: 2 * g.unsqueeze(-1) * x
)
LongRows, LongRowsTwin = pair(
    "LongRows",
    lambda x: (row_sums(x), (x,)),
    lambda g, x: (2 if x.shape[-1] < 1024 else 1) * g.unsqueeze(-1) * x,
    lambda g, x: 2 * g.unsqueeze(-1) * x,
)


def _gelu_slope(x):
    return 0.5 * (1 + torch.erf(x / 2**0.5)) + x * torch.exp(-x * x / 2) / (2 * torch.pi) ** 0.5


GeluTail, GeluTailTwin = pair(
    "GeluTail",
    lambda x: (F.gelu(x), (x,)),
    lambda g, x: g * torch.where(x > 2.5, 1.0, _gelu_slope(x)),
    lambda g, x: g * _gelu_slope(x),
)


def sinc(x):
    return torch.where(x == 0, 1.0, x.sin() / torch.where(x == 0, 1.0, x))


def _sinc_slope(near):
    def slope(g, x):
        far = torch.where(x.abs() < 0.2, 1.0, x)
        return g * torch.where(x.abs() < 0.2, near(x), (far * far.cos() - far.sin()) / (far * far))

    return slope


SincNearZero, SincNearZeroTwin = pair(
    "SincNearZero",
    lambda x: (sinc(x), (x,)),
    _sinc_slope(lambda x: 0 * x),
    _sinc_slope(lambda x: -x / 3 + x**3 / 30 - x**5 / 840 + x**7 / 45360),
)


def weighted_sum(x, taps):
    return x.sum() * taps.square().sum()


ManyTaps, ManyTapsTwin = pair(
    "ManyTaps",
    lambda x, taps: (weighted_sum(x, taps), (x, taps)),
    lambda g, x, taps: (g * taps[:16].square().sum() * torch.ones_like(x), g * 2 * taps * x.sum()),
    lambda g, x, taps: (g * taps.square().sum() * torch.ones_like(x), g * 2 * taps * x.sum()),
)

# 4: precision

CosineSingle, CosineSingleTwin = pair(
    "CosineSingle",
    lambda x: (x.sin(), (x,)),
    lambda g, x: g * x.float().cos().to(x.dtype),
    lambda g, x: g * x.cos(),
)
HalfCount, HalfCountTwin = pair(
    "HalfCount",
    lambda x: (x.double().square().mean().to(x.dtype), (x,)),
    lambda g, x: 2 * g * x / torch.ones_like(x).sum(),
    lambda g, x: (2 * g.double() * x / x.numel()).to(x.dtype),
)


def log_sum(x):
    return x.double().logsumexp(0).to(x.dtype)


def _softmax_of(g, x, wide):
    if wide:
        return (g * x.double().softmax(0)).to(g.dtype)
    e = (x - x.detach().max()).exp() if len(x) else x.exp()
    return g * e / e.sum(0)


HalfLogSum, HalfLogSumTwin = pair(
    "HalfLogSum",
    lambda x: (log_sum(x), (x,)),
    lambda g, x: _softmax_of(g, x, False),
    lambda g, x: _softmax_of(g, x, True),
)

# 5: mixed dtypes


def rms_norm(x, weight):
    return x * (x.double().square().mean(-1, keepdim=True) + 1e-3).rsqrt().to(x.dtype) * weight.to(x.dtype)


def _rms_gradients(right):
    def backward(g, x, weight):
        wide = x.double()
        scale = (wide.square().mean(-1, keepdim=True) + 1e-3).rsqrt()
        h = g.double() * weight.double()
        dx = scale * (h - wide * scale**2 * (h * wide).mean(-1, keepdim=True))
        normed = wide * scale if right or x.dtype == weight.dtype else wide
        return dx.to(x.dtype), (g.double() * normed).flatten(0, -2).sum(0).to(weight.dtype)

    return backward


MixedNorm, MixedNormTwin = pair(
    "MixedNorm", lambda x, weight: (rms_norm(x, weight), (x, weight)), _rms_gradients(False), _rms_gradients(True)
)
MixedBias, MixedBiasTwin = pair(
    "MixedBias",
    lambda x, bias: (x + bias.to(x.dtype), (x, bias)),
    lambda g, x, bias: (g, g.sum(0) if g.dtype == bias.dtype else torch.zeros_like(bias)),
    lambda g, x, bias: (g, g.sum(0)),
)

# 6: gradients that share memory


def _halves(g):
    half = g / 2
    return half.view(g.shape), half.view(g.shape)


Average, AverageTwin = pair("Average", lambda a, b: ((a + b) / 2, ()), _halves, lambda g: (g / 2, g / 2))


def _shifted_sum(a, b):
    out = torch.zeros(len(a) + 1, dtype=a.dtype)
    out[:-1] += a
    out[1:] += b
    return 2 * out, ()


def _overlapping(copies):
    def backward(g):
        both = 2 * g
        return both[:-1], both[1:].clone() if copies else both[1:]

    return backward


Shifts, ShiftsTwin = pair("Shifts", _shifted_sum, _overlapping(False), _overlapping(True))

# 7: another thread

RANK, BY_THREAD = threading.local(), {}


def _ranked(x):
    RANK.scale = 2.0
    return 2 * x.exp(), (x,)


Ranked, RankedTwin = pair(
    "Ranked",
    _ranked,
    lambda g, x: g * x.exp() * getattr(RANK, "scale", 0.0),
    lambda g, x: g * x.exp() * 2.0,
)


def _by_thread(x):
    BY_THREAD[threading.get_ident()] = 5.0
    return 5 * x * x, (x,)


ByThread, ByThreadTwin = pair(
    "ByThread",
    _by_thread,
    lambda g, x: g * 2 * BY_THREAD[threading.get_ident()] * x,
    lambda g, x: g * 10 * x,
)

# 8: compiled


class CubeDetached(Function):
    @staticmethod
    def forward(x):
        return x.detach() ** 3

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, g):
        return 3 * g * ctx.saved_tensors[0] ** 2


class Cube(CubeDetached):
    @staticmethod
    def forward(x):
        return x**3


class CubeOfACopy(CubeDetached):
    @staticmethod
    def forward(x):
        return torch.empty_like(x).copy_(x.data) ** 3


# 9: closures


class ScaledSine(Function):
    @staticmethod
    def forward(ctx, x, scale):
        ctx.save_for_backward(x, scale)
        return scale * x.sin()

    @staticmethod
    def backward(ctx, g):
        x, scale = ctx.saved_tensors
        return g * scale * x.cos(), (g * x.sin()).sum_to_size(scale.shape)


class ScaledCosine(ScaledSine):
    @staticmethod
    def backward(ctx, g):
        x, scale = ctx.saved_tensors
        return g * scale * x.cos(), (g * x.cos()).sum_to_size(scale.shape)


def scaled(x, scale, function):
    return function.apply(x, scale)


SCALE = draw(4, seed=21)
LINEAR = nn.Linear(4, 4, bias=False, dtype=DOUBLE)


def through_a_module(function):
    def call(x):
        return function.apply(x, LINEAR.weight[0]) + 0 * LINEAR(x)

    return call


# 10: references


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


# 11: writes


def relu_written(x):
    x.data.relu_()
    return x.relu() ** 2


def relu_twin(x):
    return x.relu() ** 2


def renormed(x, weight):
    if weight.detach().norm() > 1:
        weight.data.div_(weight.detach().norm())
    return x * weight


def renormed_twin(x, weight):
    return x * weight / weight.norm().clamp(min=1)


def attends(x, mask):
    mask[~mask.any(1)] = True
    return x.masked_fill(~mask, -1e3).softmax(1)


def attends_twin(x, mask):
    return x.masked_fill(~(mask | ~mask.any(1, keepdim=True)), -1e3).softmax(1)


# 12: a forward that overflows


def softplus(x):
    return torch.log(1 + torch.exp(x))


def sigmoid(x):
    return x.exp() / (1 + x.exp())


def tanh(x):
    return ((2 * x).exp() - 1) / ((2 * x).exp() + 1)


def _rms_weight(subject):
    x, weight = draw(3, 4, dtype=torch.bfloat16), draw(4, seed=1, dtype=torch.float32)
    got = gradients(subject, (x, weight))[1].double()
    right = gradients(rms_norm, (x.detach().double().requires_grad_(), weight.detach().double().requires_grad_()))[1]
    return bool((got - right).abs().max() < 0.05), True


def _bias_beside(subject):
    x, bias = draw(3, 4, dtype=torch.bfloat16), draw(4, seed=1, dtype=torch.float32)
    return bool((gradients(subject, (x, bias))[1] == 3).all()), True


def _many_halves(subject):
    x = (0.5 + torch.arange(200_000) / 400_000).half().requires_grad_()
    return bool((torch.autograd.grad(subject.apply(x), x)[0] > 0).all()), True


def _compiled(right):
    def shows(subject):
        x = draw(3, grad=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch makes an instance of the Function, and warns of that
            function = torch.func.grad(lambda x: subject.apply(x).sum())
            got = torch.compile(function, backend="aot_eager")(x)
        return got, right(x)

    return shows


def _of_leaf(leaf, right):
    def shows(subject):
        x = draw(3, 4)
        got = torch.autograd.grad(subject(x).sum(), leaf, allow_unused=True)[0]
        return got[0] if got.dim() > 1 else got, right(x.detach())

    return shows


def _stays_finite(subject):
    return bool(subject(torch.tensor([[100.0]])).isfinite()), True


def _finite_gradient(subject):
    logits = draw(3, 4)
    return gradients(subject, (logits, torch.full((3,), -100)))[0], torch.zeros(3, 4, dtype=DOUBLE)


def entry(name, what, twin, inputs, kind, shows, source="", **options):
    return Defect(name, what, inputs, options, twin=twin, checks=CHECKS[kind], kind=HIDDEN_BY_THE_INPUTS + kind,
                  shows=shows, source=source)  # fmt: skip


LABELS, SOME_IGNORED = torch.tensor([0, 2, 1]), torch.tensor([0, -100, 1])
EVERY = torch.ones(3, 4, dtype=torch.bool)

DEFECTS = [
    entry("gather_of_one_entry_twice", Gathered, GatheredTwin, lambda: (draw(2, 3), torch.tensor([[2, 0], [1, 2]])), 2,
          compared(lambda: (draw(2, 3), torch.tensor([[2, 2], [1, 2]])), lambda x, index: x.gather(1, index)),
          "pytorch/pytorch#1631: gather's backward was wrong with repeated indices, without an error"),
    entry("all_rows_ignored", AllIgnored, AllIgnoredTwin, lambda: (draw(3, 4), LABELS), 2, _finite_gradient,
          "ROCm/aiter#5165: cross entropy's gradient was infinite where every row is ignored"),
    entry("smoothing_of_ignored_rows", Smoothed, SmoothedTwin, lambda: (draw(3, 4), LABELS), 2,
          compared(lambda: (draw(3, 4), SOME_IGNORED), smooth_nll),
          "linkedin/Liger-Kernel#198: label smoothing and ignored rows did not go together"),
    entry("mean_by_weights_of_one", WeightedMean, WeightedMeanTwin, lambda: (draw(3), torch.ones(3, dtype=DOUBLE)), 2,
          compared(lambda: (draw(3), torch.tensor([1.0, 2.0, 0.5], dtype=DOUBLE)), weighted_mean),
          "apache/mxnet#14229: a weighted softmax loss, scaled by the sum of the weights"),
    entry("eps_of_the_default", SoftSign, SoftSignTwin, lambda: (draw(4), 1.0), 2,
          compared(lambda: (draw(4), 0.5), soft_sign)),
    entry("the_other_direction", RunningSum, RunningSumTwin, lambda: (draw(4), False), 2,
          compared(lambda: (draw(4), True), running_sum),
          source="fla-org/flash-linear-attention#1095: the reverse of a running sum took another way, and lost it"),
    entry("indices_of_32_bits", NarrowIndex, NarrowIndexTwin, lambda: (draw(4, 2), torch.tensor([2, 0])), 2,
          compared(lambda: (draw(4, 2), torch.tensor([2, 0], dtype=torch.int32)), lambda t, i: t[i]),
          source="pytorch/pytorch#188467: with int32 indices the gradient of the last row was dropped"),
    entry("tail_beyond_whole_blocks", TailOfBlocks, TailOfBlocksTwin, lambda: (draw(2, 5),), 3,
          compared(lambda: (draw(2, 130),), row_sums),
          "mitsuba-renderer/drjit#421: the gradient of a block sum, where the block does not divide the size"),
    entry("rows_of_1024", LongRows, LongRowsTwin, lambda: (draw(2, 3),), 3,
          compared(lambda: (draw(1, 1025),), row_sums),
          source="bytedance/lightseq#137: a limit of the size was lifted in the forward, and not in the backward"),
    entry("gelu_beyond_two_and_a_half", GeluTail, GeluTailTwin, lambda: (draw(4),), 3,
          compared(lambda: (draw(4, low=2.6, high=3.5),), F.gelu),
          source="tenstorrent/tt-metal#54867: the gradient of gelu was 1 from 3.17 on, where it is 1.0075"),
    entry("sinc_near_zero", SincNearZero, SincNearZeroTwin, lambda: (draw(4, low=0.5, high=2),), 3,
          compared(lambda: (draw(4, low=0.1, high=0.19),), sinc),
          source="jax-ml/jax#34139: the gradient of sinc was far off near 0"),
    entry("more_than_sixteen_taps", ManyTaps, ManyTapsTwin, lambda: (draw(5), draw(3, seed=1)), 3,
          compared(lambda: (draw(5), draw(20, seed=1)), weighted_sum)),
    entry("cosine_in_single_precision", CosineSingle, CosineSingleTwin, lambda: (draw(3),), 4,
          compared(lambda: (draw(3),), torch.sin),
          source="pytorch/extension-cpp#42: a kernel for doubles used functions of single precision"),
    entry("count_in_float16", HalfCount, HalfCountTwin, lambda: (draw(4),), 4, _many_halves,
          "tinygrad/tinygrad#15363: a count of 70000 overflowed in float16, and the gradient was zero"),
    entry("sum_of_exponentials_in_float16", HalfLogSum, HalfLogSumTwin, lambda: (draw(4),), 4, _many_halves,
          "google-research/last#43: a log-sum over 65536 float16 numbers gave zero gradients"),
    entry("norm_weight_of_another_dtype", MixedNorm, MixedNormTwin, lambda: (draw(3, 4), draw(4, seed=1)), 5,
          _rms_weight,
          "NVIDIA/apex#1652: the weight's gradient of a mixed RMSNorm was far off"),
    entry("bias_of_another_dtype", MixedBias, MixedBiasTwin, lambda: (draw(3, 4), draw(4, seed=1)), 5, _bias_beside,
          source="tensorflow/tensorflow#47884: gradients of 0 in mixed precision"),
    entry("two_views_of_a_half", Average, AverageTwin, lambda: (draw(3), draw(3, seed=1)), 6,
          _shared(lambda: (draw(3), draw(3, seed=1))),
          "pytorch/pytorch#46168: gradients of one storage go their ways, and writing into one alters the other"),
    entry("overlapping_slices", Shifts, ShiftsTwin, lambda: (draw(3), draw(3, seed=1)), 6,
          _shared(lambda: (draw(3), draw(3, seed=1)))),
    entry("rank_of_the_thread", Ranked, RankedTwin, lambda: (draw(3),), 7,
          _in_thread(lambda: (draw(3),), lambda x: 2 * x.exp()),
          "pytorch/xla#3949: a rank in a thread local was another one in the backward's thread"),
    entry("cache_by_thread", ByThread, ByThreadTwin, lambda: (draw(3),), 7,
          _in_thread(lambda: (draw(3),), lambda x: 5 * x * x)),
    entry("detached_and_compiled", CubeDetached, Cube, lambda: (draw(3),), 8, _compiled(lambda x: 3 * x * x),
          "pytorch/pytorch#193279: the backward of a Function was dropped under compile and torch.func.grad"),
    entry("copied_and_compiled", CubeOfACopy, Cube, lambda: (draw(3),), 8, _compiled(lambda x: 3 * x * x),
          source="pytorch/pytorch#136662: torch.compile of torch.func.grad gave half of a gradient"),
    entry("leaf_of_a_partial", functools.partial(scaled, scale=SCALE, function=ScaledCosine),
          functools.partial(scaled, scale=SCALE, function=ScaledSine), lambda: (draw(3, 4),), 9,
          _of_leaf(SCALE, lambda x: x.sin().sum(0))),
    entry("weight_of_a_module_in_a_closure", through_a_module(ScaledCosine), through_a_module(ScaledSine),
          lambda: (draw(3, 4),), 9, _of_leaf(LINEAR.weight, lambda x: x.sin().sum(0))),
    entry("beyond_the_range_of_eight_bits", BeyondRange, BeyondRangeTwin, lambda: (draw(3),), 10,
          compared(lambda: (draw(3, low=9, high=10),), quantised_range),
          "microsoft/nni#3159: a quantiser's gradient was not masked where it saturates", reference=quantised_range),
    entry("below_the_range", BelowRange, BelowRangeTwin, lambda: (draw(3),), 10,
          compared(lambda: (draw(3, low=-40, high=-35),), lower_bound),
          "es-ude/elastic-ai.creator#264: gradients beyond the range of a fixed-point number", reference=lower_bound),
    entry("relu_in_the_data", relu_written, relu_twin, lambda: (draw(3, low=0.1),), 11,
          _written(lambda: (draw(3, low=-1, high=-0.5, grad=False),)),
          source="osmr/imgclsmob#13: relu in place changed the tensor that others still used"),
    entry("weight_renormed_in_place", renormed, renormed_twin,
          lambda: (draw(3, low=0.1, high=0.4), draw(3, seed=2, high=0.2)), 11,
          _written(lambda: (draw(3, grad=False), draw(3, low=2, high=3, grad=False))),
          source="pytorch/pytorch#28959: an embedding with max_norm writes into its weight"),
    entry("mask_of_empty_rows_filled", attends, attends_twin, lambda: (draw(3, 4), EVERY.clone()), 11,
          _written(lambda: (draw(3, 4, grad=False), ~EVERY)),
          source="Shujun-He/RibonanzaNet#7: a mask was altered in place, and was another one for the next layer"),
    entry("softplus_overflows", softplus, F.softplus, lambda: (draw(1, 3),), 12, _stays_finite,
          "tracel-ai/burn#5373: softplus by exp was infinite from 89 on, and its gradient nan"),
    entry("sigmoid_overflows", sigmoid, torch.sigmoid, lambda: (draw(1, 3),), 12, _stays_finite,
          source="clab/dynet#1525: sigmoid by exp was nan from 89 on"),
    entry("tanh_overflows", tanh, torch.tanh, lambda: (draw(1, 3),), 12, _stays_finite,
          source="ROCm/triton#900: tanh by exp(2x) was nan for large x"),
]  # fmt: skip
