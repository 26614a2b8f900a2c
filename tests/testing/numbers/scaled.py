"""A gradient that is off by a factor, and which checks fail."""

import torch
from torch.autograd import Function

import torchbp


def scaled(right, wrong=1.0):
    """A Function of a function, whose gradient is multiplied by a number."""

    class Scaled(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return right(x)

        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                return wrong * torch.autograd.grad(right(x), x, grad)[0]

    return Scaled


def statuses(function, inputs, checks="default", **options):
    report = torchbp.check(function, inputs, checks=checks, raise_exception=False, **options)
    return {result.check for result in report.failed}, str(report)
