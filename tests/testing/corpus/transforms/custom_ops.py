"""Registered operators that do not keep what they register."""

import torch
from torch import Tensor
from torch.library import custom_op, opcheck

from tests.testing.corpus.entry import Defect, draw, raised, second


def sine_op(name, scratch=False):
    """sin with a scratch tensor, which one of the two writes without saying so."""

    @custom_op(f"torchbp_corpus::{name}", mutates_args=())
    def op(x: Tensor, calls: Tensor) -> Tensor:
        if scratch:
            calls.add_(1)
        return torch.sin(x)

    @op.register_fake
    def _(x, calls):
        return torch.empty_like(x)

    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])

    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * torch.cos(x), None

    op.register_autograd(backward, setup_context=setup_context)
    return op


def energy_op(name, shape, rule):
    """Sums of squares of each row, with a fake of that shape and that rule of vmap."""

    @custom_op(f"torchbp_corpus::{name}", mutates_args=())
    def op(x: Tensor) -> Tensor:
        return x.square().sum(-1)

    @op.register_fake
    def _(x):
        return x.new_empty(shape(x))

    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])

    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * grad.unsqueeze(-1) * x

    op.register_autograd(backward, setup_context=setup_context)
    op.register_vmap(rule)
    return op


def exp_op(name, slope):
    """exp, with the slope of the backward."""

    @custom_op(f"torchbp_corpus::{name}", mutates_args=())
    def op(x: Tensor) -> Tensor:
        return torch.exp(x)

    @op.register_fake
    def _(x):
        return torch.empty_like(x)

    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])

    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * slope(x)

    op.register_autograd(backward, setup_context=setup_context)
    return op


def rows_shape(x):
    return x.shape[:-1]


def right_rule(info, in_dims, x):
    return x.movedim(in_dims[0], 0).square().sum(-1), 0


def rule_over_batch(info, in_dims, x):
    return x.movedim(in_dims[0], -1).square().sum(-1), 0


def numpy_slope(x):
    return torch.from_numpy(x.detach().exp().numpy())


sine = sine_op("sine")
sine_writes = sine_op("sine_writes", scratch=True)
energy = energy_op("energy", rows_shape, right_rule)
energy_fake_shape = energy_op("energy_fake_shape", lambda x: x.shape, right_rule)
energy_vmap_over_batch = energy_op("energy_vmap_over_batch", rows_shape, rule_over_batch)
exp = exp_op("exp", torch.exp)
exp_numpy_backward = exp_op("exp_numpy_backward", numpy_slope)


def checked(*inputs):
    """What torch's own opcheck says."""
    utilities = ("test_schema", "test_autograd_registration", "test_faketensor")
    return lambda subject: (raised(lambda: opcheck(subject, inputs, test_utils=utilities)), "nothing")


def mapped(subject):
    x = draw(3, 3, 3, grad=False)
    return torch.vmap(subject)(x), x.square().sum(-1)


def second_of_exp(subject):
    return second(subject, (draw(3),)), second(torch.exp, (draw(3),))


def entry(name, what, twin, inputs, shows, *checks, source=""):
    return Defect(name, what, inputs, twin=twin, checks=("custom_op", *checks), kind=14, shows=shows, source=source)


DEFECTS = [
    # the schema hides that an argument is written
    entry(
        "schema_hides_mutation",
        sine_writes,
        sine,
        lambda: (draw(3), torch.zeros(())),
        checked(draw(3), torch.zeros(())),
        "side_effects",
        source="pytorch/pytorch#91249: operators that write their inputs without saying so in the schema",
    ),
    # the fake has the shape of the input
    entry(
        "fake_of_another_shape",
        energy_fake_shape,
        energy,
        lambda: (draw(2, 3),),
        checked(draw(2, 3)),
        "compile",
        "meta",
        source="pytorch/pytorch#182328: an operator's output changed its shape and the registered fake did not",
    ),
    # the registered rule of vmap sums over the batch
    entry("op_vmap_over_the_batch", energy_vmap_over_batch, energy, lambda: (draw(3, 3),), mapped, "vmap"),
    # the registered backward leaves torch for numpy: no second derivative, and none is refused
    entry("op_numpy_backward", exp_numpy_backward, exp, lambda: (draw(3),), second_of_exp, "second_order", "compile"),
]
