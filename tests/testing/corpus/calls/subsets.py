"""Right where every argument requires a gradient, and wrong where some are frozen or the same."""

import torch
from torch.autograd import Function

from tests.testing.corpus.calls.incoming import vector
from tests.testing.corpus.entry import Defect, draw, gradients
from tests.testing.corpus.products import Multiply


class MultiplyAsNeeded(Multiply):
    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        grad = grad.to(weight.dtype)
        of_x = grad @ weight if ctx.needs_input_grad[0] else None
        of_weight = grad.t() @ x if ctx.needs_input_grad[1] else None
        return of_x, of_weight


class MultiplyNested(MultiplyAsNeeded):
    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        grad = grad.to(weight.dtype)
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = grad @ weight
            if ctx.needs_input_grad[1]:
                of_weight = grad.t() @ x
        return of_x, of_weight


class MultiplyUnbound(MultiplyAsNeeded):
    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        grad = grad.to(weight.dtype)
        if ctx.needs_input_grad[0]:
            of_x = grad @ weight
        if ctx.needs_input_grad[1]:
            of_weight = grad.t() @ x
        return of_x, of_weight


class Affine(Function):
    @staticmethod
    def forward(ctx, x, scale, shift):
        ctx.save_for_backward(x, scale)
        return x * scale + shift

    @staticmethod
    def backward(ctx, grad):
        x, scale = ctx.saved_tensors
        need_x, need_scale, need_shift = ctx.needs_input_grad
        return grad * scale if need_x else None, grad * x if need_scale else None, grad if need_shift else None


class AffineWrongIndex(Affine):
    @staticmethod
    def backward(ctx, grad):
        x, scale = ctx.saved_tensors
        need = ctx.needs_input_grad
        return grad * scale if need[0] else None, grad * x if need[1] else None, grad if need[1] else None


class AffineFrozenShortcut(Affine):
    @staticmethod
    def backward(ctx, grad):
        x, scale = ctx.saved_tensors
        if not ctx.needs_input_grad[1]:  # "a frozen scale is one"
            return grad, None, grad
        return grad * scale, grad * x, grad


class Times(Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return a * b

    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        return grad * b, grad * a


class TimesSquare(Times):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        ctx.same = a is b
        return a * b

    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        if ctx.same:  # "the derivative of a square", to each of both
            return 2 * grad * a, 2 * grad * a
        return grad * b, grad * a


def matrices():
    return draw(2, 3), draw(4, 3, seed=1)


def triple():
    return draw(3), draw(3, seed=1), draw(3, seed=2)


def twice(subject):
    """The gradient of a tensor that is both arguments."""
    (x,) = vector()
    return torch.autograd.grad(subject.apply(x, x).sum(), x)[0], 2 * x


def with_frozen(reference, inputs, *frozen):
    def shows(subject):
        arguments = [x.detach() if i in frozen else x for i, x in enumerate(inputs())]
        try:
            return gradients(subject, arguments), gradients(reference, arguments)
        except UnboundLocalError as error:
            return type(error).__name__, gradients(reference, arguments)

    return shows


def subset(name, what, twin, reference, inputs, *frozen, source=""):
    return Defect(
        name,
        what,
        inputs,
        twin=twin,
        checks=("subsets",),
        kind=4,
        shows=with_frozen(reference, inputs, *frozen),
        source=source,
    )


def product(x, weight):
    return x @ weight.t()


def affine(x, scale, shift):
    return x * scale + shift


DEFECTS = [
    # the weight has a gradient only where the input has one, too
    subset(
        "nested_needs_input_grad",
        MultiplyNested,
        MultiplyAsNeeded,
        product,
        matrices,
        0,
        source="AkaneTendo25/musubi-tuner#90: a layer's weight was not trained where its input required no gradient",
    ),
    # a variable unbound where the input is frozen
    subset(
        "unbound_where_frozen",
        MultiplyUnbound,
        MultiplyAsNeeded,
        product,
        matrices,
        0,
        source="mgmalek/efficient_cross_entropy#8: gradients not set to None where one input required none",
    ),
    # the bias asks for the weight's place in needs_input_grad
    subset("needs_input_grad_of_another", AffineWrongIndex, Affine, affine, triple, 1),
    # one tensor as both arguments has its gradient twice
    Defect(
        "same_tensor_twice",
        TimesSquare,
        lambda: (draw(3), draw(3, seed=1)),
        twin=Times,
        checks=("subsets", "values", "linearity", "side_effects"),
        kind=4,
        shows=twice,
        source="pytorch/pytorch#183604: compiled, a Function of one tensor twice gave half of its gradient",
    ),
    # another formula where the scale is frozen
    subset("frozen_shortcut", AffineFrozenShortcut, Affine, affine, triple, 1),
]
