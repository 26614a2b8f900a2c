"""What holds captured leaves: tuples and objects, which are written to as lists and dicts are; and the leaves found."""

import inspect
from types import FunctionType

import torch


class Slots(dict):
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


class Items(list):
    """The items of a tuple. Where one is set, a new tuple takes the place of the old one, which cannot be altered."""

    def __init__(self, items, holder, key):
        super().__init__(items)
        self._kind, self._holder, self._key = type(items), holder, key

    def __setitem__(self, index, value):
        super().__setitem__(index, value)
        self._holder[self._key] = tuple.__new__(self._kind, self)


class Attributes(dict):
    """The attributes of an object, in its `__dict__` or its `__slots__`. One that is set here is set there.

    Tensors of its class are among them: one that is set hides that of the class.
    """

    def __init__(self, owner):
        kinds = type(owner).__mro__
        names = [name for kind in kinds for name in _names_of_slots(kind)]
        found = {name: getattr(owner, name) for name in names if hasattr(owner, name)}
        if hasattr(owner, "__dict__"):
            of_classes = [item for kind in reversed(kinds) for item in vars(kind).items()]
            found.update((name, value) for name, value in of_classes if isinstance(value, torch.Tensor))
        super().__init__({**found, **getattr(owner, "__dict__", {})})
        self._owner = owner

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        if key in getattr(self._owner, "__dict__", {}):
            vars(self._owner)[key] = value
        else:
            object.__setattr__(self._owner, key, value)  # also of a frozen object


def _names_of_slots(kind):
    """The attributes that `__slots__` of a class declares; within it, `__name` stands for `_Class__name`."""
    slots = vars(kind).get("__slots__", ())
    for name in (slots,) if isinstance(slots, str) else slots:
        if not name.startswith("__"):
            yield name
        elif not name.endswith("__"):
            yield f"_{kind.__name__.lstrip('_')}{name}"


def static_methods(function_class):
    """The static methods of an autograd.Function, {name: function}, without those that torch defines."""
    found = {}
    for name in ("forward", "setup_context", "backward", "vjp", "jvp", "vmap"):
        method = inspect.getattr_static(function_class, name)
        if isinstance(method, staticmethod) and isinstance(method.__func__, FunctionType):
            found[name] = method.__func__
    return {name: method for name, method in found.items() if not is_of_torch(method)}


def is_function_class(value):
    return isinstance(value, type) and issubclass(value, torch.autograd.Function)


def is_of_torch(definition):
    return (definition.__module__ or "").split(".")[0] == "torch"
