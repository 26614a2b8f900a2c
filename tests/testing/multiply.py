"""A product with a wrong gradient, and the text of a failure."""

import torch

import torchbp


class Multiply(torch.autograd.Function):
    """input ∘ weight; the gradient of the weight is that of the input."""

    @staticmethod
    def forward(ctx, input, weight):
        ctx.save_for_backward(input, weight)
        return input * weight

    @staticmethod
    def backward(ctx, incoming):
        _, weight = ctx.saved_tensors
        return incoming * weight, incoming * weight


def numbers(*shape):
    return torch.randn(*shape, requires_grad=True)


def failure(function, inputs, check, **options):
    report = torchbp.check(function, inputs, checks=check, raise_exception=False, **options)
    assert report[check].status == "FAIL", str(report)
    return "\n".join(report[check].lines())
