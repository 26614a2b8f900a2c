"""The elementwise operations of torch's core, each as C.

{0}, {1}, … are the operands, in the type {T} in which torch computes: that of the result, or, of a comparison, that to
which the operands are promoted. Functions of the form name_{T} are in functions.h.
"""

import math

import torch

from torchbp.engine.native.values import C_TYPES, Apply, Value, constant
from torchbp.engine.native.views import expanded


class NotKnown(NotImplementedError):
    """An operation that has no form in C."""


TEMPLATES = {
    "abs": "abs_{T}({0})",
    "add.Tensor": "({0} + {1})",
    "add.Scalar": "({0} + {1})",
    "bitwise_and": "({0} & {1})",
    "bitwise_left_shift": "({0} << {1})",
    "bitwise_not": "(~{0})",
    "bitwise_or": "({0} | {1})",
    "bitwise_right_shift": "({0} >> {1})",
    "bitwise_xor": "({0} ^ {1})",
    "__and__": "({0} & {1})",
    "__lshift__": "({0} << {1})",
    "__or__": "({0} | {1})",
    "__rshift__": "({0} >> {1})",
    "__xor__": "({0} ^ {1})",
    "ceil": "ceil_{T}({0})",
    "clamp_max": "min_{T}({0}, {1})",
    "clamp_min": "max_{T}({0}, {1})",
    "cos": "cos_{T}({0})",
    "div.Scalar": "({0} / {1})",
    "div.Tensor": "({0} / {1})",
    "erf": "erf_{T}({0})",
    "erfc": "erfc_{T}({0})",
    "exp": "exp_{T}({0})",
    "expm1": "expm1_{T}({0})",
    "floor": "floor_{T}({0})",
    "isinf": "(abs_{T}({0}) == INFINITY)",
    "isnan": "({0} != {0})",
    "lerp.Scalar": "lerp_{T}({0}, {1}, {2})",
    "lerp.Tensor": "lerp_{T}({0}, {1}, {2})",
    "log": "log_{T}({0})",
    "log1p": "log1p_{T}({0})",
    "logical_and": "({0} && {1})",
    "logical_not": "(!{0})",
    "logical_or": "({0} || {1})",
    "maximum": "max_{T}({0}, {1})",
    "minimum": "min_{T}({0}, {1})",
    "mul.Scalar": "({0} * {1})",
    "mul.Tensor": "({0} * {1})",
    "neg": "(-{0})",
    "pow.Scalar": "pow_{T}({0}, {1})",
    "pow.Tensor_Scalar": "pow_{T}({0}, {1})",
    "pow.Tensor_Tensor": "pow_{T}({0}, {1})",
    "reciprocal": "(1 / {0})",
    "relu": "max_{T}({0}, 0)",
    "round": "round_{T}({0})",
    "rsqrt": "(1 / sqrt_{T}({0}))",
    "rsub.Scalar": "({1} - {0})",
    "sgn": "sign_{T}({0})",
    "sigmoid": "sigmoid_{T}({0})",
    "sigmoid_backward": "({0} * (1 - {1}) * {1})",
    "sign": "sign_{T}({0})",
    "sin": "sin_{T}({0})",
    "sqrt": "sqrt_{T}({0})",
    "square": "({0} * {0})",
    "sub.Scalar": "({0} - {1})",
    "sub.Tensor": "({0} - {1})",
    "tanh": "tanh_{T}({0})",
    "tanh_backward": "({0} * (1 - {1} * {1}))",
}
OF_BOOLS = {  # the others are those of numbers, of which every one but 0 is true
    "abs": "{0}",
    "bitwise_not": "(!{0})",
    "clamp_max": "({0} && {1})",
    "clamp_min": "({0} || {1})",
    "maximum": "({0} || {1})",
    "minimum": "({0} && {1})",
    "sgn": "{0}",
    "sign": "{0}",
}
COMPARISONS = {"eq": "==", "ge": ">=", "gt": ">", "le": "<=", "lt": "<", "ne": "!="}
OF_INTEGERS = {"abs", "ceil", "clamp_max", "clamp_min", "floor", "maximum", "minimum", "relu", "round", "sgn", "sign"}
POWERS = {-1.0: "(1 / {0})", -0.5: "(1 / sqrt_{T}({0}))", 0.5: "sqrt_{T}({0})", 1.0: "{0}", 2.0: "({0} * {0})"}
POWERS[3.0] = "({0} * {0} * {0})"


def template_of(name):
    """C of the operation `name`, with or without its overload; None where it has none here."""
    for key in (name, name.split(".")[0]):
        if key in TEMPLATES:
            return TEMPLATES[key], False
        if key in COMPARISONS:
            return f"({{0}} {COMPARISONS[key]} {{1}})", True
    return None


def elementwise(name, args, alpha, shape, dtype):
    """The value of an operation of TEMPLATES or COMPARISONS."""
    template, compares = template_of(name)
    computed = _promoted(args) if compares or dtype is torch.bool else dtype
    if computed is torch.bool:
        template = OF_BOOLS.get(name.split(".")[0]) or f"({template} != 0)"
    if name == "pow.Tensor_Scalar" and float(args[1]) in POWERS:
        template, args = POWERS[float(args[1])], args[:1]
    operands = [operand(arg, shape, computed) for arg in args]
    if alpha not in (None, 1):
        scaled = 0 if name == "rsub.Scalar" else 1
        operands[scaled] = Apply(f"({{0}} * {literal(alpha, computed)})", (operands[scaled],))
    if not computed.is_floating_point and "{T}" in template and name.split(".")[0] not in OF_INTEGERS:
        raise NotKnown(f"torch's operation {name} of {computed}")
    return Value(tuple(shape), dtype, Apply(template.replace("{T}", kind(computed)), tuple(operands)))


def kind(dtype):
    """How functions.h calls the type."""
    return C_TYPES[dtype].replace(" ", "_")


def operand(arg, shape, dtype):
    """The expression of a tensor or number, broadcast to the shape, in the type of the operation."""
    if not isinstance(arg, Value):
        return Apply(literal(arg, dtype))
    return cast(expanded(arg, shape), dtype).expression


def cast(value, dtype):
    if value.dtype is dtype:
        return value
    text = "({0} != 0)" if dtype is torch.bool else f"(({C_TYPES[dtype]}){{0}})"
    return Value(value.shape, dtype, Apply(text, (value.expression,)))


def literal(number, dtype):
    """The number in C, in this type."""
    if dtype.is_floating_point:
        number, suffix = float(number), "f" if dtype is torch.float32 else ""
        if math.isinf(number):
            return "INFINITY" if number > 0 else "(-INFINITY)"
        return "NAN" if math.isnan(number) else f"({number!r}{suffix})"
    if number == torch.iinfo(torch.int64).min:  # C reads the digits first, which are no number without their sign
        return f"({number + 1}LL - 1)"
    return f"({int(number)}LL)" if dtype is torch.int64 else f"({int(number)})"


def filled(number, shape, dtype):
    return constant(literal(number, dtype), shape, dtype)


def _promoted(args):
    examples = [torch.empty((1,) * len(a.shape), dtype=a.dtype) if isinstance(a, Value) else a for a in args]
    return examples[0].dtype if len(examples) == 1 else torch.result_type(*examples)
