"""Wrong for other batches than the one that gradcheck was given."""

import torch
from torch.autograd import Function

from tests.testing.corpus.entry import DOUBLE, Defect, draw, gradients
from tests.testing.corpus.products import Linear, Multiply


def energy(x):
    return x.square().sum(-1)


def energy_squeezed(x):
    return x.square().sum(-1, keepdim=True).squeeze()


def energy_stacked(x):
    return torch.stack([row.square().sum(-1) for row in x])


def softmax(x):
    return torch.softmax(x, -1)


def softmax_of_dimension_1(x):
    return torch.softmax(x, 1)


class Energy(Function):
    """Half the sum of squares of each row."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return 0.5 * x.square().sum(-1)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad.unsqueeze(-1) * x


class EnergyOverBatch(Energy):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad.unsqueeze(-1) * x / max(x.shape[0], 1)


class EnergyInTiles(Energy):
    tile = 4

    @classmethod
    def tiles(cls, grad, x):
        rows, weights = x.reshape(-1, x.shape[-1]), grad.reshape(-1, 1)
        whole = len(rows) // cls.tile * cls.tile
        return torch.cat([weights[:whole] * rows[:whole], torch.zeros_like(rows[whole:])]).reshape(x.shape)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return EnergyInTiles.tiles(grad, x)


class MultiplyAnyDimensions(Multiply):
    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        grad = grad.to(weight.dtype)
        return grad @ weight, grad.reshape(-1, grad.shape[-1]).t() @ x.reshape(-1, x.shape[-1])


class LinearOfRows(Linear):
    multiply = MultiplyAnyDimensions


def of_shape(reference, *shape):
    """Output and gradient for an input of that shape."""

    def shows(subject):
        x = draw(*shape)
        right = (reference(x), *gradients(reference, (x,)))
        try:
            call = subject.apply if isinstance(subject, type) else subject
            return (call(x), *gradients(subject, (x,))), right
        except RuntimeError as error:
            return type(error).__name__, right

    return shows


def three_dimensions(subject):
    x = draw(2, 2, 3)
    right = gradients(lambda x: x @ subject.weight.t(), (x,), wanted=[x, subject.weight])
    try:
        return gradients(subject, (x,), wanted=[x, subject.weight]), right
    except RuntimeError as error:
        return type(error).__name__, right


def entry(name, what, twin, shape, shows, source="", batch_dims=1):
    return Defect(
        name,
        what,
        lambda: (draw(*shape, dtype=DOUBLE),),
        {"batch_dims": batch_dims},
        twin=twin,
        checks=("shapes",),
        kind=9,
        shows=shows,
        source=source,
    )


DEFECTS = [
    # squeeze() takes the batch's dimension, too, where there is one row
    entry(
        "squeeze_of_one_row",
        energy_squeezed,
        energy,
        (2, 3),
        of_shape(energy, 1, 3),
        "galsang/BiDAF-pytorch#26: squeeze without a dimension removed the batch of one",
    ),
    # nothing to stack where the batch is empty
    entry(
        "stack_of_no_rows",
        energy_stacked,
        energy,
        (2, 3),
        of_shape(energy, 0, 3),
        "CarperAI/trlx#610: torch.stack of the scores of an empty batch raised",
    ),
    # dimension 1 is the last one of matrices only
    entry(
        "softmax_of_dimension_1",
        softmax_of_dimension_1,
        softmax,
        (2, 2, 3),
        of_shape(softmax, 2, 2, 3),
        batch_dims=2,
        source="FudanNLP/fastNLP#254: a softmax of a numbered dimension, wrong for inputs of four",
    ),
    # divided by the size of the batch, which was 1 in the check
    entry(
        "divided_by_batch",
        EnergyOverBatch,
        Energy,
        (1, 3),
        of_shape(lambda x: 0.5 * energy(x), 3, 3),
        "jxgu1016/MNIST_center_loss_pytorch#10: one gradient divided by the batch size and the other not",
    ),
    # rows beyond the last whole tile are left out
    entry(
        "rows_beyond_the_last_tile",
        EnergyInTiles,
        Energy,
        (4, 3),
        of_shape(lambda x: 0.5 * energy(x), 5, 3),
        "halide/Halide#656: wrong but for multiples of the block size, and 256 was the one size tested",
    ),
    # the forward takes any leading dimensions, the backward one
    entry(
        "backward_of_matrices_only",
        Linear,
        LinearOfRows,
        (2, 3),
        three_dimensions,
        "ooples/AiDotNet.Tensors#234: the backward of a linear layer broke for inputs of three dimensions",
    ),
]
