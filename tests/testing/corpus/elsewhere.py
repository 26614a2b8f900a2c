"""Right at the inputs that are given, and wrong elsewhere: at branches, ties, in other sizes, layouts, precisions."""

import torch
from torch.autograd import Function
from torch.nn.functional import hardswish

from tests.testing.corpus.entry import DOUBLE, Defect, draw, gradients


class HardSwish(Function):
    """x relu6(x + 3) / 6, whose slope is 1 from 3 on."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return hardswish(x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        slope = torch.where(x >= 3, 1.0, (2 * x + 3) / 6)
        return grad * torch.where(x <= -3, 0.0, slope)


class HardSwishInTheMiddle(HardSwish):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * (2 * x + 3) / 6


class Power4(Function):
    """x⁴."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**4

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * 4 * x**3


class Power4OfPositives(Power4):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * 4 * torch.exp(3 * torch.log(x.abs()))


class Sine(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.sin(x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * torch.cos(x)


class SineOfNonzeros(Sine):
    """Zeros are taken for padding."""

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * torch.cos(x) * (x != 0)


class SineByFirstStride(Sine):
    """An incoming gradient whose rows lie in one place is read as one row and zeros."""

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        if grad.dim() > 1 and grad.stride(0) == 0:
            grad = torch.cat([grad[:1], torch.zeros_like(grad[1:])])
        return grad * torch.cos(x)


class SineInMemoryOrder(Sine):
    """The numbers are taken in the order of the memory, as a kernel by pointer does that knows only transposition."""

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        if grad.dim() == 3 and grad.stride(1) > grad.stride(0) > grad.stride(2):
            grad = grad.transpose(0, 1).reshape(grad.shape)
        return grad * torch.cos(x)


class SineSkipsBalanced(Sine):
    """A shortcut for a zero gradient looks at its sum."""

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * torch.cos(x) if grad.sum().abs() > 1e-12 else torch.zeros_like(grad)


class SineDropsTiny(Sine):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return torch.where(grad.abs() > 1e-8, grad, 0.0) * torch.cos(x)


def distance(x, y):
    return torch.linalg.vector_norm(x - y, dim=-1)


def distance_by_where(x, y):
    """The trap of the branch that is not taken: 0 · ∞ where x = y."""
    squares = (x - y).square().sum(-1)
    return torch.where(squares > 0, squares.sqrt(), 0.0)


class Blocks(Function):
    """2 x, in blocks of two columns."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, grad):
        return Blocks.filled(grad, grad.shape[-1])

    @staticmethod
    def filled(grad, end):
        result = torch.zeros_like(grad)
        result[..., :end] = 2 * grad[..., :end]
        return result


class BlocksWithoutTail(Blocks):
    @staticmethod
    def backward(ctx, grad):
        return Blocks.filled(grad, grad.shape[-1] // 2 * 2)


class Add(Function):
    """x + 2 y, where y may have one row."""

    @staticmethod
    def forward(ctx, x, y):
        ctx.shapes = x.shape, y.shape
        return x + 2 * y

    @staticmethod
    def backward(ctx, grad):
        of_x, of_y = ctx.shapes
        return grad.sum_to_size(of_x), 2 * grad.sum_to_size(of_y)


class AddMeans(Add):
    @staticmethod
    def backward(ctx, grad):
        of_x, of_y = ctx.shapes
        of_one_row = grad.mean(0, keepdim=True) if len(of_y) == 2 and of_y[0] < len(grad) else grad
        return grad.sum_to_size(of_x), 2 * of_one_row.sum_to_size(of_y)


class Root(Function):
    """√(x² + 0.01) − 0.1."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.sqrt(x * x + 0.01) - 0.1

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * x / torch.sqrt(x * x + 0.01)


class RootBySign(Root):
    """x / |x| with a guard that is 0 in half precision."""

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        size = (x.square() + 1e-30).sqrt()
        return grad * (x / size) * (size / torch.sqrt(x * x + 0.01))


def at(reference, *points):
    def shows(subject):
        inputs = [torch.tensor(p, dtype=DOUBLE, requires_grad=True) for p in points]
        return gradients(subject, inputs), gradients(reference, inputs)

    return shows


def of(reference, *shape, incoming):
    def shows(subject):
        x = draw(*shape)
        return gradients(subject, (x,), (incoming,)), gradients(reference, (x,), (incoming,))

    return shows


def finite_in_half(subject):
    x = torch.zeros(3, dtype=torch.float16, requires_grad=True)
    return bool(gradients(subject, (x,))[0].isfinite().all()), True


def entry(name, what, twin, checks, shows, kind, *shapes, source="", low=-1.0, high=1.0):
    shapes = shapes or ((2, 3),)
    return Defect(
        name,
        what,
        lambda: tuple(draw(*shape, seed=i, low=low, high=high) for i, shape in enumerate(shapes)),
        twin=twin,
        checks=(checks,),
        kind=kind,
        shows=shows,
        source=source,
    )


FAR = "extremes"
DEFECTS = [
    # the formula of the middle branch, everywhere
    entry(
        "hardswish_middle",
        HardSwishInTheMiddle,
        HardSwish,
        FAR,
        at(hardswish, [5.0, -4.0]),
        8,
        source="pytorch/pytorch#51408: the gradient of hardsigmoid was 1/6 outside of its range, too",
    ),
    # x³ by its logarithm
    entry(
        "power_of_positives",
        Power4OfPositives,
        Power4,
        FAR,
        at(lambda x: x**4, [-1.0]),
        8,
        low=0.5,
        high=2.0,
        source="tenstorrent/tt-metal#54439: pow's gradient, by a logarithm, was infinite for negative bases",
    ),
    # zeros are no padding
    entry(
        "zeros_are_padding",
        SineOfNonzeros,
        Sine,
        FAR,
        at(torch.sin, [0.0, 1.0]),
        8,
        source="FudanNLP/fastNLP#142: an attention took every 0 among its inputs for padding",
    ),
    # equal points have the distance 0, and the gradient nan
    entry(
        "distance_of_equals",
        distance_by_where,
        distance,
        FAR,
        at(distance, [[1.0]], [[1.0]]),
        8,
        (2, 3),
        (2, 3),
        source="uw-ipd/tmol#146: the gradient of a distance of 0 was nan",
    ),
    # an eps that is 0 in half precision
    entry(
        "eps_of_half",
        RootBySign,
        Root,
        FAR,
        finite_in_half,
        10,
        low=0.5,
        high=2.0,
        source="lightonai/pylate#239: an eps of 1e-8 is 0 in float16, and all gradients were nan",
    ),
    # the gradient of out.sum(0)
    entry(
        "rows_of_one_place",
        SineByFirstStride,
        Sine,
        "layouts",
        of(torch.sin, 2, 3, incoming=torch.tensor([1.0, 2.0, 3.0], dtype=DOUBLE).expand(2, 3)),
        5,
        source="ROCm/TransformerEngine#623: an incoming gradient with stride 0 was read row by row, past its end",
    ),
    # the gradient of out.transpose(0, 1)
    entry(
        "first_dimensions_in_memory",
        SineInMemoryOrder,
        Sine,
        "layouts",
        of(torch.sin, 2, 2, 3, incoming=torch.arange(12.0, dtype=DOUBLE).view(2, 2, 3).transpose(0, 1)),
        5,
        (2, 2, 3),
    ),
    # a gradient that adds up to 0 is not 0
    entry(
        "balanced_is_zero",
        SineSkipsBalanced,
        Sine,
        "linearity",
        of(torch.sin, 2, incoming=torch.tensor([1.0, -1.0], dtype=DOUBLE)),
        3,
    ),
    # small gradients are gradients
    entry(
        "tiny_is_zero",
        SineDropsTiny,
        Sine,
        "linearity",
        of(torch.sin, 2, incoming=torch.full((2,), 1e-9, dtype=DOUBLE)),
        3,
    ),
    # the last block is not whole
    entry(
        "block_without_tail",
        BlocksWithoutTail,
        Blocks,
        "shapes",
        at(lambda x: 2 * x, [1.0, 2.0, 3.0]),
        9,
        (2, 4),
        source="triton-lang/triton#2020: with another block in the backward its grid did not cover all rows",
    ),
    # the gradient of what is broadcast is a sum
    entry(
        "broadcast_mean",
        AddMeans,
        Add,
        "shapes",
        at(lambda x, y: x + 2 * y, [[1.0], [2.0]], [[1.0]]),
        9,
        (2, 3),
        (2, 3),
        source="tensorflow/tfjs-core#398: the gradient of what was broadcast was the average, not the sum",
    ),
]
