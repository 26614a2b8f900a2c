"""The text of a program: a function in C that makes K steps of each member, on rows that it gathers."""

from torchbp.engine.native.elementwise import NotKnown
from torchbp.engine.native.lowering import Lowering, is_copy
from torchbp.engine.native.values import C_TYPES, Buffer, in_buffer
from torchbp.engine.native.writer import Writer

SIGNATURE = """\
/* tensors: the inputs, x, y, and the losses (steps, members). between: from one member's to the next, of each input.
   order: the places of the rows in the tables x and y, or none: then x and y are the rows of the steps in turn. */
void run(long first, long last, long members, long steps, const int64 *order, long of_order, const long *of_x,
         const long *of_y, void *const *tensors, const long *between, char *workspace) {"""


ON_STACK, ALL_ON_STACK = 4096, 2**18  # bytes of the largest memory that is an array of the function, and of all arrays


class Source:
    """The program of a graph that `traced_step` has made.

    Args:
        graph: of one network, or of one member, whose tensors have a first dimension of 1.
        of_members: whether it is of a member; its tensors with dimensions are then each member's own.
        shared: whether all members have the same rows x, and the same y.
        ordered: whether the rows lie in a table, from which their places are taken.
        lanes: how many members go side by side, each in one number of a vector.
        vector_bytes: of the widest vectors of the CPU.
    """

    def __init__(self, graph, of_members, shared, ordered, lanes, vector_bytes):
        self.lanes, self.ordered = lanes, ordered
        nodes = list(graph.graph.nodes)
        written = {n.args[0] for n in nodes if n.op == "call_function" and is_copy(n.target)}
        placeholders = [n for n in nodes if n.op == "placeholder"]
        *of_inputs, x, y = placeholders
        self.inputs = [
            buffer_of(
                f"s{i}",
                n.meta["val"],
                uniform=not (of_members and n.meta["val"].dim()),
                invariant=n not in written,
                is_state=n in written,
            )
            for i, n in enumerate(of_inputs)
        ]
        self.rows = [
            buffer_of(name, n.meta["val"], uniform=all_share, rows=frozenset(name))
            for name, n, all_share in zip("xy", (x, y), shared, strict=True)
        ]
        if of_members and any(buffer.is_state and buffer.uniform for buffer in self.inputs):
            raise NotKnown("a number that all members share and change")
        buffers = dict(zip(placeholders, [*self.inputs, *self.rows], strict=True))
        values = {n: in_buffer(buffer, n.meta["val"].shape) for n, buffer in buffers.items()}
        self.constants, self.of_constants = [], []
        for n in nodes:
            if n.op == "get_attr":  # such as a weight of the loss, whose numbers are read where they are
                tensor = getattr(graph, n.target)
                buffer = buffer_of(f"c{len(self.constants)}", tensor, uniform=True, invariant=True)
                values[n] = in_buffer(buffer, tensor.shape, tensor.stride())
                self.constants.append(tensor)
                self.of_constants.append(buffer)
        self.writer = Writer(lanes, vector_bytes)
        lowering = Lowering(self.writer, values)
        (loss,) = lowering.run(graph.graph)
        self.limits, self.loss_dtype = lowering.limits, loss.dtype
        self.batch = x.meta["val"].shape[-2]
        self.workspace = self.on_stack = 0  # bytes
        self.text = "\n".join(self._lines(loss))

    def _lines(self, loss):
        lanes, fixed = self.lanes, [*self.inputs, *self.of_constants]
        yield SIGNATURE
        for i, buffer in enumerate(fixed):
            if buffer.uniform:
                yield self._pointer(buffer, f"tensors[{i}]")
            elif lanes > 1:
                yield self._memory(buffer)
        for i, buffer in enumerate(self.rows, len(fixed)):
            yield f"const {C_TYPES[buffer.dtype]} *restrict all_{buffer.name} = tensors[{i}];"
            if not self._lies_there(buffer):
                yield self._memory(buffer)
        yield f"{C_TYPES[loss.dtype]} *restrict losses = tensors[{len(fixed) + 2}];"
        yield from map(self._memory, self.writer.buffers)
        yield f"for (long e = first; e < last; e += {lanes}) {{"
        if lanes > 1:
            yield f"long of_block = last - e < {lanes} ? last - e : {lanes};"
        for i, buffer in enumerate(self.inputs):
            if not buffer.uniform:
                yield from self._of_member(i, buffer)
        yield from self.writer.before
        yield "for (long step = 0; step < steps; step++) {"
        for buffer in self.rows:
            yield from self._gathered(buffer)
        yield from self.writer.body
        value = self.writer.text(loss.expression, ["0"] * len(loss.shape))
        if lanes == 1:
            yield f"losses[step * members + e] = {value};"
        else:
            yield f"for (long l = 0; l < of_block; l++) losses[step * members + e + l] = {value};"
        yield "}"
        for i, buffer in enumerate(self.inputs):
            if lanes > 1 and buffer.is_state and not buffer.uniform:
                yield f"for (long l = 0; l < of_block; l++) for (long i = 0; i < {buffer.size}; i++)"
                yield f"{self._of_caller(i, buffer, 'e + l')} = {buffer.name}[i * {lanes} + l];"
        yield "}"
        yield "}"
        yield ""

    def _pointer(self, buffer, text):
        constant = "" if buffer.is_state else "const "
        return f"{constant}{C_TYPES[buffer.dtype]} *restrict {buffer.name} = {text};"

    def _of_caller(self, i, buffer, member):
        return f"(({C_TYPES[buffer.dtype]} *)tensors[{i}])[({member}) * between[{i}] + i]"

    def _of_member(self, i, buffer):
        """The input of the member e; of the members of a block, side by side. After the last one it is repeated."""
        if self.lanes == 1:
            yield self._pointer(buffer, f"({C_TYPES[buffer.dtype]} *)tensors[{i}] + e * between[{i}]")
            return
        yield f"for (long i = 0; i < {buffer.size}; i++) for (long l = 0; l < {self.lanes}; l++)"
        number = self._of_caller(i, buffer, "e + (l < of_block ? l : of_block - 1)")
        yield f"{buffer.name}[i * {self.lanes} + l] = {number};"

    def _memory(self, buffer):
        """An array, or a part of the workspace where that would be too large."""
        ctype = C_TYPES[buffer.dtype]
        count = max(1, buffer.size) * (1 if buffer.uniform else self.lanes)
        size = count * buffer.dtype.itemsize
        if size <= ON_STACK and self.on_stack + size <= ALL_ON_STACK:
            self.on_stack += size
            return f"{ctype} {buffer.name}[{count}] __attribute__((aligned(64)));"
        start, self.workspace = self.workspace, self.workspace + -(-size // 64) * 64
        return f"{ctype} *restrict {buffer.name} = ({ctype} *)(workspace + {start});"

    def _lies_there(self, buffer):
        """Whether the rows of a step are read where the caller has them."""
        return not self.ordered and (buffer.uniform or self.lanes == 1)

    def _gathered(self, buffer):
        """The rows of a step in the memory of `buffer`."""
        name, ctype, width = buffer.name, C_TYPES[buffer.dtype], buffer.size // self.batch
        if self._lies_there(buffer):
            yield f"const {ctype} *restrict {name} = all_{name} + e * of_{name}[0] + step * of_{name}[1];"
            return
        member = "e" if buffer.uniform or self.lanes == 1 else "m"
        offset = f"step * of_{name}[1] + n * {width}"
        if self.ordered:
            offset = f"order[{member} * of_order + step * {self.batch} + n] * {width}"
        row = f"all_{name} + {member} * of_{name}[0] + {offset}"
        if member == "e":
            yield f"for (long n = 0; n < {self.batch}; n++)"
            yield f"memcpy({name} + n * {width}, {row}, {width} * sizeof({ctype}));"
            return
        yield f"for (long l = 0; l < {self.lanes}; l++) {{"
        yield "long m = e + (l < of_block ? l : of_block - 1);"
        yield f"for (long n = 0; n < {self.batch}; n++) {{"
        yield f"const {ctype} *row = {row};"
        yield f"for (long i = 0; i < {width}; i++) {name}[(n * {width} + i) * {self.lanes} + l] = row[i];"
        yield "} }"


def buffer_of(name, tensor, **properties):
    return Buffer(name, tensor.numel(), tensor.dtype, **properties)
