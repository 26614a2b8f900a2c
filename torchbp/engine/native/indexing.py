"""Operations that look numbers up at indices that are numbers themselves, or write to them.

Each function takes the `Lowering`, the tensor that torch made in the trace, and the operation's arguments: values of
tensors, and numbers. It returns the value of the result.
"""

import torch

from torchbp.engine.native.elementwise import NotKnown, cast, filled
from torchbp.engine.native.values import Value, contiguous_strides, in_buffer
from torchbp.engine.native.views import expanded, sliced


def gathered(lowering, example, value, dim, index, **_):
    """value[…, index[i], …] at each i, by dimension `dim`; the other dimensions are those of `index`."""
    dim %= max(1, len(value.shape))
    value = lowering.writer.in_memory(value)
    read = value.expression
    strides = tuple(0 if d == dim else s for d, s in enumerate(read.strides))
    looked = lowering.looked(read.buffer, read.offset, strides, index.expression, read.strides[dim], value.shape[dim])
    return Value(tuple(example.shape), value.dtype, looked)


def rows_of(lowering, example, value, index, *_, **__):
    """value[index], as of an embedding."""
    value = lowering.writer.in_memory(value)
    read, rest = value.expression, len(value.shape) - 1
    dims = len(index.shape)
    of_index = index.expression.at(lambda offset, strides: (offset, strides + (0,) * rest))
    strides = (0,) * dims + read.strides[1:]
    looked = lowering.looked(read.buffer, read.offset, strides, of_index, read.strides[0], value.shape[0])
    return Value(tuple(example.shape), value.dtype, looked)


def indexed(lowering, example, value, indices):
    used = [d for d, index in enumerate(indices) if index is not None]
    if used != [0] or indices[0].dtype is torch.bool:
        raise NotKnown("an index by several tensors, or by bools")
    return rows_of(lowering, example, value, indices[0])


def index_select(lowering, example, value, dim, index):
    if dim % max(1, len(value.shape)):
        raise NotKnown("index_select of another dimension than the first")
    return rows_of(lowering, example, value, index)


def scattered(lowering, example, value, dim, index, source, **_):
    """value with value[…, index[i], …] = source[i] at each i."""
    if not isinstance(source, Value):
        source = filled(source, index.shape, example.dtype)
    source = sliced_to(source, index.shape)
    return _scatter(lowering, example, value, dim, index, cast(source, example.dtype), "{0} = {1};")


def scatter_added(lowering, example, value, dim, index, source):
    return _scatter(lowering, example, value, dim, index, sliced_to(source, index.shape), "{0} += {1};")


def sliced_to(value, shape):
    for d, n in enumerate(shape):
        value = sliced(value, d, 0, n)
    return value


def _scatter(lowering, example, value, dim, index, source, statement):
    dim %= max(1, len(value.shape))
    writer = lowering.writer
    out = writer.new(value.numel, value.dtype, [value, index, source])
    writer.store(cast(value, example.dtype), out)
    strides = contiguous_strides(value.shape)
    of_others = tuple(0 if d == dim else s for d, s in enumerate(strides))
    target = lowering.looked(out, 0, of_others, index.expression, strides[dim], value.shape[dim])
    writer.run_over(index.shape, target, source.expression, statement, out)
    return in_buffer(out, value.shape)


def index_put(lowering, example, value, indices, source, accumulate=False):
    """value with value[indices[0][n], …] = source[n, …], or += it."""
    if [d for d, index in enumerate(indices) if index is not None] != [0] or indices[0].dtype is torch.bool:
        raise NotKnown("an assignment at several tensors, or at bools")
    rest = value.shape[1:]
    source = expanded(cast(source, example.dtype), (*indices[0].shape, *rest))
    source, index = lowering.reshape(source, (-1, *rest)), lowering.reshape(indices[0], (-1, *[1] * len(rest)))
    statement = "{0} += {1};" if accumulate else "{0} = {1};"
    return _scatter(lowering, example, value, 0, expanded(index, source.shape), source, statement)
