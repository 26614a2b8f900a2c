"""Operations that look numbers up at places that are numbers themselves, or write to them.

Each function takes the `Lowering`, the tensor that torch made in the trace, and the operation's arguments: values of
tensors, and numbers. It returns the value of the result.
"""

import torch

from torchbp.engine.native.elementwise import NotKnown, cast, filled
from torchbp.engine.native.values import (
    Value,
    contiguous_strides,
    expanded,
    in_buffer,
    sliced,
)


def gathered(lowering, example, value, dim, place, **_):
    """value[…, place[index], …] at dimension `dim`, where the other dimensions are those of the index."""
    dim %= max(1, len(value.shape))
    value = lowering.writer.in_memory(value)
    read = value.expression
    strides = tuple(0 if d == dim else s for d, s in enumerate(read.strides))
    looked = lowering.looked(read.buffer, read.offset, strides, place.expression, read.strides[dim], value.shape[dim])
    return Value(tuple(example.shape), value.dtype, looked)


def rows_of(lowering, example, value, place, *_, **__):
    """value[place], as of an embedding."""
    value = lowering.writer.in_memory(value)
    read, rest = value.expression, len(value.shape) - 1
    places = len(place.shape)
    of_place = place.expression.at(lambda offset, strides: (offset, strides + (0,) * rest))
    strides = (0,) * places + read.strides[1:]
    looked = lowering.looked(read.buffer, read.offset, strides, of_place, read.strides[0], value.shape[0])
    return Value(tuple(example.shape), value.dtype, looked)


def indexed(lowering, example, value, places):
    used = [d for d, place in enumerate(places) if place is not None]
    if used != [0] or places[0].dtype is torch.bool:
        raise NotKnown("an index by several tensors, or by bools")
    return rows_of(lowering, example, value, places[0])


def index_select(lowering, example, value, dim, place):
    if dim % max(1, len(value.shape)):
        raise NotKnown("index_select of another dimension than the first")
    return rows_of(lowering, example, value, place)


def scattered(lowering, example, value, dim, place, source, **_):
    """value with value[…, place[index], …] = source[index]."""
    if not isinstance(source, Value):
        source = filled(source, place.shape, example.dtype)
    source = sliced_to(source, place.shape)
    return _scatter(lowering, example, value, dim, place, cast(source, example.dtype), "{0} = {1};")


def scatter_added(lowering, example, value, dim, place, source):
    return _scatter(lowering, example, value, dim, place, sliced_to(source, place.shape), "{0} += {1};")


def sliced_to(value, shape):
    for d, n in enumerate(shape):
        value = sliced(value, d, 0, n)
    return value


def _scatter(lowering, example, value, dim, place, source, statement):
    dim %= max(1, len(value.shape))
    writer = lowering.writer
    out = writer.new(value.numel, value.dtype, [value, place, source])
    writer.store(cast(value, example.dtype), out)
    strides = contiguous_strides(value.shape)
    of_others = tuple(0 if d == dim else s for d, s in enumerate(strides))
    target = lowering.looked(out, 0, of_others, place.expression, strides[dim], value.shape[dim])
    writer.run_over(place.shape, target, source.expression, statement, out)
    return in_buffer(out, value.shape)


def index_put(lowering, example, value, places, source, accumulate=False):
    """value with value[places[0][n], …] = source[n, …], or += it."""
    if [d for d, place in enumerate(places) if place is not None] != [0] or places[0].dtype is torch.bool:
        raise NotKnown("an assignment at several tensors, or at bools")
    rest = value.shape[1:]
    source = expanded(cast(source, example.dtype), (*places[0].shape, *rest))
    source, place = lowering.reshape(source, (-1, *rest)), lowering.reshape(places[0], (-1, *[1] * len(rest)))
    statement = "{0} += {1};" if accumulate else "{0} = {1};"
    return _scatter(lowering, example, value, 0, expanded(place, source.shape), source, statement)
