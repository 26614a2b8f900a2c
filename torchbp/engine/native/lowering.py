"""The operations of a trace, one after the other, as statements in C."""

import operator

import torch

from torchbp.engine.native import elementwise as of_elements
from torchbp.engine.native.elementwise import cast, elementwise, filled, kind, literal, template_of
from torchbp.engine.native.values import (
    Apply,
    Looked,
    Read,
    Value,
    contiguous_strides,
    expanded,
    in_buffer,
    permuted,
    reads,
    reshaped,
    sliced,
    unsqueezed,
    without,
)


class NotKnown(NotImplementedError):
    """An operation that has no C here."""


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

    def looked(self, buffer, offset, strides, place, of_place, size):
        """A `Looked`; of what its place is made of, the limit is known from now on."""
        rows = (name for read in reads(place) if read.buffer is not None for name in read.buffer.rows)
        for name in rows:
            self.limits[name] = min(size, self.limits.get(name, size))
        return Looked(buffer, offset, strides, place, of_place, size)

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
    """Whether a value is computed again where it is used, rather than kept."""
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


# one function for each operation, of the lowering, the tensor that torch made in the trace, and its arguments


def _same(lowering, example, value, *_, **__):
    return value


def _filled_like(lowering, example, value, number=0, **__):
    return filled(number, example.shape, example.dtype)


def _filled(number):
    return lambda lowering, example, *args, **__: filled(number, example.shape, example.dtype)


def _full(lowering, example, *args, **__):
    return filled(args[-1], example.shape, example.dtype)


def _scalar_tensor(lowering, example, number, **__):
    return filled(number, (), example.dtype)


def _arange(lowering, example, *args, **__):
    start, step = (args[0] if len(args) > 1 else 0), (args[2] if len(args) > 2 else 1)
    return cast(Value(tuple(example.shape), torch.int64, Read(None, start, (step,))), example.dtype)


def _cast(lowering, example, value, *_, **__):
    return cast(value, example.dtype)


def _copied(lowering, example, _, value, *__):
    return expanded(cast(value, example.dtype), example.shape)


def _transposed(lowering, example, value, *dims):
    if len(value.shape) < 2:
        return value
    first, second = dims or (0, 1)
    order = list(range(len(value.shape)))
    order[first], order[second] = order[second], order[first]
    return permuted(value, order)


def _squeezed(lowering, example, value, dims=None):
    every = range(len(value.shape))
    dims = every if dims is None else [d % len(value.shape) for d in ([dims] if isinstance(dims, int) else dims)]
    return without(value, [d for d in dims if value.shape[d] == 1])


def _selected(lowering, example, value, dim, index):
    dim %= len(value.shape)
    index %= value.shape[dim]
    return without(sliced(value, dim, index, index + 1), [dim])


def _sliced(lowering, example, value, dim=0, start=None, end=None, step=1):
    return sliced(value, dim, start, end, step)


def _strided(lowering, example, value, shape, strides, offset=0):
    value = lowering.writer.packed(value)
    return Value(tuple(shape), value.dtype, Read(value.expression.buffer, offset or 0, tuple(strides)))


def _split(lowering, example, value, size, dim=0):
    starts = range(0, value.shape[dim], size)
    return tuple(sliced(value, dim, start, start + size) for start in starts)


def _cat(lowering, example, values, dim=0):
    shape = tuple(example.shape)
    dim %= len(shape)
    parts = [cast(v, example.dtype) for v in values]
    buffer = lowering.writer.new(example.numel(), example.dtype, parts)
    strides, place = contiguous_strides(shape), 0
    for part in parts:
        lowering.writer.store(part, buffer, strides, place * strides[dim])
        place += part.shape[dim]
    return in_buffer(buffer, shape)


def _where(lowering, example, condition, yes, no):
    shape, dtype = example.shape, example.dtype
    operands = [expanded(condition, shape).expression]
    operands += [of_elements.operand(arg, shape, dtype) for arg in (yes, no)]
    return Value(tuple(shape), dtype, Apply("({0} ? {1} : {2})", tuple(operands)))


def _clamp(lowering, example, value, low=None, high=None):
    for name, bound in (("clamp_min", low), ("clamp_max", high)):
        if bound is not None:
            value = elementwise(name, (value, bound), None, example.shape, example.dtype)
    return cast(value, example.dtype)


def _addcmul(template):
    def of(lowering, example, value, first, second, value_=1, **options):
        factor = options.get("value", value_)
        operands = [of_elements.operand(arg, example.shape, example.dtype) for arg in (value, first, second, factor)]
        return Value(tuple(example.shape), example.dtype, Apply(template, tuple(operands)))

    return of


def _pow_of_number(lowering, example, base, exponent):
    return elementwise("pow.Scalar", (base, exponent), None, example.shape, example.dtype)


def _threshold_backward(lowering, example, gradient, value, threshold):
    return _where(
        lowering,
        example,
        Value(value.shape, torch.bool, Apply(f"({{0}} <= {literal(threshold, value.dtype)})", (value.expression,))),
        0,
        gradient,
    )


SUM, LARGEST, SMALLEST = "{0} + {1}", "max_{T}({0}, {1})", "min_{T}({0}, {1})"
PRODUCT, ANY, ALL = "{0} * {1}", "({0} || {1})", "({0} && {1})"


def _reduction(operation, start):
    def of(lowering, example, value, dims=None, keepdim=False, **_):
        return reduce(lowering, operation, start, cast(value, example.dtype), dims, keepdim)

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


def _mean(lowering, example, value, dims=None, keepdim=False, **_):
    value = cast(value, example.dtype)
    total = reduce(lowering, SUM, 0, value, dims, keepdim)
    count = value.numel // max(1, total.numel)
    return elementwise("div.Scalar", (total, count), None, example.shape, example.dtype)


def _var_mean(lowering, example, value, dims=None, *, correction=1, keepdim=False):
    of_rows = _mean(lowering, torch.empty(_kept(value, dims), dtype=example[1].dtype), value, dims, True)
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


def _kept(value, dims):
    rank = len(value.shape)
    dims = [d % rank for d in ([dims] if isinstance(dims, int) else dims or range(rank))]
    return [1 if d in dims else n for d, n in enumerate(value.shape)]


def _mm(lowering, example, a, b):
    return lowering.writer.product(a, b)


def _bmm(lowering, example, a, b):
    batches = [
        lowering.writer.product(*(_selected(lowering, None, m, 0, e) for m in (a, b))) for e in range(a.shape[0])
    ]
    if len(batches) == 1:
        return unsqueezed(batches[0], 0)
    return _cat(lowering, example, [unsqueezed(batch, 0) for batch in batches])


def _mv(lowering, example, a, b):
    return _squeezed(lowering, None, lowering.writer.product(a, unsqueezed(b, 1)), 1)


def _dot(lowering, example, a, b):
    return _squeezed(lowering, None, lowering.writer.product(unsqueezed(a, 0), unsqueezed(b, 1)))


def _added(of_product):
    def of(lowering, example, value, a, b, *, beta=1, alpha=1):
        result = of_product(lowering, example, a, b)
        if alpha != 1:
            result = elementwise("mul.Scalar", (result, alpha), None, example.shape, example.dtype)
        if beta != 1:
            value = elementwise("mul.Scalar", (value, beta), None, value.shape, example.dtype)
        return elementwise("add.Tensor", (value, result), None, example.shape, example.dtype)

    return of


def _gathered(lowering, example, value, dim, place, **_):
    dim %= max(1, len(value.shape))
    return looked_up(lowering, value, dim, place, example.shape)


def looked_up(lowering, value, dim, place, shape):
    """value[…, place[index], …] at dimension `dim`, where the other dimensions are those of the index."""
    value = lowering.writer.in_memory(value)
    read = value.expression
    strides = tuple(0 if d == dim else s for d, s in enumerate(read.strides))
    looked = lowering.looked(read.buffer, read.offset, strides, place.expression, read.strides[dim], value.shape[dim])
    return Value(tuple(shape), value.dtype, looked)


def _rows_of(lowering, example, value, place, *_, **__):
    """value[place], for an embedding."""
    return _at_first(lowering, example, value, place)


def _at_first(lowering, example, value, place):
    value = lowering.writer.in_memory(value)
    read, rest = value.expression, len(value.shape) - 1
    places = len(place.shape)
    of_place = place.expression.at(lambda offset, strides: (offset, strides + (0,) * rest))
    strides = (0,) * places + read.strides[1:]
    looked = lowering.looked(read.buffer, read.offset, strides, of_place, read.strides[0], value.shape[0])
    return Value(tuple(example.shape), value.dtype, looked)


def _indexed(lowering, example, value, places):
    used = [d for d, place in enumerate(places) if place is not None]
    if used != [0] or places[0].dtype is torch.bool:
        raise NotKnown("an index by several tensors, or by bools")
    return _at_first(lowering, example, value, places[0])


def _index_select(lowering, example, value, dim, place):
    if dim % max(1, len(value.shape)):
        raise NotKnown("index_select of another dimension than the first")
    return _at_first(lowering, example, value, place)


def _scattered(lowering, example, value, dim, place, source, **_):
    """value with value[…, place[index], …] = source[index]."""
    if not isinstance(source, Value):
        source = filled(source, place.shape, example.dtype)
    source = sliced_to(source, place.shape)
    return _scatter(lowering, example, value, dim, place, cast(source, example.dtype), "{0} = {1};")


def _scatter_added(lowering, example, value, dim, place, source):
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


def _index_put(lowering, example, value, places, source, accumulate=False):
    """value with value[places[0][n], …] = source[n, …], or += it."""
    if [d for d, place in enumerate(places) if place is not None] != [0] or places[0].dtype is torch.bool:
        raise NotKnown("an assignment at several tensors, or at bools")
    rest = value.shape[1:]
    source = expanded(cast(source, example.dtype), (*places[0].shape, *rest))
    source, place = lowering.reshape(source, (-1, *rest)), lowering.reshape(places[0], (-1, *[1] * len(rest)))
    statement = "{0} += {1};" if accumulate else "{0} = {1};"
    return _scatter(lowering, example, value, 0, expanded(place, source.shape), source, statement)


HANDLERS = {
    "_to_copy": _cast,
    "_unsafe_view": lambda lowering, example, value, shape: lowering.reshape(value, shape),
    "addcdiv": _addcmul("({0} + {3} * ({1} / {2}))"),
    "addcmul": _addcmul("({0} + {3} * {1} * {2})"),
    "addmm": _added(_mm),
    "addmv": _added(_mv),
    "alias": _same,
    "all": _reduction(ALL, 1),
    "amax": _reduction(LARGEST, -float("inf")),
    "amin": _reduction(SMALLEST, float("inf")),
    "any": _reduction(ANY, 0),
    "arange": _arange,
    "as_strided": _strided,
    "baddbmm": _added(_bmm),
    "bmm": _bmm,
    "cat": _cat,
    "clamp": _clamp,
    "clone": _same,
    "contiguous": _same,
    "convert_element_type": _cast,
    "copy": _copied,
    "detach": _same,
    "dot": _dot,
    "embedding": _rows_of,
    "empty": _filled(0),
    "empty_like": _filled(0),
    "empty_permuted": _filled(0),
    "empty_strided": _filled(0),
    "expand": lambda lowering, example, value, shape, **_: expanded(value, shape),
    "fill": _filled_like,
    "full": _full,
    "full_like": _filled_like,
    "gather": _gathered,
    "hardtanh": lambda lowering, example, value, low=-1, high=1: _clamp(lowering, example, value, low, high),
    "index.Tensor": _indexed,
    "index_put": _index_put,
    "index_select": _index_select,
    "lift_fresh": _same,
    "mean": _mean,
    "mm": _mm,
    "mv": _mv,
    "new_empty": _filled(0),
    "new_full": _full,
    "new_ones": _filled(1),
    "new_zeros": _filled(0),
    "ones": _filled(1),
    "ones_like": _filled(1),
    "permute": lambda lowering, example, value, dims: permuted(value, dims),
    "pow.Scalar": _pow_of_number,
    "prod": _reduction(PRODUCT, 1),
    "scalar_tensor": _scalar_tensor,
    "scatter.src": _scattered,
    "scatter.value": _scattered,
    "scatter_add": _scatter_added,
    "select": _selected,
    "slice": _sliced,
    "split": _split,
    "squeeze": _squeezed,
    "sum": _reduction(SUM, 0),
    "t": _transposed,
    "threshold_backward": _threshold_backward,
    "transpose": _transposed,
    "unsqueeze": lambda lowering, example, value, dim: unsqueezed(value, dim),
    "var_mean": _var_mean,
    "view": lambda lowering, example, value, shape: lowering.reshape(value, shape),
    "where.self": _where,
    "where.ScalarOther": _where,
    "where.Scalar": _where,
    "where.ScalarSelf": _where,
    "zeros": _filled(0),
    "zeros_like": _filled(0),
}
