"""The formulas of a model's layers, each with the constants of its module."""

from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import NamedTuple

from torchbp.ops.rules import Activation, Layer

LARGE = 2**13  # numbers of a parameter, whose products with a batch may be large


class Step(NamedTuple):
    """One layer: the formulas of its rule, with the constants of the module.

    place: of the module's parameters among those of the network; None of an activation, which has none.
    forward_, backward_: of an activation, the forms that may overwrite Z and dA.
    saves, new_memory: as in the rule.
    """

    place: int | None
    forward: Callable
    forward_: Callable
    backward: Callable
    backward_: Callable
    saves: str
    new_memory: bool

    @classmethod
    def of(cls, rule, module, place):
        formulas = rule.forward, rule.forward, rule.backward, rule.backward
        if isinstance(rule, Activation):
            formulas = rule.forward, rule.forward_ or rule.forward, rule.backward, rule.backward_ or rule.backward
        new_memory = isinstance(rule, Layer) and rule.new_memory
        return cls(place, *(with_options(f, rule, module) for f in formulas), rule.saves, new_memory)


def rule_for_size(rule, module, gives_dx):
    """The rule of the layer, or the one with other products where a parameter is large."""
    if rule.large is None or all(p is None or p.numel() < LARGE for p in module._parameters.values()):
        return rule
    return rule.large(gives_dx)


def with_options(formula, rule, module):
    """The formula with the module's constants, as they are when it is called."""
    if not rule.options:
        return formula
    return lambda *args: formula(*args, **rule.options_of(module))


def getter(names):
    """A function that takes these values out of a dictionary, as a tuple."""
    if len(names) > 1:
        return itemgetter(*names)
    return partial(_values, names)


def _values(names, table):
    return tuple(table[name] for name in names)
