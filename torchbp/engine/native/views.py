"""Views: the same numbers of a value in another shape, by other strides, without a copy."""

import itertools

import torch

from torchbp.engine.native.values import reads


def expanded(value, shape):
    """The value broadcast to `shape`, as torch broadcasts."""
    shape = tuple(shape)
    if shape == value.shape:
        return value
    missing = len(shape) - len(value.shape)
    shape = tuple(n if n != -1 else value.shape[d - missing] for d, n in enumerate(shape))  # -1 is as it was
    repeated = [True] * missing + [old == 1 for old in value.shape]

    def of_strides(offset, strides):
        strides = (0,) * missing + strides
        return offset, tuple(0 if again else step for again, step in zip(repeated, strides, strict=True))

    return value.viewed(shape, of_strides)


def permuted(value, dims):
    dims = [d % len(value.shape) for d in dims]
    return value.viewed(
        [value.shape[d] for d in dims], lambda offset, strides: (offset, tuple(strides[d] for d in dims))
    )


def unsqueezed(value, dim):
    dim %= len(value.shape) + 1
    shape = (*value.shape[:dim], 1, *value.shape[dim:])
    return value.viewed(shape, lambda offset, strides: (offset, (*strides[:dim], 0, *strides[dim:])))


def without(value, dims):
    """The value without these dimensions, each of extent 1."""
    remaining = [d for d in range(len(value.shape)) if d not in dims]
    return value.viewed(
        [value.shape[d] for d in remaining], lambda offset, strides: (offset, tuple(strides[d] for d in remaining))
    )


def sliced(value, dim, start, stop, step=1):
    dim %= len(value.shape)
    extent = value.shape[dim]
    start, stop, step = slice(start, stop, step).indices(extent)
    shape = list(value.shape)
    shape[dim] = max(0, -(-(stop - start) // step))

    def of_strides(offset, strides):
        inner = strides[dim]
        return offset + start * inner, (*strides[:dim], inner * step, *strides[dim + 1 :])

    return value.viewed(shape, of_strides)


def reshaped(value, shape):
    """The value in another shape; None where that is no view of every memory that it reads."""
    shape = [int(n) for n in shape]
    if -1 in shape:
        shape[shape.index(-1)] = value.numel // max(1, -torch.Size(shape).numel())
    if tuple(shape) == value.shape:
        return value
    groups = list(_groups(value.shape, shape))

    def of_strides(offset, strides):
        result = []
        for old, new in groups:
            extents = [(value.shape[d], strides[d]) for d in old if value.shape[d] != 1]
            for (_, outer), (extent, inner) in itertools.pairwise(extents):
                if outer != extent * inner:
                    raise NotAView
            step = extents[-1][1] if extents else 0
            of_group = []
            for d in reversed(new):
                of_group.append(step if shape[d] != 1 else 0)
                step *= shape[d]
            result += reversed(of_group)
        return offset, tuple(result)

    try:
        return value.viewed(shape, of_strides)
    except NotAView:
        return None


class NotAView(Exception):
    pass


def _groups(old, new):
    """Dimensions of `old` and of `new` that have as many numbers, in order, as few as can be."""
    i = j = 0
    while i < len(old) or j < len(new):
        start_i, start_j = i, j
        a = b = 1
        if i < len(old):
            a, i = old[i], i + 1
        if j < len(new):
            b, j = new[j], j + 1
        while a != b:
            if a < b:
                a, i = a * old[i], i + 1
            else:
                b, j = b * new[j], j + 1
        if i == len(old) or j == len(new):  # what is left are ones
            i, j = len(old), len(new)
        yield_old, yield_new = list(range(start_i, i)), list(range(start_j, j))
        yield yield_old, yield_new


def merged(shape, expressions):
    """The shape with as few dimensions as can be, without those of one, and the expressions for it."""
    of = [read for expression in expressions for read in reads(expression)]
    remaining = [d for d, n in enumerate(shape) if n != 1]
    groups = []
    for d in remaining:
        if groups and all(read.strides[groups[-1][-1]] == read.strides[d] * shape[d] for read in of):
            groups[-1].append(d)
        else:
            groups.append([d])
    extents = [torch.Size([shape[d] for d in group]).numel() for group in groups]

    def of_strides(offset, strides):
        return offset, tuple(strides[group[-1]] for group in groups)

    return extents, [expression.at(of_strides) for expression in expressions]
