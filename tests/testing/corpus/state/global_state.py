"""Random states, and what two calls share."""

import numpy as np
import torch
from torch.autograd import Function

from tests.testing.corpus.entry import draw, function
from tests.testing.corpus.state.demonstrations import entry


def project(x):
    """Two projections by signs, always the same ones."""
    places = torch.arange(2 * x.shape[-1], device=x.device).view(-1, 2)
    return x @ (places * places % 3 * 2 - 1).to(x.dtype)


def project_seeded(x):
    torch.manual_seed(0)  # "always the same ones"
    return x @ (torch.randint(2, (x.shape[-1], 2)).to(x.dtype) * 2 - 1)


def ramp(x):
    return x * torch.linspace(0, 1, x.shape[-1], dtype=x.dtype, device=x.device)


def ramp_numpy_seeded(x):
    np.random.seed(0)  # noqa: NPY002
    return ramp(x)


class Square(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * grad * x


class SquareOnClass(Square):
    @staticmethod
    def forward(ctx, x):
        SquareOnClass.x = x.detach().clone()
        return x.square()

    @staticmethod
    def backward(ctx, grad):
        return 2 * grad * SquareOnClass.x


class SquareIntoBuffer(Square):
    buffers: dict = {}  # noqa: RUF012

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        key = (x.shape, x.dtype, x.device)
        if key not in SquareIntoBuffer.buffers:
            SquareIntoBuffer.buffers[key] = torch.empty_like(x)
        buffer = SquareIntoBuffer.buffers[key]
        buffer.copy_(x.square())
        return buffer.detach()


def draw_after(subject):
    torch.manual_seed(5)
    right = torch.rand(1).item()
    torch.manual_seed(5)
    subject(draw(2, 3))
    return torch.rand(1).item(), right


def numpy_draw_after(subject):
    np.random.seed(5)  # noqa: NPY002
    right = np.random.rand()  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    subject(draw(2, 3))
    return np.random.rand(), right  # noqa: NPY002


def first_of_two(subject):
    """Output and gradient of a call while another is alive."""
    x, other = draw(3), draw(3, seed=1)
    y = function(subject)(x)
    _alive = function(subject)(other)
    return (y, *torch.autograd.grad(y.sum(), x)), (x.square(), 2 * x)


DEFECTS = [
    # the global random state is reset at each call
    entry(
        "reseeds_torch",
        project_seeded,
        project,
        lambda: (draw(2, 3),),
        draw_after,
        source="huggingface/diffusers#175: torch.manual_seed inside a training loop set the global seed",
    ),
    # numpy's global random state is reset at each call
    entry(
        "reseeds_numpy",
        ramp_numpy_seeded,
        ramp,
        lambda: (draw(2, 3),),
        numpy_draw_after,
        source="Qiskit/qiskit#2850: numpy.random.seed in a library set the seed of the whole program",
    ),
    # the value for the backward lies on the class: the last call's is used
    entry(
        "value_on_the_class",
        SquareOnClass,
        Square,
        lambda: (draw(3),),
        first_of_two,
        source="pytorch/pytorch#16947: a value on the shared Function object was another replica's in the backward",
    ),
    # every call returns the same memory
    entry(
        "returns_one_buffer",
        SquareIntoBuffer,
        Square,
        lambda: (draw(3),),
        first_of_two,
        source="flashinfer-ai/flashinfer#4627: a cache returned one output tensor at every call of a size",
    ),
]
