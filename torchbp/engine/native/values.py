"""What a program in C computes, before it is text: values with a shape, and the memory that they are read from.

A value is an expression of memory at an index. Views only change how an index is counted, so they cost nothing, and an
elementwise operation on a value that is used once becomes a part of the loop that uses it.
"""

import itertools
from dataclasses import dataclass, replace

import torch

C_TYPES = {
    torch.float32: "float",
    torch.float64: "double",
    torch.int64: "long long",
    torch.int32: "int",
    torch.bool: "unsigned char",
}


@dataclass(eq=False)
class Buffer:
    """Memory of the program.

    size: numbers in it, of one network or member.
    uniform: whether all members of a block share it; otherwise it has `lanes` numbers side by side for each of `size`.
    invariant: whether it is the same in each step.
    is_state: whether the steps change it and the caller keeps it.
    rows: names of the rows, "x" or "y", that it is made of.
    """

    name: str
    size: int
    dtype: torch.dtype
    uniform: bool = False
    invariant: bool = False
    is_state: bool = False
    rows: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Read:
    """buffer[offset + Σ index · stride]; of no buffer that place itself, a number."""

    buffer: Buffer | None
    offset: int
    strides: tuple[int, ...]

    def at(self, of_strides):
        offset, strides = of_strides(self.offset, self.strides)
        return Read(self.buffer, offset, strides)


@dataclass(frozen=True)
class Looked:
    """buffer[offset + Σ index · stride + `place` · of_place], with 0 ≤ place < size, an expression of integers."""

    buffer: Buffer
    offset: int
    strides: tuple[int, ...]
    place: "Read | Looked | Apply"
    of_place: int
    size: int

    def at(self, of_strides):
        offset, strides = of_strides(self.offset, self.strides)
        return replace(self, offset=offset, strides=strides, place=self.place.at(of_strides))


@dataclass(frozen=True)
class Apply:
    """C with a place {0}, {1}, … for each argument."""

    template: str
    args: tuple = ()

    def at(self, of_strides):
        return Apply(self.template, tuple(arg.at(of_strides) for arg in self.args))


def reads(expression):
    """Every Read and Looked of an expression."""
    if isinstance(expression, Apply):
        for arg in expression.args:
            yield from reads(arg)
        return
    yield expression
    if isinstance(expression, Looked):
        yield from reads(expression.place)


@dataclass(frozen=True)
class Value:
    """A tensor: `expression` at each index of `shape`."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    expression: Read | Looked | Apply

    @property
    def numel(self):
        return torch.Size(self.shape).numel()

    @property
    def is_in_memory(self):
        return isinstance(self.expression, Read) and self.expression.buffer is not None

    def buffers(self):
        return [read.buffer for read in reads(self.expression) if read.buffer is not None]

    def viewed(self, shape, of_strides):
        return Value(tuple(shape), self.dtype, self.expression.at(of_strides))


def constant(text, shape, dtype):
    return Value(tuple(shape), dtype, Apply(text))


def contiguous_strides(shape):
    strides, step = [], 1
    for extent in reversed(shape):
        strides.append(step)
        step *= extent
    return tuple(reversed(strides))


def in_buffer(buffer, shape, strides=None):
    return Value(tuple(shape), buffer.dtype, Read(buffer, 0, strides or contiguous_strides(shape)))


# views


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
    kept = [d for d in range(len(value.shape)) if d not in dims]
    return value.viewed(
        [value.shape[d] for d in kept], lambda offset, strides: (offset, tuple(strides[d] for d in kept))
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
    kept = [d for d, n in enumerate(shape) if n != 1]
    groups = []
    for d in kept:
        if groups and all(read.strides[groups[-1][-1]] == read.strides[d] * shape[d] for read in of):
            groups[-1].append(d)
        else:
            groups.append([d])
    extents = [torch.Size([shape[d] for d in group]).numel() for group in groups]

    def of_strides(offset, strides):
        return offset, tuple(strides[group[-1]] for group in groups)

    return extents, [expression.at(of_strides) for expression in expressions]
