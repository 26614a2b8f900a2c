"""The operations of a trace, one after the other, as statements in C."""

import operator

import torch

from torchbp.engine.native.elementwise import NotKnown, cast, elementwise, template_of
from torchbp.engine.native.operations import HANDLERS
from torchbp.engine.native.values import Apply, Looked, Read, Value, reads
from torchbp.engine.native.views import reshaped


class Lowering:
    """Writes the statements of each node of a graph. `values` are those of its placeholders and constants."""

    def __init__(self, writer, values):
        self.writer, self.values, self.seen = writer, dict(values), {}
        self.limits = {}  # "x" or "y", where it holds indices: the number that they must be under

    def run(self, graph):
        """The values that the graph returns. The inputs that it copies to are written last."""
        copies = []
        for node in graph.nodes:
            if node.op == "output":
                results = [self.writer.in_memory(self.values[n]) for n in node.args[0]]
            elif node.op == "call_function" and is_copy(node.target) and node.args[0].op == "placeholder":
                copies.append([self.values[arg] for arg in node.args])
            elif node.op == "call_function":
                self.values[node] = self.once(node)
                if writes_in_place(node.target):  # into a result of before: whoever reads it from now on, reads this
                    if node.args[0].op == "get_attr":
                        raise NotKnown("a layer that changes its buffers in each step")
                    self.values[node.args[0]] = self.values[node]
        self.set(copies)
        return results

    def set(self, copies):
        """Write the new values of the states. None of them may read a state that was written before it."""
        for copy in copies:
            target, value = copy
            own = target.expression.buffer
            others = [read for read in reads(value.expression) if read.buffer is not None and read.buffer.is_state]
            if not all(read.buffer is own and is_at_same_place(read, target) for read in others):
                copy[1] = self.writer.packed(value)
        for target, value in copies:
            self.writer.store(cast(value, target.dtype), target.expression.buffer)

    def once(self, node):
        """The value of a node; that of an equal one before it is not computed again."""
        args = node.args
        if node.target is not operator.getitem and node.target._opname in REDUCTIONS and len(args) > 1 and args[1]:
            dims = args[1] if isinstance(args[1], (list, tuple)) else [args[1]]
            args = (args[0], [d % len(self.values[args[0]].shape) for d in dims], *args[2:])
        key = (node.target, _hashable(args, self.values), _hashable(node.kwargs, self.values))
        if key not in self.seen:
            self.seen[key] = self.lowered(node)
        return self.seen[key]

    def lowered(self, node):
        args = torch.fx.node.map_arg(node.args, self.values.__getitem__)
        if node.target is operator.getitem:
            return args[0][args[1]]
        name = name_of(node.target)
        options = torch.fx.node.map_arg(node.kwargs, self.values.__getitem__)
        value = self.of_operation(name, node, args, options)
        if isinstance(value, Value) and len(node.users) > 1 and not is_cheap(value):
            value = self.writer.in_memory(value)
        return value

    def of_operation(self, name, node, args, options):
        example = node.meta["val"]
        if isinstance(example, torch.Tensor):
            args = [self.computed_once(arg, example) if isinstance(arg, Value) else arg for arg in args]
        if template_of(name):
            alpha = options.get("alpha")
            if name == "rsub.Scalar" and len(args) == 3:
                *args, alpha = args
            return elementwise(name, args, alpha, example.shape, example.dtype)
        handler = handler_of(name)
        if handler is None:
            raise NotKnown(f"torch's operation {name}")
        return handler(self, example, *args, **options)

    def computed_once(self, value, result):
        """The value, in memory if it would be computed for each of many numbers of a larger result."""
        return self.writer.in_memory(value) if value.numel < result.numel() and not is_cheap(value) else value

    def looked(self, buffer, offset, strides, index, index_stride, size):
        """A `Looked`; of what its index is made of, the limit is known from now on."""
        rows = (name for read in reads(index) if read.buffer is not None for name in read.buffer.rows)
        for name in rows:
            self.limits[name] = min(size, self.limits.get(name, size))
        return Looked(buffer, offset, strides, index, index_stride, size)

    def reshape(self, value, shape):
        viewed = reshaped(value, shape)
        return viewed if viewed is not None else reshaped(self.writer.packed(value), shape)


REDUCTIONS = "amax", "amin", "mean", "sum"  # where −1 may be another name of the last dimension


def name_of(target):
    """As torch calls the operation, "add.Tensor", and its view where it is a copy of one; without ".default"."""
    name = target._opname
    if writes_in_place(target):
        name = name[:-1]
    if name not in ("copy", "_to_copy"):
        name = name.replace("_copy", "")
    return name if target._overloadname == "default" else f"{name}.{target._overloadname}"


def handler_of(name):
    return HANDLERS.get(name) or HANDLERS.get(name.split(".")[0])


def is_known(target):
    """Whether an operation of torch has a form in C."""
    name = name_of(target)
    return template_of(name) is not None or handler_of(name) is not None


def is_at_same_place(read, target):
    """Whether each number of a read is that of the target at the same index."""
    if not isinstance(read, Read) or read.offset:
        return False
    pairs = zip(read.strides, target.expression.strides, target.shape, strict=True)
    return all(a == b or n == 1 for a, b, n in pairs)


def writes_in_place(target):
    name = getattr(target, "_opname", "")
    return name.endswith("_") and not name.endswith("__")


def is_copy(target):
    return isinstance(target, torch._ops.OpOverload) and target._opname == "copy_"


def is_cheap(value):
    """Whether a value is computed again where it is used, rather than stored."""
    expression = value.expression
    if isinstance(expression, Apply):
        return all(isinstance(arg, Apply) and not arg.args for arg in expression.args) or (
            len(expression.args) == 1 and isinstance(expression.args[0], Read) and "_" not in expression.template
        )
    return isinstance(expression, Read)


def _hashable(args, values):
    if isinstance(args, torch.fx.Node):
        value = values[args]
        return id(value) if not isinstance(value, Value) else value
    if isinstance(args, (list, tuple)):
        return tuple(_hashable(arg, values) for arg in args)
    if isinstance(args, dict):
        return tuple((key, _hashable(arg, values)) for key, arg in args.items())
    return (type(args), args)
