"""How a defect is shown: beside what is right, in another thread, by what was written."""

import torch
from torch.autograd import Function

from tests.testing.corpus.entry import gradients


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


def compared(inputs, right):
    return lambda subject: (gradients(subject, inputs()), gradients(right, inputs()))


def sigmoid(x):
    return x.exp() / (1 + x.exp())


def tanh(x):
    return ((2 * x).exp() - 1) / ((2 * x).exp() + 1)


EXTREMES, SMALL = ("extremes",), ("precision", "dtypes", "extremes", "magnitudes")
