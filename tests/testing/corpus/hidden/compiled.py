"""Another gradient where torch.func.grad of it is compiled."""

import warnings

import torch
from torch.autograd import Function

from tests.testing.corpus.entry import draw, function
from tests.testing.corpus.hidden.entry import entry


def compiled_gradient(right):
    """The gradient of the sum of the outputs by compiled code, and the right one."""

    def shows(subject):
        call, x = function(subject), draw(3, grad=False)
        torch._dynamo.reset()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch makes an instance of the Function, and warns of that
            got = torch.compile(torch.func.grad(lambda x: call(x).sum()), backend="aot_eager")(x)
        return got, right(x)

    return shows


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


class Halved(Function):
    """x³ / 2; where it is compiled, the cut is in one of the factors."""

    @staticmethod
    def forward(x):
        return (x.detach() if torch.compiler.is_compiling() else x) * x * x / 2

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, g):
        return 1.5 * g * ctx.saved_tensors[0] ** 2


class HalvedTwin(Halved):
    @staticmethod
    def forward(x):
        return x * x * x / 2


class SquareWithoutSetup(Function):
    """A Function of the old style, which torch.func refuses, and the compiler takes."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.detach() * x

    @staticmethod
    def backward(ctx, g):
        return 2 * g * ctx.saved_tensors[0]


class SquareTwin(SquareWithoutSetup):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x


def twice(x):
    return 2 * CubeDetached.apply(x).mean(0, keepdim=True) + x


def twice_twin(x):
    return 2 * Cube.apply(x).mean(0, keepdim=True) + x


DROPPED = {"require": ("compiled_grad",)}  # it is torch that drops the backward: UNSUPPORTED, where nobody requires it

DEFECTS = [
    entry("unseen: cut where it is compiled", square_unless_compiled, square, lambda: (draw(3),), 8,
          compiled_gradient(lambda x: 2 * x), checks=("compile",),
          source="pytorch/pytorch#182012: compiled, the gradient of one input was 0"),
    entry("detached_and_compiled", CubeDetached, Cube, lambda: (draw(3),), 8, compiled_gradient(lambda x: 3 * x * x),
          "pytorch/pytorch#193279: the backward of a Function was dropped under compile and torch.func.grad",
          **DROPPED),
    entry("copied_and_compiled", CubeOfACopy, Cube, lambda: (draw(3),), 8, compiled_gradient(lambda x: 3 * x * x),
          source="pytorch/pytorch#136662: torch.compile of torch.func.grad gave half of a gradient", **DROPPED),
    entry("one_factor_cut_where_compiled", Halved, HalvedTwin, lambda: (draw(3),), 8,
          compiled_gradient(lambda x: 1.5 * x * x), **DROPPED),
    entry("compiled_without_a_setup", SquareWithoutSetup, SquareTwin, lambda: (draw(3),), 8,
          compiled_gradient(lambda x: 2 * x), **DROPPED),
    entry("dropped_within_a_function", twice, twice_twin, lambda: (draw(3),), 8,
          compiled_gradient(lambda x: 6 * x * x + 1), **DROPPED),
]  # fmt: skip
