"""Sums and other reductions over dimensions, and products of matrices.

Each function takes the `Lowering`, the tensor that torch made in the trace, and the operation's arguments: values of
tensors, and numbers. It returns the value of the result.
"""

import torch

from torchbp.engine.native.elementwise import cast, elementwise, kind, literal
from torchbp.engine.native.shapes import concatenated, selected, squeezed
from torchbp.engine.native.views import unsqueezed

SUM, LARGEST, SMALLEST = "{0} + {1}", "max_{T}({0}, {1})", "min_{T}({0}, {1})"
PRODUCT, ANY, ALL = "{0} * {1}", "({0} || {1})", "({0} && {1})"


def reduction(operation, start):
    def of(lowering, example, value, dims=None, keepdim=False, **_):
        return reduce(lowering, operation, start, cast(value, example.dtype), dims, keepdim)

    return of


def extreme(operation, of_bools, sign):
    """The largest number, where sign is 1, or the smallest, where it is −1."""

    def of(lowering, example, value, dims=None, keepdim=False, **_):
        if value.dtype is torch.bool:
            return reduce(lowering, of_bools, (sign < 0), value, dims, keepdim)
        start = -sign * float("inf")
        if not value.dtype.is_floating_point:
            bounds = torch.iinfo(value.dtype)
            start = bounds.min if sign > 0 else bounds.max
        return reduce(lowering, operation, start, value, dims, keepdim)

    return of


def reduce(lowering, operation, start, value, dims, keepdim):
    rank = len(value.shape)
    dims = [dims] if isinstance(dims, int) else dims
    dims = sorted(d % rank for d in dims) if dims else list(range(rank))
    operation = operation.replace("{T}", kind(value.dtype))
    result = lowering.writer.reduced(value, dims, operation, literal(start, value.dtype))
    for d in dims if keepdim else ():
        result = unsqueezed(result, d)
    return result


def mean(lowering, example, value, dims=None, keepdim=False, **_):
    value = cast(value, example.dtype)
    total = reduce(lowering, SUM, 0, value, dims, keepdim)
    count = value.numel // max(1, total.numel)
    return elementwise("div.Scalar", (total, count), None, example.shape, example.dtype)


def var_mean(lowering, example, value, dims=None, *, correction=1, keepdim=False):
    of_rows = mean(lowering, torch.empty(_with_ones(value, dims), dtype=example[1].dtype), value, dims, True)
    of_rows = lowering.writer.in_memory(of_rows)
    difference = elementwise("sub.Tensor", (value, of_rows), None, value.shape, value.dtype)
    squares = elementwise("square", (lowering.writer.in_memory(difference),), None, value.shape, value.dtype)
    total = reduce(lowering, SUM, 0, squares, dims, True)
    count = value.numel // max(1, total.numel) - (1 if correction is None else correction)
    of_squares = elementwise("div.Scalar", (total, count), None, total.shape, value.dtype)
    results = of_squares, of_rows
    if not keepdim:
        results = tuple(lowering.reshape(v, e.shape) for v, e in zip(results, example, strict=True))
    return results


def _with_ones(value, dims):
    rank = len(value.shape)
    dims = [d % rank for d in ([dims] if isinstance(dims, int) else dims or range(rank))]
    return [1 if d in dims else n for d, n in enumerate(value.shape)]


def mm(lowering, example, a, b):
    return lowering.writer.product(a, b)


def bmm(lowering, example, a, b):
    batches = [lowering.writer.product(*(selected(lowering, None, m, 0, e) for m in (a, b))) for e in range(a.shape[0])]
    if len(batches) == 1:
        return unsqueezed(batches[0], 0)
    return concatenated(lowering, example, [unsqueezed(batch, 0) for batch in batches])


def mv(lowering, example, a, b):
    return squeezed(lowering, None, lowering.writer.product(a, unsqueezed(b, 1)), 1)


def dot(lowering, example, a, b):
    return squeezed(lowering, None, lowering.writer.product(unsqueezed(a, 0), unsqueezed(b, 1)))


def added(of_product):
    def of(lowering, example, value, a, b, *, beta=1, alpha=1):
        result = of_product(lowering, example, a, b)
        if alpha != 1:
            result = elementwise("mul.Scalar", (result, alpha), None, example.shape, example.dtype)
        if beta != 1:
            value = elementwise("mul.Scalar", (value, beta), None, value.shape, example.dtype)
        return elementwise("add.Tensor", (value, result), None, example.shape, example.dtype)

    return of
