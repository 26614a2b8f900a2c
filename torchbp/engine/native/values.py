"""What a program in C computes, before it is text: values with a shape, and the memory that they are read from.

A value is an expression of memory at an index. Views only change how an index is counted, so they cost nothing, and an
elementwise operation on a value that is used once becomes a part of the loop that uses it.
"""

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
    """buffer[offset + Σ index · stride]; of no buffer that sum itself."""

    buffer: Buffer | None
    offset: int
    strides: tuple[int, ...]

    def at(self, of_strides):
        offset, strides = of_strides(self.offset, self.strides)
        return Read(self.buffer, offset, strides)


@dataclass(frozen=True)
class Looked:
    """buffer[offset + Σ index · stride + `index` · index_stride], with 0 ≤ index < size, an expression of integers."""

    buffer: Buffer
    offset: int
    strides: tuple[int, ...]
    index: "Read | Looked | Apply"
    index_stride: int
    size: int

    def at(self, of_strides):
        offset, strides = of_strides(self.offset, self.strides)
        return replace(self, offset=offset, strides=strides, index=self.index.at(of_strides))


@dataclass(frozen=True)
class Apply:
    """C with {0}, {1}, … in the places of its arguments."""

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
        yield from reads(expression.index)


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
