"""The base of the rules: a dataclass that checks its parts where it is made, and names the one that is wrong."""

import dataclasses
import functools
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass

from torchbp.ops.expressions import Expression

REQUIRED = object()  # stands for a part that cannot be left out; the words of its type say what is missing


@dataclass(frozen=True, eq=False)
class Checked:
    """Its subclasses annotate each part with its type and with words, `Annotated[Callable, "forward(z) → a"]`.

    Raises:
        TypeError: a part is missing, or of another type.
        ValueError: a part has a value, an equation a symbol, or a sentence a name, that it cannot have.
    """

    def __post_init__(self):
        for name, (kind, words) in parts_of(type(self)).items():
            value = getattr(self, name)
            if value is REQUIRED:
                raise TypeError(f"{self._described()} lacks `{name}`: {words}")
            if not fits(value, kind):
                raise TypeError(f"{self._described()} has {name}={value!r}; give {words}")
        for name, values in self.choices().items():
            if getattr(self, name) not in values:
                raise ValueError(f"{self._described()} has {name}={getattr(self, name)!r}; use {listed(values)}")
        for name, symbols in self.symbols().items():
            for tree in self.trees(name):
                self._check_tree(name, tree, symbols)
        for name, names in self.sentences().items():
            try:
                str(getattr(self, name)).format(**dict.fromkeys(names, ""))
            except (KeyError, IndexError, ValueError) as error:
                allowed = " and ".join(f"{{{n}}}" for n in names)
                raise ValueError(f"{self._described()}: `{name}` has {{{error}}}; it may have {allowed}") from None

    def _described(self):
        name = "(no name)" if self.name is REQUIRED else repr(self.name)
        return f"the rule of {type(self).__name__.lower()} {name}"

    def _check_tree(self, name, tree, symbols):
        if not isinstance(tree, Expression):
            raise TypeError(
                f"{self._described()} has no expression as `{name}`, but {tree!r}; see torchbp.ops.expressions"
            )
        if unknown := [s for s in tree.symbols() if symbols is not None and s not in symbols]:
            raise ValueError(
                f"{self._described()}: `{name}` has the symbol {unknown[0]}; it may have {', '.join(symbols)}"
            )

    def trees(self, name):
        """The expressions that the part `name` can be."""
        tree = getattr(self, name)
        return [] if tree is None else [tree]

    def choices(self):
        """The values that a part may have, by its name."""
        return {}

    def symbols(self):
        """The symbols that each equation may have, by the name of the part."""
        return {}

    def sentences(self):
        """The names in braces that each sentence may have, by the name of the part."""
        return {}


@functools.cache
def parts_of(cls):
    """{name: (type, words)} of a class's parts."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {f.name: (hints[f.name].__origin__, hints[f.name].__metadata__[0]) for f in dataclasses.fields(cls)}


def fits(value, kind):
    """Whether the value is of the type, such as `tuple[str, ...]`, `Callable | None` or `float`."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return any(fits(value, argument) for argument in arguments)
    if kind is Callable or origin is Callable:
        return callable(value)
    if kind is type or origin is type:
        return isinstance(value, type)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if arguments[-1] is ...:
            return all(fits(v, arguments[0]) for v in value)
        return len(value) == len(arguments) and all(map(fits, value, arguments))
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is Expression:
        return value is not None  # `Checked` says more of what is no expression
    return isinstance(value, origin or kind)


def listed(values):
    return ", ".join(map(repr, values))
