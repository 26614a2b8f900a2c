"""Batches, boxes and blocks: right for the numbers of rows, columns and boxes that are given."""

import torch

from tests.testing.corpus.entry import DOUBLE, draw, gradients, raised
from tests.testing.corpus.hidden.demonstrations import compared, pair
from tests.testing.corpus.hidden.entry import entry

FirstColours, FirstColoursTwin = pair(
    "FirstColours",  # the colours of the first image are read for each of them
    lambda colours, weight: (colours * weight, (colours, weight)),
    lambda g, colours, weight: (g * weight, g * colours[:1]),
    lambda g, colours, weight: (g * weight, g * colours),
)

STEP = 32

FirstStep, FirstStepTwin = pair(
    "FirstStep",  # the rows after the first 32 are another step, whose gradient is not computed
    lambda x: (x.sin(), (x,)),
    lambda g, x: g * x.cos() * (torch.arange(x.shape[0]) < STEP).view(-1, *[1] * (x.dim() - 1)),
    lambda g, x: g * x.cos(),
)


def box_area(x, box):
    return x * (box[1] - box[0]).to(x.dtype)


ClampedBox, ClampedBoxTwin = pair(
    "ClampedBox",  # the backward still makes every box at least 1 wide
    lambda x, box: (box_area(x, box), (box,)),
    lambda g, box: (g * (box[1] - box[0]).clamp(min=1).to(g.dtype), None),
    lambda g, box: (g * (box[1] - box[0]).to(g.dtype), None),
)


def layer_norm(x):
    return torch.nn.functional.layer_norm(x, x.shape[-1:])


def _norm_backward(product_mean):
    def backward(g, x):
        x = x - x.mean(-1, keepdim=True)
        scale = (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt()
        x = x * scale
        return scale * (g - g.mean(-1, keepdim=True) - x * product_mean(g * x))

    return backward


def _last_block(values):
    """Only the last block of columns is added up."""
    first = (values.shape[-1] - 1) // STEP * STEP
    return values[..., first:].sum(-1, keepdim=True) / values.shape[-1]


LastBlock, LastBlockTwin = pair(
    "LastBlock",
    lambda x: (layer_norm(x), (x,)),
    _norm_backward(_last_block),
    _norm_backward(lambda values: values.mean(-1, keepdim=True)),
)


def dice(x, target):
    """One minus the overlap, averaged over the volumes."""
    x, target = x.flatten(1), target.flatten(1).to(x.dtype)
    return 1 - (2 * (x * target).sum(1) / (x.square().sum(1) + target.sum(1) + 1)).mean()


def _dice_backward(count):
    def backward(g, x, target):
        shape, x, target = x.shape, x.flatten(1), target.flatten(1).to(x.dtype)
        below = x.square().sum(1, keepdim=True) + target.sum(1, keepdim=True) + 1
        overlap = (x * target).sum(1, keepdim=True) / below
        slope = 2 * target / below - 4 * (x / below) * overlap
        return (-g * slope / count(len(x))).view(shape), None

    return backward


DiceOfBatch, DiceOfBatchTwin = pair(
    "DiceOfBatch",  # the loss is divided by the number of volumes, the derivative is not
    lambda x, target: (dice(x, target), (x, target)),
    _dice_backward(lambda rows: 1),
    _dice_backward(lambda rows: rows),
)


def embedding(weight, index, padding):
    return weight[index] * (index != padding).unsqueeze(-1)


def _embedding_backward(ignores):
    def backward(g, weight, index, padding):
        if not ignores(index):
            g = g * (index != padding).unsqueeze(-1)
        return torch.zeros_like(weight).index_add(0, index.flatten(), g.flatten(0, -2)), None, None

    return backward


PaddingOfMany, PaddingOfManyTwin = pair(
    "PaddingOfMany",  # more than 256 indices go to another kernel, which knows no padding
    lambda weight, index, padding: (embedding(weight, index, padding), (weight, index, padding)),
    _embedding_backward(lambda index: index.numel() > 256),
    _embedding_backward(lambda index: False),
)


def overwritten(x, index, source):
    if len(index.unique()) < len(index):
        raise ValueError(f"an index is repeated in {index.tolist()}")
    return x.index_copy(0, index, source)


def _overwritten_backward(by_source):
    def backward(g, index):
        return g.index_fill(0, index, 0), None, by_source(g, index)

    return backward


EmptyIndex, EmptyIndexTwin = pair(
    "EmptyIndex",  # where nothing is overwritten, the gradient of the source is an empty vector
    lambda x, index, source: (overwritten(x, index, source), (index,)),
    _overwritten_backward(lambda g, index: g[index] if len(index) else g.new_empty(0)),
    _overwritten_backward(lambda g, index: g[index]),
)


def product_of_all(x):
    return x.prod(0)


def _product_backward(of_zeros):
    def backward(g, x):
        if (x == 0).any():
            rows = [torch.cat([x[:i], x[i + 1 :]]).prod(0) for i in range(len(x))]
            return of_zeros(g * torch.stack(rows))
        return g * x.prod(0) / x

    return backward


ProductOfOne, ProductOfOneTwin = pair(
    "ProductOfOne",  # at a zero, the dimension of a single row is squeezed away
    lambda x: (product_of_all(x), (x,)),
    _product_backward(lambda gradient: gradient.squeeze(0)),
    _product_backward(lambda gradient: gradient),
)


def _outcome(subject, inputs):
    return raised(lambda: gradients(subject, inputs()))


def _colours(images):
    return lambda: (draw(images, 5), draw(images, 5, seed=1))


def _of_wide_rows(subject):
    inputs, incoming = (draw(2, 40),), [draw(2, 40, seed=1, grad=False)]
    return gradients(subject, inputs, incoming), gradients(layer_norm, inputs, incoming)


def _one_zero():
    return (torch.zeros(1, dtype=DOUBLE, requires_grad=True),)


def _padded(count):
    return lambda: (draw(5, 2), torch.arange(count) % 5, 0)


def _volumes(count):
    return lambda: (draw(count, 6, low=0), (torch.arange(6 * count).view(count, 6) % 2).bool())


def _copied(*index):
    return lambda: (draw(4, 3), torch.tensor(index, dtype=torch.int64), draw(len(index), 3, seed=1))


DEFECTS = [
    entry("colours_of_the_first_image", FirstColours, FirstColoursTwin, _colours(1), 3,
          compared(_colours(2), torch.mul),
          "nerfstudio-project/gsplat#623: the backward read the colours of the first image for all of a batch"),
    entry("rows_of_the_first_step", FirstStep, FirstStepTwin, lambda: (draw(2, 3),), 3,
          compared(lambda: (draw(40, 3),), torch.sin),
          "open-mmlab/mmcv#1169: a deformable convolution's backward failed for batches of more than 32"),
    entry("box_of_less_than_one", ClampedBox, ClampedBoxTwin,
          lambda: (draw(4), torch.tensor([1.0, 3.0], dtype=DOUBLE)), 2,
          compared(lambda: (draw(4), torch.tensor([1.0, 1.5], dtype=DOUBLE)), box_area),
          "pytorch/vision#2438: small boxes were clamped to a width of 1 where the forward takes them as they are"),
    entry("mean_of_the_last_block", LastBlock, LastBlockTwin, lambda: (draw(2, 4),), 3,
          _of_wide_rows,
          "tenstorrent/tt-metal#53204: of a mean over blocks only the last block survived"),
    entry("dice_of_a_batch", DiceOfBatch, DiceOfBatchTwin, _volumes(1), 3, compared(_volumes(2), dice),
          "faustomilletari/VNet#13: a dice loss and its derivative were right for one volume only"),
    entry("padding_of_many_indices", PaddingOfMany, PaddingOfManyTwin, _padded(6), 3,
          compared(_padded(300), embedding),
          "pytorch/pytorch#26302: the row of the padding had a gradient once there were many indices"),
    entry("nothing_overwritten", EmptyIndex, EmptyIndexTwin, _copied(0, 2), 3,
          lambda subject: (_outcome(subject, _copied()), "nothing"),
          "pytorch/pytorch#94336: the backward of scatter raised where the index was empty",
          checks=("variations", "shapes",)),
    entry("zero_in_a_product_of_one", ProductOfOne, ProductOfOneTwin, lambda: (draw(3),), 3,
          lambda subject: (_outcome(subject, _one_zero), "nothing"),
          "pytorch/pytorch#82644: the gradient of a product of one zero had no dimension, and the backward raised"),
]  # fmt: skip
