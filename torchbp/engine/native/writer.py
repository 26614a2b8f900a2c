"""Loops in C over values, and the memory that they use."""

import itertools

import torch

from torchbp.engine.native.products import Matrix, product, product_in_lanes
from torchbp.engine.native.values import (
    C_TYPES,
    Apply,
    Buffer,
    Looked,
    Read,
    Value,
    contiguous_strides,
    in_buffer,
)
from torchbp.engine.native.views import merged

PARTS = 16  # sums that do not wait for one another


class Writer:
    """Statements of a step; those that are the same in each step stand before the loop over the steps.

    lanes: how many members go through the statements side by side; each number of a buffer that is not uniform is then
    that of `lanes` members.
    """

    def __init__(self, lanes, vector_bytes):
        self.lanes, self.vector_bytes = lanes, vector_bytes
        self.before, self.body, self.buffers = [], [], []
        self._names = itertools.count()

    def new(self, size, dtype, made_of):
        """Memory for a result of these values, which is uniform and invariant if all of them are."""
        buffers = [buffer for value in made_of for buffer in value.buffers()]
        uniform, invariant = all(b.uniform for b in buffers), all(b.invariant for b in buffers)
        rows = frozenset().union(*(b.rows for b in buffers))
        self.buffers.append(Buffer(f"t{next(self._names)}", size, dtype, uniform, invariant, rows=rows))
        return self.buffers[-1]

    def new_for(self, value):
        return self.new(value.numel, value.dtype, [value])

    # expressions

    def text(self, expression, index):
        if isinstance(expression, Apply):
            return expression.template.format(*(self.text(arg, index) for arg in expression.args))
        terms = [f"{i} * {s}" if s != 1 else i for i, s in zip(index, expression.strides, strict=True) if s]
        if expression.offset or not terms:
            terms.append(str(expression.offset))
        offset = " + ".join(terms)
        if isinstance(expression, Looked):
            looked = self.text(expression.index, index)
            offset += f" + within({looked}, {expression.size}) * {expression.index_stride}"
        if expression.buffer is None:
            return f"({offset})"
        return f"{expression.buffer.name}[{self._of_lane(expression.buffer, offset)}]"

    def _of_lane(self, buffer, offset):
        return offset if buffer.uniform or self.lanes == 1 else f"({offset}) * {self.lanes} + l"

    def loops(self, extents, first="i"):
        index = [f"{first}{d}" for d in range(len(extents))]
        lines = [f"for (long {i} = 0; {i} < {n}; {i}++)" for i, n in zip(index, extents, strict=True)]
        if lines:
            lines[-1] = f"IVDEP {lines[-1]}"
        return index, lines

    def _in_lanes(self, uniform):
        return [] if uniform or self.lanes == 1 else [f"IVDEP for (long l = 0; l < {self.lanes}; l++)"]

    def add(self, lines, invariant):
        (self.before if invariant else self.body).extend(lines)

    # statements

    def store(self, value, buffer, strides=None, offset=0):
        """buffer[offset + …] = value, everywhere."""
        out = Read(buffer, offset, strides or contiguous_strides(value.shape))
        extents, (out, expression) = merged(value.shape, [out, value.expression])
        if is_transposition(extents, out, expression) and self.lanes == 1:
            to, read = self.matrix(Value(tuple(extents), buffer.dtype, out)), expression
            source = self.matrix(Value(tuple(extents), value.dtype, read)).text
            sizes = f"{extents[0]}, {extents[1]}, {out.strides[0]}, {read.strides[1]}"
            self.add([f"transpose_{C_TYPES[buffer.dtype]}({to.text}, {source}, {sizes});"], buffer.invariant)
            return
        index, loops = self.loops(extents)
        lanes = self._in_lanes(buffer.uniform)
        if lanes and loops:
            loops[-1] = loops[-1].removeprefix("IVDEP ")
        line = f"{self.text(out, index)} = {self.text(expression, index)};"
        self.add([*loops, *lanes, line], buffer.invariant)

    def run_over(self, shape, target, expression, statement, buffer):
        """The statement, C of {0} and {1}, with a place in memory and an expression, at each index of the shape."""
        index, loops = self.loops(shape)
        loops = [loop.removeprefix("IVDEP ") for loop in loops]
        line = statement.format(self.text(target, index), self.text(expression, index))
        self.add([*loops, *self._in_lanes(buffer.uniform), line], buffer.invariant)

    def in_memory(self, value):
        """The same value, in memory of its own if it is an expression."""
        if value.is_in_memory:
            return value
        buffer = self.new_for(value)
        self.store(value, buffer)
        return in_buffer(buffer, value.shape)

    def reduced(self, value, dims, operation, start):
        """The value with `dims` reduced by `operation`, C of {0} and {1}, which begins with the text `start`."""
        remaining = [d for d in range(len(value.shape)) if d not in dims]
        shape = [value.shape[d] for d in remaining]
        out = self.new(torch.Size(shape).numel(), value.dtype, [value])
        strides = [0] * len(value.shape)
        for d, stride in zip(remaining, contiguous_strides(shape), strict=True):
            strides[d] = stride
        extents, (target, expression) = merged(value.shape, [Read(out, 0, tuple(strides)), value.expression])
        ctype, lanes = C_TYPES[value.dtype], self._in_lanes(out.uniform)
        inner_remains = bool(extents) and target.strides[-1] != 0
        if lanes or inner_remains or not extents:
            self.store(Value(tuple(shape), value.dtype, Apply(start)), out)
            index, loops = self.loops(extents)
            if lanes and loops:
                loops[-1] = loops[-1].removeprefix("IVDEP ")
            result, term = self.text(target, index), self.text(expression, index)
            self.add([*loops, *lanes, f"{result} = {operation.format(result, term)};"], out.invariant)
            return in_buffer(out, shape)
        outer = next(d for d in range(len(extents), -1, -1) if d == 0 or target.strides[d - 1] != 0)
        index = [f"i{d}" for d in range(len(extents))]
        lines = [f"for (long {i} = 0; {i} < {n}; {i}++)" for i, n in zip(index[:outer], extents[:outer], strict=True)]
        lines.append("{")
        last = extents[-1]
        if last >= 2 * PARTS:  # partial results, so that they need not wait for one another
            lines += [
                f"{ctype} parts[{PARTS}], all = {start};",
                f"for (long p = 0; p < {PARTS}; p++) parts[p] = {start};",
            ]
            lines += [
                f"for (long {i} = 0; {i} < {n}; {i}++)" for i, n in zip(index[outer:-1], extents[outer:-1], strict=True)
            ]
            whole, i = last - last % PARTS, index[-1]
            in_part = [*index[:-1], f"({i} + p)"]
            lines += ["{", f"for (long {i} = 0; {i} < {whole}; {i} += {PARTS})"]
            lines += [f"IVDEP for (long p = 0; p < {PARTS}; p++)"]
            lines += [f"parts[p] = {operation.format('parts[p]', self.text(expression, in_part))};"]
            lines += [f"for (long {i} = {whole}; {i} < {last}; {i}++)"] if whole < last else []
            lines += [f"all = {operation.format('all', self.text(expression, index))};"] if whole < last else []
            lines += ["}", f"for (long p = 0; p < {PARTS}; p++) all = {operation.format('all', 'parts[p]')};"]
        else:
            lines += [f"{ctype} all = {start};"]
            lines += [
                f"for (long {i} = 0; {i} < {n}; {i}++)" for i, n in zip(index[outer:], extents[outer:], strict=True)
            ]
            lines += [f"all = {operation.format('all', self.text(expression, index))};"]
        lines += [f"{self.text(target, index)} = all;", "}"]
        self.add(lines, out.invariant)
        return in_buffer(out, shape)

    def product(self, a, b):
        """A B of two values of two dimensions."""
        a, b = self.in_memory(a), self.in_memory(b)
        (m, k), n = a.shape, b.shape[1]
        out = self.new(m * n, a.dtype, [a, b])
        if not out.uniform and self.lanes > 1:
            result = in_buffer(out, (m, n))
            matrices = [self.matrix(value) for value in (a, b, result)]
            lines = product_in_lanes(*matrices, (m, n, k), C_TYPES[a.dtype], self.lanes)
            self.add(lines, out.invariant)
            return result
        transposed = False
        if not is_row_major(b) or n == 1:
            if is_row_major(transpose(a)) and m > 1:
                transposed = True
            elif n > 1 and m > 1 and not (k >= 8 and m * n <= 4 * (m + n)):
                b = self.packed(b)
        result = in_buffer(out, (m, n), (1, m) if transposed else None)
        if transposed:
            matrices, sizes = [self.matrix(transpose(value)) for value in (b, a, result)], (n, m, k)
        else:
            matrices, sizes = [self.matrix(value) for value in (a, b, result)], (m, n, k)
        self.add(product(*matrices, sizes, a.dtype, self.vector_bytes), out.invariant)
        return result

    def packed(self, value):
        buffer = self.new_for(value)
        self.store(value, buffer)
        return in_buffer(buffer, value.shape)

    def matrix(self, value):
        read = value.expression
        uniform = read.buffer.uniform or self.lanes == 1
        offset = read.offset * (1 if uniform else self.lanes)
        return Matrix(f"{read.buffer.name} + {offset}" if offset else read.buffer.name, read.strides, uniform)


def is_transposition(extents, out, expression):
    """Whether a loop writes rows of what it reads in columns, many numbers of one floating type."""
    if len(extents) != 2 or min(extents) < 8 or not isinstance(expression, Read) or expression.buffer is None:
        return False
    of_one_type = out.buffer.dtype is expression.buffer.dtype and out.buffer.dtype.is_floating_point
    return of_one_type and out.strides[1] == 1 and expression.strides[0] == 1 and expression.strides[1] > 1


def transpose(value):
    return value.viewed(value.shape[::-1], lambda offset, strides: (offset, strides[::-1]))


def is_row_major(value):
    """Whether the rows of a matrix have no gaps between their numbers."""
    return value.shape[1] == 1 or value.expression.strides[1] == 1
