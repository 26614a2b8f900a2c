"""Right for contiguous tensors only."""

import torch
from torch.autograd import Function

from tests.testing.corpus.entry import Defect, draw, gradients


def memory(x):
    """What a kernel reads that takes x for contiguous."""
    strides = torch.empty(x.shape, device="meta").stride()
    return torch.as_strided(x, x.shape, strides, x.storage_offset())


class Sine(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.sin(x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * torch.cos(x)


class SineIncomingFromMemory(Sine):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return memory(grad) * torch.cos(x)


class SineIncomingViewed(Sine):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return (grad.view(-1) * torch.cos(x).reshape(-1)).view(x.shape)


class SineInputFromMemory(Sine):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.sin(memory(x))


class SineOutputLikeInput(Sine):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        out = torch.empty_like(x)  # as strided as x
        out.as_strided((x.numel(),), (1,)).copy_(torch.sin(x).reshape(-1))
        return out


class SineRowsFromMemory(Sine):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        if x.stride(-1) != 1:
            x = x.contiguous()
        return torch.sin(memory(x))


def incoming(subject):
    """With an incoming gradient that is a transpose."""
    x = draw(2, 3)
    grad = draw(3, 2, seed=1, grad=False).t()
    try:
        return gradients(subject, (x,), [grad]), gradients(torch.sin, (x,), [grad])
    except RuntimeError as error:
        return type(error).__name__, gradients(torch.sin, (x,), [grad])


def input_of(layout):
    """Output and gradient of an input of that layout."""

    def shows(subject):
        base = draw(3, 4)
        x = layout(base)
        return (
            (subject.apply(x), *gradients(subject, (x,), wanted=[base])),
            (torch.sin(x), *gradients(torch.sin, (x,), wanted=[base])),
        )

    return shows


def entry(name, what, shows, source=""):
    return Defect(name, what, lambda: (draw(3, 4),), twin=Sine, checks=("layouts",), kind=5, shows=shows, source=source)


DEFECTS = [
    # the incoming gradient is read in the order of a contiguous one
    entry(
        "incoming_read_as_contiguous",
        SineIncomingFromMemory,
        incoming,
        "Dao-AILab/flash-attention#355: a wrong backward for output gradients that are not contiguous",
    ),
    # .view of the incoming gradient
    entry(
        "incoming_viewed",
        SineIncomingViewed,
        incoming,
        "NVIDIA/apex#1601: .view of an incoming gradient that was not contiguous crashed the backward",
    ),
    # the input is read in the order of a contiguous one
    entry(
        "input_read_as_contiguous",
        SineInputFromMemory,
        input_of(lambda x: x.t()),
        "MrNeRF/optimized-fused-ssim#1: wrong gradients for a permuted image until it was made contiguous",
    ),
    # empty_like keeps the input's strides, and is filled as if it were contiguous
    entry(
        "output_like_a_transposed_input",
        SineOutputLikeInput,
        input_of(lambda x: x.t()),
        "flagos-ai/FlagGems#4831: empty_like kept a transposed layout, and the kernel wrote elsewhere",
    ),
    # only the last stride is looked at: rows that lie apart are not noticed
    entry(
        "row_stride_ignored",
        SineRowsFromMemory,
        input_of(lambda x: x[:, :2]),
        "NVIDIA/TransformerEngine#2734: the guard looked at stride(-1) alone, and the loss was silently wrong",
    ),
]
