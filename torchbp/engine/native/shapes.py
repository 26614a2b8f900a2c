"""Operations that fill, cast, or show numbers in another shape, and elementwise ones of several steps.

Each function takes the `Lowering`, the tensor that torch made in the trace, and the operation's arguments: values of
tensors, and numbers. It returns the value of the result.
"""

import torch

from torchbp.engine.native import elementwise as of_elements
from torchbp.engine.native.elementwise import cast, elementwise, filled, literal
from torchbp.engine.native.values import Apply, Read, Value, contiguous_strides, in_buffer
from torchbp.engine.native.views import expanded, permuted, sliced, without


def same(lowering, example, value, *_, **__):
    return value


def filled_like(lowering, example, value, number=0, **__):
    return filled(number, example.shape, example.dtype)


def filled_with(number):
    return lambda lowering, example, *args, **__: filled(number, example.shape, example.dtype)


def full(lowering, example, *args, **__):
    return filled(args[-1], example.shape, example.dtype)


def scalar_tensor(lowering, example, number, **__):
    return filled(number, (), example.dtype)


def arange(lowering, example, *args, **__):
    start, step = (args[0] if len(args) > 1 else 0), (args[2] if len(args) > 2 else 1)
    return cast(Value(tuple(example.shape), torch.int64, Read(None, start, (step,))), example.dtype)


def cast_to(lowering, example, value, *_, **__):
    return cast(value, example.dtype)


def copied(lowering, example, _, value, *__):
    return expanded(cast(value, example.dtype), example.shape)


def transposed(lowering, example, value, *dims):
    if len(value.shape) < 2:
        return value
    first, second = dims or (0, 1)
    order = list(range(len(value.shape)))
    order[first], order[second] = order[second], order[first]
    return permuted(value, order)


def squeezed(lowering, example, value, dims=None):
    every = range(len(value.shape))
    dims = every if dims is None else [d % len(value.shape) for d in ([dims] if isinstance(dims, int) else dims)]
    return without(value, [d for d in dims if value.shape[d] == 1])


def selected(lowering, example, value, dim, index):
    dim %= len(value.shape)
    index %= value.shape[dim]
    return without(sliced(value, dim, index, index + 1), [dim])


def sliced_by(lowering, example, value, dim=0, start=None, end=None, step=1):
    return sliced(value, dim, start, end, step)


def strided(lowering, example, value, shape, strides, offset=0):
    value = lowering.writer.packed(value)
    return Value(tuple(shape), value.dtype, Read(value.expression.buffer, offset or 0, tuple(strides)))


def split(lowering, example, value, size, dim=0):
    starts = range(0, value.shape[dim], size)
    return tuple(sliced(value, dim, start, start + size) for start in starts)


def concatenated(lowering, example, values, dim=0):
    shape = tuple(example.shape)
    dim %= len(shape)
    parts = [cast(v, example.dtype) for v in values]
    buffer = lowering.writer.new(example.numel(), example.dtype, parts)
    strides, start = contiguous_strides(shape), 0
    for part in parts:
        lowering.writer.store(part, buffer, strides, start * strides[dim])
        start += part.shape[dim]
    return in_buffer(buffer, shape)


def where(lowering, example, condition, yes, no):
    shape, dtype = example.shape, example.dtype
    operands = [expanded(condition, shape).expression]
    operands += [of_elements.operand(arg, shape, dtype) for arg in (yes, no)]
    return Value(tuple(shape), dtype, Apply("({0} ? {1} : {2})", tuple(operands)))


def clamped(lowering, example, value, low=None, high=None):
    for name, bound in (("clamp_min", low), ("clamp_max", high)):
        if bound is not None:
            value = elementwise(name, (value, bound), None, example.shape, example.dtype)
    return cast(value, example.dtype)


def with_product(template):
    def of(lowering, example, value, first, second, value_=1, **options):
        factor = options.get("value", value_)
        operands = [of_elements.operand(arg, example.shape, example.dtype) for arg in (value, first, second, factor)]
        return Value(tuple(example.shape), example.dtype, Apply(template, tuple(operands)))

    return of


def power_of_number(lowering, example, base, exponent):
    return elementwise("pow.Scalar", (base, exponent), None, example.shape, example.dtype)


def threshold_backward(lowering, example, gradient, value, threshold):
    return where(
        lowering,
        example,
        Value(value.shape, torch.bool, Apply(f"({{0}} <= {literal(threshold, value.dtype)})", (value.expression,))),
        0,
        gradient,
    )
