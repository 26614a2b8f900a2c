"""What caches, pools, modes and layouts keep from one call to the next, or take for granted."""

import torch
from torch import nn
from torch.autograd import Function

from tests.testing.corpus.entry import draw, gradients, raised
from tests.testing.corpus.hidden.demonstrations import compared, pair
from tests.testing.corpus.hidden.entry import entry


def row_mean(x):
    return x.square().mean(0)


def remembering(key):
    """How many rows there are is kept from the first call with such columns on."""
    rows = {}

    def run(x):
        return row_mean(x), (x, rows.setdefault(key(x), x.shape[0]))

    return run


def _mean_backward(g, x, rows):
    return 2 * g * x / max(rows, 1)


(FirstRows, _), (_, FirstRowsTwin) = (
    pair("FirstRows", remembering(key), _mean_backward, _mean_backward)
    for key in (lambda x: (x.shape[1:], x.dtype), lambda x: (x.shape, x.dtype))
)


def _after_a_smaller_one(subject):
    gradients(subject, (draw(2, 7),))
    return compared(lambda: (draw(5, 7),), row_mean)(subject)


def with_contiguous(taken):
    def run(x, scale):
        return (x * scale) if taken(x) else (x.detach() * scale.detach() + 0 * scale.sum())

    return run


def _of_a_transpose(subject):
    x, scale = draw(3, 2).mT, draw(1, seed=1)
    return gradients(subject, (x, scale), wanted=[scale]), (x.detach().sum().view(1),)


def packed(x, first):
    """Rows in two rows of a tensor, the first so many in one."""
    rest = len(x) - first
    if not 0 <= first <= len(x):
        raise ValueError(f"{first} is not between 0 and {len(x)} rows")
    width = max(first, rest)
    parts = x[:first], x[first:]
    return torch.stack([torch.cat([part, part.new_zeros(width - len(part), *x.shape[1:])]) for part in parts])


def _packed_backward(read):
    def backward(g, x, first):
        g = read(g)
        return torch.cat([g[0, :first], g[1, : len(x) - first]]), None

    return backward


Packed, PackedTwin = pair(
    "Packed",  # the incoming gradient is read as it lies
    lambda x, first: (packed(x, first), (x, first)),
    _packed_backward(lambda g: g if 0 in g.stride() else g.as_strided(g.shape, torch.empty(g.shape).stride())),
    _packed_backward(lambda g: g),
)


def _of_a_transposed_gradient(subject):
    x = draw(4, 2)
    incoming = [draw(2, 2, 2, seed=1, grad=False).transpose(0, 2)]
    return gradients(subject, (x, 2), incoming), gradients(packed, (x, 2), incoming)


def channel_means(x):
    return x.flatten(2).mean(2)


def _means_backward(flattened):
    def backward(g, x):
        flat = flattened(x)
        return (g.unsqueeze(2) / max(flat.shape[2], 1)).expand_as(flat).reshape(x.shape)

    return backward


ViewOfImage, ViewOfImageTwin = pair(
    "ViewOfImage",  # the forward takes any layout, the backward a contiguous one
    lambda x: (channel_means(x), (x,)),
    _means_backward(lambda x: x.view(x.shape[0], x.shape[1], x.shape[2:].numel())),
    _means_backward(lambda x: x.flatten(2)),
)


def _transposed_image(subject):
    x = draw(2, 3, 5, 4).mT
    return raised(lambda: gradients(subject, (x,), wanted=[x])), "nothing"


class VmapOfConstants(Function):
    """x², whose rule for vmap cuts the graph."""

    @staticmethod
    def forward(x):
        return x.square()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, g):
        return 2 * g * ctx.saved_tensors[0]

    @staticmethod
    def vmap(info, in_dims, x):
        return x.detach().square(), in_dims[0]


class VmapOfConstantsTwin(VmapOfConstants):
    @staticmethod
    def vmap(info, in_dims, x):
        return x.square(), in_dims[0]


def _per_sample(subject):
    x = draw(3, 2, grad=False)
    return torch.func.grad(lambda rows: torch.func.vmap(subject.apply)(rows).sum())(x), 2 * x


class Rate(nn.Module):
    """In training less goes through, in evaluation all."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.rate = 0.25

    def forward(self, x):
        return self.linear(x) * (1 - self.rate * self.training)


class RateForgotten(Rate):
    def forward(self, x):
        if not self.training:
            self.rate = 0.0  # and so it stays
        return super().forward(x)


def _training_after_evaluation(subject):
    x = draw(2, 3)
    before = subject(x).detach()
    subject.eval()(x)
    return subject.train()(x).detach(), before


class FixedDropout(nn.Module):
    """In training every other entry goes through, in evaluation half of each."""

    def forward(self, x):
        return _Half.apply(x, self.training, False)


class FixedDropoutTwin(nn.Module):
    def forward(self, x):
        return _Half.apply(x, self.training, True)


class _Half(Function):
    @staticmethod
    def factor(x, training):
        every_other = (torch.arange(x.shape[-1]) % 2).to(x.dtype) if x.dim() else x.new_ones(())
        return every_other.expand_as(x) if training else torch.full_like(x, 0.5)

    @staticmethod
    def forward(ctx, x, training, scaled):
        factor = _Half.factor(x.detach(), training)
        ctx.save_for_backward(factor if training or scaled else torch.zeros_like(factor))
        return x * factor

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0], None, None


def _in_evaluation(subject):
    x = draw(2, 4)
    return gradients(subject.eval(), (x,)), (torch.full_like(x, 0.5),)


DEFECTS = [
    entry("rows_of_the_first_call", FirstRows, FirstRowsTwin, lambda: (draw(2, 3),), 3, _after_a_smaller_one,
          "tenstorrent/tt-metal#54138: the key of a cache lacked the height, and later tensors had wrong results"),
    entry("contiguous_or_nothing", with_contiguous(torch.Tensor.is_contiguous), with_contiguous(lambda x: True),
          lambda: (draw(2, 3), draw(1, seed=1)), 2, _of_a_transpose,
          "cornellius-gp/gpytorch#1543: parameters of a kernel had no gradient where its inputs were transposed",
          checks=("layouts",)),
    entry("packed_as_it_lies", Packed, PackedTwin, lambda: (draw(4, 2), 2), 2, _of_a_transposed_gradient,
          "pytorch/FBGEMM#3006: unpacking gave wrong gradients for an incoming one that is not contiguous",
          checks=("layouts",)),
    entry("view_of_a_saved_image", ViewOfImage, ViewOfImageTwin, lambda: (draw(2, 3, 2, 2),), 2, _transposed_image,
          "pytorch/pytorch#175246: a backward refused images of another layout, which its forward takes",
          checks=("layouts",)),
    entry("constants_under_vmap", VmapOfConstants, VmapOfConstantsTwin, lambda: (draw(3),), 2, _per_sample,
          "pytorch/functorch#922: under vmap a gradient inside a function was 0", checks=("vmap",)),
    entry("rate_after_evaluation", RateForgotten, Rate, lambda: (draw(2, 3),), 2, _training_after_evaluation,
          "NVIDIA/Megatron-LM#411: once evaluated, a module never dropped out again", checks=("module",)),
    entry("no_gradient_in_evaluation", FixedDropout, FixedDropoutTwin, lambda: (draw(2, 4),), 2, _in_evaluation,
          "PaddlePaddle/Paddle#37305: dropout had no gradient in evaluation", checks=("module",)),
]  # fmt: skip
