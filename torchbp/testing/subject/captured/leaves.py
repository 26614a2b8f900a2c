"""Find the leaves that a function uses without taking them as arguments, and make a copy of it that uses others."""

import copy
import dis
import functools
import inspect
from collections import deque
from types import CellType, CodeType, FunctionType, MethodType, ModuleType

import torch
from torch.utils._pytree import tree_leaves

from torchbp.testing.subject.captured.holders import (
    Attributes,
    Items,
    Slots,
    is_function_class,
    is_of_torch,
    static_methods,
)
from torchbp.testing.subject.module_copy import copied, tensor_slots

_DEPTH, _LONGEST = 4, 100  # of the dicts, lists, tuples, objects and functions that are searched for leaves
_NOT_SEARCHED = (type, ModuleType)
_COPIED = (dict, list, deque)  # a copy of these, or of a class derived from them, is written to


def captures_tensors(function):
    """Whether a plain function closes over tensors or modules. Their dtype is then the caller's responsibility."""
    if isinstance(function, functools.partial):
        return _has_tensors((function.args, function.keywords)) or captures_tensors(function.func)
    if inspect.ismethod(function):
        return _has_tensors(dict(Attributes(function.__self__))) or captures_tensors(function.__func__)
    if not inspect.isfunction(function):
        return _has_tensors(dict(Attributes(function)))
    variables = inspect.getclosurevars(function)
    return _has_tensors((variables.nonlocals, variables.globals)) or any(
        isinstance(value, (list, tuple, dict)) or _has_tensors(dict(Attributes(value)))
        for value in variables.nonlocals.values()
    )


def _has_tensors(values):
    return any(isinstance(value, (torch.Tensor, torch.nn.Module)) for value in tree_leaves(values))


def without_captured_leaves(function):
    """(a function that does the same, {name: (leaf, [(holder, key), …])}): its leaves, and where to put others.

    A leaf is a tensor that requires a gradient, or a parameter of a module, in a variable of the function or a default
    of its parameters, in an attribute of the object whose method or call it is, or in an argument of a partial; or in a
    dict, list, tuple, object or function there. Of an autograd.Function, and of one that the function applies, the
    static methods are searched. The caller's objects stay as they are: the function is given copies.
    """
    slots = Slots()
    slots.searched.add(id(function))
    rebuilt = _rebuilt(function, slots)
    return (rebuilt, slots) if slots else (function, {})


def _rebuilt(function, slots):
    if is_function_class(function):
        return _rebuilt_class(function, slots)
    if inspect.ismethod(function) and is_function_class(function.__self__):  # its apply
        return getattr(_rebuilt_class(function.__self__, slots), function.__name__)
    if isinstance(function, functools.partial):
        keywords = dict(function.keywords)
        _take_leaves(keywords, slots)
        args = {f"args[{i}]": value for i, value in enumerate(function.args)}
        _take_leaves(args, slots)
        inner = _rebuilt(function.func, slots)
        return lambda *rest, **given: inner(*args.values(), *rest, **{**keywords, **given})
    if inspect.ismethod(function) and not inspect.isclass(function.__self__):
        held = {"self": function.__self__}
        if isinstance(function.__self__, torch.nn.Module):
            _take_leaves(held, slots)
        else:
            held["self"] = _copy_of_object(function.__self__, slots)
        return MethodType(function.__func__, held["self"])
    if isinstance(function, FunctionType):
        return _rebuilt_function(function, slots)
    return function if isinstance(function, torch.nn.Module) else _copy_of_object(function, slots)


def _copy_of_object(owner, slots, name="{}".format, depth=0):
    """A copy whose attributes may be replaced, if some of them hold leaves; else the object itself."""
    if isinstance(owner, _NOT_SEARCHED) or is_of_torch(type(owner)):
        return owner
    return _copy_of_holder(owner, Attributes, slots, name, depth)


def _copy_of_holder(holder, contents, slots, name, depth):
    """A copy with leaves of its own in its contents, if there are leaves; else the holder itself."""
    before, count, held = dict(slots), slots.count, contents(holder)
    _take_leaves(dict(held) if isinstance(held, dict) else list(held), slots, name, depth)
    if slots.count == count:
        return holder
    slots.clear()
    slots.update(before)
    slots.count = count
    try:  # only what holds leaves is copied: of other objects, such as files, a copy may do harm
        other = copy.copy(holder)
    except Exception:
        return holder
    if other is not holder:
        _take_leaves(contents(other), slots, name, depth)
    return other


def _rebuilt_class(function_class, slots, depth=0):
    """A class derived from an autograd.Function, if the methods of it hold leaves; else the class itself."""
    count = slots.count
    methods = {name: _rebuilt_function(m, slots, depth) for name, m in static_methods(function_class).items()}
    if slots.count == count:
        return function_class
    methods = {name: staticmethod(method) for name, method in methods.items()}
    return type(function_class)(function_class.__name__, (function_class,), methods)


def _rebuilt_function(function, slots, depth=0):
    """The function with cells and globals of its own, which are filled from dicts at each call."""
    names = function.__code__.co_freevars
    cells = {}
    for name, cell in zip(names, function.__closure__ or (), strict=True):
        if cell != CellType():  # a cell without content raises
            cells[name] = cell.cell_contents
    variables = function.__globals__
    used = {name: variables[name] for name in _global_names(function.__code__) if name in variables}
    held, count = {**used, **cells}, slots.count
    _take_leaves(held, slots, depth=depth)
    values = function.__defaults__ or ()
    ends = function.__code__.co_argcount
    defaults = dict(zip(function.__code__.co_varnames[ends - len(values) : ends], values, strict=True))
    keywords = dict(function.__kwdefaults__ or {})
    for given in (defaults, keywords):
        _take_leaves(given, slots, depth=depth)
    if slots.count == count:
        return function
    own = {name: CellType(held[name]) if name in held else CellType() for name in names}
    variables = {**variables, **{name: held[name] for name in used}}
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


def _global_names(code):
    """The global variables that code reads, also within the functions and comprehensions that it defines."""
    names = (line.argval for line in dis.get_instructions(code) if line.opname == "LOAD_GLOBAL")
    inner = (name for part in code.co_consts if isinstance(part, CodeType) for name in _global_names(part))
    return dict.fromkeys([*names, *inner])


def _take_leaves(held, slots, name="{}".format, depth=0):
    """Note the leaves among variables, {key: value} or a list; what holds some is replaced by a copy.

    `name` makes the name of a leaf of its key.
    """
    for key, value in list(held.items() if isinstance(held, dict) else enumerate(held)):
        if isinstance(value, torch.nn.Module):
            parameters = {n: p for n, p in value.named_parameters() if p.requires_grad}
            if not parameters:
                continue
            held[key], error = copied(value)
            if error is None:
                places = tensor_slots(held[key])
                for parameter, leaf in parameters.items():
                    slots.add(f"{name(key)}.{parameter}", leaf, places[parameter])
        elif isinstance(value, torch.Tensor):
            if value.is_leaf and value.requires_grad:
                slots.add(name(key), value, [(held, key)])
        elif depth < _DEPTH and id(value) not in slots.searched and _is_searched(value):
            count = slots.count
            slots.searched.add(id(value))
            other = _searched(value, held, key, slots, name(key), depth + 1)
            if slots.count > count:
                slots.searched.discard(id(value))  # another place of it needs a copy too
                held[key] = other


def _is_searched(value):
    return is_function_class(value) or not isinstance(value, _NOT_SEARCHED)


def _searched(value, held, key, slots, name, depth):
    """A copy of a dict, list, tuple, object or function, if there are leaves in it."""
    if isinstance(value, FunctionType):
        return value if is_of_torch(value) else _rebuilt_function(value, slots, depth)
    if isinstance(value, type):
        return _rebuilt_class(value, slots, depth)
    if isinstance(value, (functools.partial, MethodType)):
        return _rebuilt(value, slots)
    if not isinstance(value, (tuple, *_COPIED)) or is_of_torch(type(value)):
        return _copy_of_object(value, slots, lambda inner: f"{name}.{inner}", depth)
    if len(value) > _LONGEST:
        return value

    def name_inside(index):
        return f"{name}[{index!r}]"

    if isinstance(value, _COPIED):
        return _copy_of_holder(value, lambda container: container, slots, name_inside, depth)
    _take_leaves(Items(value, held, key), slots, name_inside, depth)
    return held[key]
