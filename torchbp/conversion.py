"""Swapping torch's layers for ours, and back, in any module tree. No parameter is copied, so whatever holds one stays
right: tied layers, hooks, parametrizations, optimizers."""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils.parametrize import is_parametrized

from torchbp import nn
from torchbp.ops.registry import rules
from torchbp.ops.rules import KINDS

AnyModule = TypeVar("AnyModule", bound=torch.nn.Module)


@dataclass
class Report:
    """What `convert` or `revert` has done, by the names of the modules in the model.

    swapped: the modules that have another class now.
    bypassed: those of them whose formula does not run, or not always: name → why.
    left: the layers that stay as they are: name → why. Containers of layers are not listed.
    """

    swapped: list[str] = field(default_factory=list)
    bypassed: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"swapped {len(self.swapped)}: {', '.join(self.swapped) or 'none'}"]
        lines += [f"but     {name}: {reason}" for name, reason in self.bypassed.items()]
        return "\n".join(lines + [f"left    {name}: {reason}" for name, reason in self.left.items()])


def convert(model: AnyModule, report: Callable[[Report], object] | None = None) -> AnyModule:
    """Swap every `torch.nn` layer that torchbp has for ours, in place: the same module objects, of another class.

    Args:
        model: any `torch.nn.Module`; it may itself be such a layer.
        report: called with a `Report` of what was swapped, what of it does not run our formula, and what was left
            alone and why; `print` shows it.

    Returns:
        `model`.

    Subclasses of a layer are swapped too, and stay what they are, unless they override `forward`.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Linear(30, 16), torch.nn.GELU(), torch.nn.Linear(16, 1))
        >>> net = torchbp.convert(net, report=print)
        swapped 2: 0, 2
        left    1: torchbp has no GELU
    """
    return _swap(model, _converted_class, report, bypassed=_reasons_of_bypass(model))


def revert(model: AnyModule, report: Callable[[Report], object] | None = None) -> AnyModule:
    """Undo `convert`: every layer of torchbp becomes torch's, in place. Arguments and result are those of `convert`.

    Example:
        >>> net = torchbp.convert(torch.nn.Sequential(torch.nn.Linear(30, 16), torch.nn.Tanh()))
        >>> type(torchbp.revert(net)[1])
        <class 'torch.nn.modules.activation.Tanh'>
    """
    fused = {child for module in model.modules() if isinstance(module, nn.FusedMLP) for child in module.children()}
    return _swap(
        model, _reverted_class, report, left=dict.fromkeys(fused, "FusedMLP computes it; MLP has single layers")
    )


def _swap(model, new_class, report, bypassed=None, left=None):
    done = Report()
    for name, module in model.named_modules():
        name = name or "the model itself"
        try:
            if left and module in left:
                raise _LeftAlone(left[module])
            cls = new_class(module)
        except _LeftAlone as reason:
            done.left[name] = str(reason)
            continue
        if cls is not None:
            module.__class__ = cls
            done.swapped.append(name)
            if bypassed and module in bypassed:
                done.bypassed[name] = bypassed[module]
    if report is not None:
        report(done)
    return model


class _LeftAlone(Exception):
    """Why a module is left alone."""


def _reasons_of_bypass(model):
    """Module → why our formula does not compute it, of those that are swapped all the same: they are of our class."""
    reasons = {}
    for module in model.modules():
        if getattr(module, "inplace", False):
            reasons[module] = "with inplace=True it runs torch's own operation"
        elif isinstance(module, torch.nn.MultiheadAttention):
            reasons[module.out_proj] = f"{_name_of(type(module))} reads its weights, and computes by torch's formula"
        elif isinstance(module, torch.nn.TransformerEncoderLayer):
            for layer in (module.linear1, module.linear2):
                reasons[layer] = f"in eval mode without gradients, {_name_of(type(module))} runs torch's fused kernel"
    return reasons


def _our_classes():
    """{torch's class: ours}, and of operations that torch does not have {ours: ours}, of all rules."""
    known = [rule for kind in KINDS for rule in rules(kind).values() if rule.module_class]
    return {rule.known_class: rule.module_class for rule in known}


def _converted_class(module):
    """The class that makes this module ours, or None if it is, or is not a layer."""
    cls, ours = type(module), _our_classes()
    if isinstance(module, tuple(ours.values())):
        return None
    if not isinstance(module, tuple(ours)):
        if _is_layer(module):
            raise _LeftAlone(f"torchbp has no {_name_of(cls)}")
        return None
    if isinstance(module, LazyModuleMixin):
        raise _LeftAlone(f"{_name_of(cls)} has no parameters yet; run it once first")
    if cls.forward is not _torch_base(cls).forward or "forward" in module.__dict__:
        raise _LeftAlone(f"{_name_of(cls)} overrides forward")
    return _reparent(cls, _our_class(cls.__base__)) if is_parametrized(module) else _our_class(cls)


def _is_layer(module):
    """Whether it computes something itself: it has tensors, or no module inside."""
    if next(itertools.chain(module.parameters(recurse=False), module.buffers(recurse=False)), None) is not None:
        return True
    return next(module.children(), None) is None and not isinstance(module, _CONTAINERS)


_CONTAINERS = torch.nn.Sequential, torch.nn.ModuleList, torch.nn.ModuleDict


def _name_of(cls):
    """The class's name; of another library's with its module, since several have a `Linear`."""
    known = cls.__module__.startswith(("torch.nn.", "torchbp.nn."))
    return cls.__qualname__ if known else f"{cls.__module__}.{cls.__qualname__}"


def _reverted_class(module):
    """The class that makes this module torch's again, or None if it is."""
    cls, ours = type(module), _our_classes()
    if cls in ours and cls in ours.values():
        raise _LeftAlone(f"torch.nn has no {_name_of(cls)}")
    if not is_parametrized(module):
        return _torch_class(cls)
    base = _torch_class(cls.__base__)
    return base and _reparent(cls, base)


def _torch_base(cls):
    ours = _our_classes()
    return next(base for base in cls.__mro__ if base in ours)


def _our_class(cls):
    ours = _our_classes()
    return ours.get(cls) or _subclass_with_ours(cls, ours[_torch_base(cls)])


def _torch_class(cls):
    torchs = {ours: theirs for theirs, ours in _our_classes().items() if ours is not theirs}
    return torchs.get(cls) or getattr(cls, "original_class", None)


def _reparent(cls, base):
    """A parametrized module has a class that torch made for it alone; this is that class, derived from `base`."""
    return type(cls)(cls.__name__, (base,), dict(cls.__dict__))


@functools.cache
def _subclass_with_ours(cls, ours):
    """A subclass of `cls`, which is a subclass of torch's layer, with our `forward`. It can be pickled."""
    attributes = {
        "original_class": cls,
        "__reduce_ex__": _reduce,
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
    }
    return type(cls)(cls.__name__, (cls, ours), attributes)


def _reduce(module, protocol):
    return _unpickled, (type(module).original_class,), module.__dict__


def _unpickled(cls):
    return object.__new__(_our_class(cls))
