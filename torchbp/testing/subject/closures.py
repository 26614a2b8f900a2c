"""Tensors and modules that a plain function uses without taking them as arguments."""

import copy
import functools
import inspect
from types import CellType, FunctionType, MethodType

import torch
from torch.utils._pytree import tree_leaves

from torchbp.testing.subject.module_copy import copied, tensor_slots

_DEPTH, _LONGEST = 3, 100  # of the dicts and lists that are searched for leaves


def captures_tensors(function):
    """Whether a plain function closes over tensors or modules. Their dtype is then the caller's responsibility."""
    if isinstance(function, functools.partial):
        return _has_tensors((function.args, function.keywords)) or captures_tensors(function.func)
    if inspect.ismethod(function):
        return _has_tensors(vars(function.__self__)) or captures_tensors(function.__func__)
    if not inspect.isfunction(function):
        return _has_tensors(getattr(function, "__dict__", {}))
    variables = inspect.getclosurevars(function)
    containers = (list, tuple, dict)
    return _has_tensors((variables.nonlocals, variables.globals)) or any(
        isinstance(value, containers) for value in variables.nonlocals.values()
    )


def _has_tensors(values):
    return any(isinstance(value, (torch.Tensor, torch.nn.Module)) for value in tree_leaves(values))


def without_captured_leaves(function):
    """(a function that does the same, {name: (leaf, [(dict, key), …])}): its leaves, and where to put others.

    A leaf is a tensor that requires a gradient, or a parameter of a module, in a variable of the function or a default
    of its parameters, in an attribute of the object whose method or call it is, or in an argument of a partial; or in a
    dict or list there. The caller's objects stay as they are: the function is given copies of them.
    """
    slots = {}
    rebuilt = _rebuilt(function, slots)
    return (rebuilt, slots) if slots else (function, {})


def _rebuilt(function, slots):
    if isinstance(function, functools.partial):
        keywords = dict(function.keywords)
        _take_leaves(keywords, slots)
        args = {str(i): value for i, value in enumerate(function.args)}
        _take_leaves(args, slots)
        inner = _rebuilt(function.func, slots)
        return lambda *rest, **given: inner(*args.values(), *rest, **{**keywords, **given})
    if inspect.ismethod(function) and not inspect.isclass(function.__self__):
        held = {"self": function.__self__}
        _take_leaves(held, slots)
        owner = held["self"] if isinstance(held["self"], torch.nn.Module) else _copy_of_object(held["self"], slots)
        return function if owner is None else MethodType(function.__func__, owner)
    if isinstance(function, FunctionType):
        return _rebuilt_function(function, slots)
    if hasattr(function, "__dict__") and not isinstance(function, (type, torch.nn.Module)):
        owner = _copy_of_object(function, slots)
        return function if owner is None else owner
    return function


def _copy_of_object(owner, slots):
    """A copy whose attributes may be replaced, if some of them hold leaves; else None."""
    if isinstance(owner, torch.nn.Module) or not hasattr(owner, "__dict__"):
        return None
    count, other = len(slots), None
    try:
        other = copy.copy(owner)
        _take_leaves(vars(other), slots)
    except Exception:  # it cannot be copied
        return None
    return other if len(slots) > count else None


def _rebuilt_function(function, slots):
    """The function with cells and globals of its own, which are filled from dicts at each call."""
    names = function.__code__.co_freevars
    cells = {}
    for name, cell in zip(names, function.__closure__ or (), strict=True):
        if cell != CellType():  # a cell without content raises
            cells[name] = cell.cell_contents
    used = {name: function.__globals__[name] for name in function.__code__.co_names if name in function.__globals__}
    held = {**used, **cells}
    before = dict(held)
    _take_leaves(held, slots)
    values = function.__defaults__ or ()
    ends = function.__code__.co_argcount
    defaults = dict(zip(function.__code__.co_varnames[ends - len(values) : ends], values, strict=True))
    keywords = dict(function.__kwdefaults__ or {})
    for given in (defaults, keywords):
        _take_leaves(given, slots)
    if all(held[name] is before[name] for name in held) and not slots:
        return function
    own = {name: CellType(held[name]) if name in held else CellType() for name in names}
    variables = {**function.__globals__, **{name: held[name] for name in used}}
    rebuilt = FunctionType(function.__code__, variables, function.__name__, None, tuple(own.values()))

    @functools.wraps(function)
    def call(*args, **kwargs):
        for name in held:
            if name in own:
                own[name].cell_contents = held[name]
            else:
                variables[name] = held[name]
        rebuilt.__defaults__, rebuilt.__kwdefaults__ = tuple(defaults.values()), dict(keywords)
        return rebuilt(*args, **kwargs)

    return call


def _take_leaves(held, slots, words="{}", depth=0):
    """Note the leaves in a dict or list of variables; a module in it, and a dict or list with leaves, become copies.

    `words` makes the name of a leaf of its key.
    """
    for key, value in list(held.items() if isinstance(held, dict) else enumerate(held)):
        name = words.format(key if depth == 0 else repr(key))
        if type(value) in (dict, list) and depth < _DEPTH and len(value) <= _LONGEST:
            count, other = len(slots), value.copy()
            _take_leaves(other, slots, f"{_escaped(name)}[{{}}]", depth + 1)
            if len(slots) > count:
                held[key] = other
        elif isinstance(value, torch.nn.Module):
            parameters = {n: p for n, p in value.named_parameters() if p.requires_grad}
            if not parameters:
                continue
            held[key], error = copied(value)
            if error is None:
                places = tensor_slots(held[key])
                for parameter in parameters:
                    slots[f"{name}.{parameter}"] = parameters[parameter], places[parameter]
        elif isinstance(value, torch.Tensor) and value.is_leaf and value.requires_grad:
            slots[name] = value, [(held, key)]


def _escaped(name):
    return name.replace("{", "{{").replace("}", "}}")
