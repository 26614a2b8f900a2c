"""Tensors and modules that a plain function uses without taking them as arguments."""

import copy
import functools
import inspect
from types import CellType, CodeType, FunctionType, MethodType, ModuleType

import torch
from torch.utils._pytree import tree_leaves

from torchbp.testing.subject.module_copy import copied, tensor_slots

_DEPTH, _LONGEST = 4, 100  # of the dicts, lists, tuples, objects and functions that are searched for leaves
_NOT_SEARCHED = (type, ModuleType)


def captures_tensors(function):
    """Whether a plain function closes over tensors or modules. Their dtype is then the caller's responsibility."""
    if isinstance(function, functools.partial):
        return _has_tensors((function.args, function.keywords)) or captures_tensors(function.func)
    if inspect.ismethod(function):
        return _has_tensors(dict(_Attributes(function.__self__))) or captures_tensors(function.__func__)
    if not inspect.isfunction(function):
        return _has_tensors(dict(_Attributes(function)))
    variables = inspect.getclosurevars(function)
    return _has_tensors((variables.nonlocals, variables.globals)) or any(
        isinstance(value, (list, tuple, dict)) or _has_tensors(dict(_Attributes(value)))
        for value in variables.nonlocals.values()
    )


def _has_tensors(values):
    return any(isinstance(value, (torch.Tensor, torch.nn.Module)) for value in tree_leaves(values))


def without_captured_leaves(function):
    """(a function that does the same, {name: (leaf, [(holder, key), …])}): its leaves, and where to put others.

    A leaf is a tensor that requires a gradient, or a parameter of a module, in a variable of the function or a default
    of its parameters, in an attribute of the object whose method or call it is, or in an argument of a partial; or in a
    dict, list, tuple, object or function there. The caller's objects stay as they are: the function is given copies.
    """
    slots = _Slots()
    rebuilt = _rebuilt(function, slots)
    return (rebuilt, slots) if slots else (function, {})


class _Slots(dict):
    """{name: (leaf, [(holder, key), …])}; and the ids of what was searched: functions may refer to each other."""

    def __init__(self):
        super().__init__()
        self.count, self.searched = 0, set()

    def add(self, name, leaf, places):
        """A leaf at further places. Leaves of one name, of variables of two functions, get names that differ."""
        self.count += 1
        others = (f"{name} ({k})" for k in range(2, self.count + 1))
        name = next(n for n in (name, *others) if n not in self or self[n][0] is leaf)
        self[name] = leaf, [*self.get(name, (leaf, []))[1], *places]


class _Items(list):
    """The items of a tuple. Where one is set, a new tuple takes the place of the old one, which cannot be altered."""

    def __init__(self, items, holder, key):
        super().__init__(items)
        self._make, self._holder, self._key = getattr(items, "_make", tuple), holder, key

    def __setitem__(self, index, value):
        super().__setitem__(index, value)
        self._holder[self._key] = self._make(self)


class _Attributes(dict):
    """The attributes of an object, in its `__dict__` or its `__slots__`. One that is set here is set there."""

    def __init__(self, owner):
        names = [name for kind in type(owner).__mro__ for name in _names(vars(kind).get("__slots__", ()))]
        in_slots = {name: getattr(owner, name) for name in names if hasattr(owner, name)}
        super().__init__({**in_slots, **getattr(owner, "__dict__", {})})
        self._owner = owner

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        if key in getattr(self._owner, "__dict__", {}):
            vars(self._owner)[key] = value
        else:
            object.__setattr__(self._owner, key, value)  # also of a frozen object


def _names(slots):
    return [name for name in ((slots,) if isinstance(slots, str) else slots) if not name.startswith("__")]


def _rebuilt(function, slots):
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
    if isinstance(owner, _NOT_SEARCHED) or _is_of_torch(type(owner)):
        return owner
    before, count = dict(slots), slots.count
    _take_leaves(dict(_Attributes(owner)), slots, name, depth)
    if slots.count == count:
        return owner
    slots.clear()
    slots.update(before)
    slots.count = count
    try:  # only what holds leaves is copied: of other objects, such as files, a copy may do harm
        other = copy.copy(owner)
    except Exception:
        return owner
    if other is not owner:
        _take_leaves(_Attributes(other), slots, name, depth)
    return other


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
    """The names that code looks up, also within the functions and comprehensions that it defines."""
    inner = (name for part in code.co_consts if isinstance(part, CodeType) for name in _global_names(part))
    return dict.fromkeys([*code.co_names, *inner])


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
        elif depth < _DEPTH and id(value) not in slots.searched and not isinstance(value, _NOT_SEARCHED):
            count = slots.count
            slots.searched.add(id(value))
            other = _searched(value, held, key, slots, name(key), depth + 1)
            if slots.count > count:
                slots.searched.discard(id(value))  # another place of it needs a copy too
                held[key] = other


def _searched(value, held, key, slots, name, depth):
    """A copy of a dict, list, tuple, object or function, if there are leaves in it."""
    if isinstance(value, FunctionType):
        return value if _is_of_torch(value) else _rebuilt_function(value, slots, depth)
    if isinstance(value, (functools.partial, MethodType)):
        return _rebuilt(value, slots)
    if type(value) is not tuple and type(value) not in (dict, list) and not hasattr(value, "_make"):
        return _copy_of_object(value, slots, lambda inner: f"{name}.{inner}", depth)
    if len(value) > _LONGEST:
        return value
    items = value.copy() if type(value) in (dict, list) else _Items(value, held, key)
    _take_leaves(items, slots, lambda inner: f"{name}[{inner!r}]", depth)
    return items if type(value) in (dict, list) else held[key]


def _is_of_torch(definition):
    return (definition.__module__ or "").split(".")[0] == "torch"
