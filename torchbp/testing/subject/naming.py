"""Names for messages: of the function, of its arguments, of an entry of a tensor."""

import inspect

import torch
from torch.utils._pytree import tree_flatten


def name_of(function):
    """`sigmoid`, `MyFunction`, `mylib::op`; of a module its class."""
    if isinstance(function, torch.nn.Module):
        return type(function).__name__
    if isinstance(function, torch._ops.OpOverloadPacket):  # its __name__ is that of a binding
        return function._qualified_op_name
    if inspect.ismethod(function) and inspect.isclass(function.__self__):  # MyFunction.apply
        return f"{name_of(function.__self__)}.{function.__name__}"
    for attribute in ("__name__",) if inspect.isbuiltin(function) else ("__qualname__", "__name__", "_qualname"):
        name = getattr(function, attribute, None)
        if isinstance(name, str):
            return name.split("<locals>.")[-1]
    return str(function) if hasattr(function, "_schema") else type(function).__name__


def is_registered_operator(function):
    """Whether torch.library knows it."""
    operator = getattr(function, "_opoverload", function)
    return hasattr(operator, "_schema") or hasattr(operator, "overloads")


def expression(function):
    """How to write the function in a line of Python; `module` or `function` if it has no name."""
    if isinstance(function, torch.nn.Module):
        return "module"
    name = name_of(function)
    if "::" in name:
        return f"torch.ops.{name.replace('::', '.')}"
    if getattr(torch, name, None) is function:
        return f"torch.{name}"
    bound = inspect.ismethod(function) and not inspect.isclass(function.__self__)
    named = hasattr(function, "__name__") and all(part.isidentifier() for part in name.split("."))
    return name if named and not bound else "function"


def parameters_of(function):
    """The parameters of the signature, without self and ctx; [] if Python does not know them."""
    owner = getattr(function, "__self__", None)
    if inspect.isclass(owner) and issubclass(owner, torch.autograd.Function):  # its apply
        function = owner
    if isinstance(function, torch.nn.Module):
        function = function.forward
    elif inspect.isclass(function) and issubclass(function, torch.autograd.Function):
        with_ctx = function.setup_context is torch.autograd.Function.setup_context
        parameters = list(inspect.signature(function.forward).parameters.values())
        return parameters[1:] if with_ctx else parameters
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return []


def _schema_names(function):
    """The names of the arguments of a registered operator."""
    overload = getattr(function, "_opoverload", None) or getattr(function, "default", function)
    schema = getattr(overload, "_schema", None)
    return [argument.name for argument in schema.arguments] if schema is not None else []


def argument_names(function, args, kwargs):
    """A name for each leaf of (args, kwargs), in the order of `tree_flatten`."""
    positional, rest = [], None
    for parameter in parameters_of(function):
        if parameter.kind is parameter.VAR_POSITIONAL:
            rest = parameter.name
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            positional.append(parameter.name)
    positional = _schema_names(function) or positional
    names = []
    for i, value in enumerate(args):
        if i < len(positional):
            name = positional[i]
        elif rest is not None:
            name = f"{rest}[{i - len(positional)}]"
        else:
            name = "input" if len(args) == 1 else f"input{i}"
        names += _leaf_names(name, value)
    for key, value in kwargs.items():
        names += _leaf_names(key, value)
    return names


def _leaf_names(name, value):
    if not isinstance(value, (list, tuple, dict)):
        return [name]
    return [f"{name}[{i}]" for i in range(len(tree_flatten(value)[0]))]


def entry(name, index, shape):
    """`weight[0, 1]` for a flat index; for a tensor without dimensions its name."""
    if not shape:
        return name
    name = f"({name})" if " " in name and not name.startswith("(") else name
    indices = []
    for size in reversed(shape):
        indices.append(index % size)
        index //= size
    return f"{name}[{', '.join(map(str, reversed(indices)))}]"


def six_digits(value):
    """Six digits."""
    return f"{value:.6g}"


def unlike(a, b):
    """Two numbers with as many digits, from six on, as show that they differ."""
    digits = next((d for d in range(6, 17) if f"{a:.{d}g}" != f"{b:.{d}g}"), 6)
    return tuple(f"{number + 0.0:.{digits}g}" for number in (a, b))  # -0.0 is 0


def listing(words):
    """`a, b and c`."""
    words = list(words)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
