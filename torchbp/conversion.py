"""Swapping torch's layers for ours, and back, in any module tree. No parameter is copied, so whatever holds one stays
right: tied layers, hooks, parametrizations, optimizers."""

import functools
from dataclasses import dataclass, field

import torch
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils.parametrize import is_parametrized

from torchbp import nn

OURS = {
    getattr(torch.nn, ours.__name__): ours
    for ours in (nn.Linear, nn.Sigmoid, nn.Tanh, nn.ReLU, nn.BCELoss, nn.BCEWithLogitsLoss, nn.MSELoss)
}
TORCHS = {ours: torchs for torchs, ours in OURS.items()}


@dataclass
class Report:
    """What was done, by the modules' names: the `swapped` ones, and those `left` alone, each with its reason."""

    swapped: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)

    def __str__(self):
        lines = [f"swapped {len(self.swapped)}: {', '.join(self.swapped) or 'none'}"]
        return "\n".join(lines + [f"left {name}: {reason}" for name, reason in self.left.items()])


def convert(model, report=None):
    """Swap every `torch.nn` layer that torchbp has for ours, in place: the same module objects, of another class.

    Args:
        model: any `torch.nn.Module`; it may itself be such a layer.
        report: called with a `Report` of what was swapped and what was left alone and why; `print` shows it.

    Returns:
        `model`.

    Subclasses of a layer are swapped too, and stay what they are, unless they override `forward`.

    Example:
        >>> net = torchbp.convert(torch.nn.Sequential(torch.nn.Linear(30, 16), torch.nn.Sigmoid()), report=print)
        swapped 2: 0, 1
    """
    return swap(model, converted, report)


def revert(model, report=None):
    """Undo `convert`: every layer of torchbp becomes torch's, in place. Arguments and result are those of `convert`."""
    return swap(model, reverted, report)


def swap(model, new_class, report):
    done = Report()
    for name, module in model.named_modules():
        name = name or "the model itself"
        try:
            cls = new_class(module)
        except Unsuitable as reason:
            done.left[name] = str(reason)
            continue
        if cls is not None:
            module.__class__ = cls
            done.swapped.append(name)
    if report is not None:
        report(done)
    return model


class Unsuitable(Exception):
    """Why a module is left alone."""


def converted(module):
    """The class that makes this module ours, or None if it is, or is not a layer."""
    cls = type(module)
    if isinstance(module, (*TORCHS, nn.EnsembleLinear)):
        return None
    if not isinstance(module, tuple(OURS)):
        if next(module.children(), None) is None and next(module.parameters(), None) is not None:
            raise Unsuitable(f"torchbp has no {cls.__name__}")
        return None
    if isinstance(module, LazyModuleMixin):
        raise Unsuitable(f"{cls.__name__} has no parameters yet; run it once first")
    if cls.forward is not torchs_base(cls).forward or "forward" in module.__dict__:
        raise Unsuitable(f"{cls.__name__} overrides forward")
    return rebased(cls, ours_of(cls.__base__)) if is_parametrized(module) else ours_of(cls)


def reverted(module):
    """The class that makes this module torch's again, or None if it is."""
    cls = type(module)
    if isinstance(module, nn.EnsembleLinear):
        raise Unsuitable("torch.nn has no EnsembleLinear; MLP.unstack gives the single networks")
    if not is_parametrized(module):
        return torchs_of(cls)
    base = torchs_of(cls.__base__)
    return base and rebased(cls, base)


def torchs_base(cls):
    return next(base for base in cls.__mro__ if base in OURS)


def ours_of(cls):
    return OURS.get(cls) or mixed(cls, OURS[torchs_base(cls)])


def torchs_of(cls):
    return TORCHS.get(cls) or getattr(cls, "unmixed", None)


def rebased(cls, base):
    """The class of a parametrized module, which is its own, on the base that it falls back to without."""
    return type(cls)(cls.__name__, (base,), dict(cls.__dict__))


@functools.cache
def mixed(cls, ours):
    """A subclass of torch's layer, with our `forward`: it is still an instance of its class, and can be pickled."""
    own = {
        "unmixed": cls,
        "__reduce_ex__": reduce_mixed,
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
    }
    return type(cls)(cls.__name__, (cls, ours), own)


def reduce_mixed(module, protocol):
    return new_mixed, (type(module).unmixed,), module.__dict__


def new_mixed(cls):
    return object.__new__(ours_of(cls))
