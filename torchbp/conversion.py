"""Giving torch's layers our formulas, and back, in any module tree. The modules keep their class, which other libraries
look at, and no parameter is copied, so whatever holds one stays right: tied layers, hooks, parametrizations,
optimizers."""

import inspect
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch.nn.modules.lazy import LazyModuleMixin

from torchbp import nn
from torchbp._instance_forward import function_set, set_forward, unset_forward, was_set
from torchbp.function_calls import set_formulas
from torchbp.ops import registry

AnyModule = TypeVar("AnyModule", bound=torch.nn.Module)


@dataclass
class Report:
    """What `convert` or `revert` has done, by the names of the modules in the model.

    swapped: the modules whose formulas are now ours, or after `revert` torch's.
    functional: with `functional=True`, the modules whose calls of torch's functions run our formulas now.
    bypassed: those of them whose formula does not run, or not always: name → why.
    left: the layers that stay as they are: name → why. Containers of layers are not listed.
    """

    swapped: list[str] = field(default_factory=list)
    functional: list[str] = field(default_factory=list)
    bypassed: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"swapped {len(self.swapped)}: {', '.join(self.swapped) or 'none'}"]
        if self.functional:
            lines += [f"calls of torch's functions in {len(self.functional)}: {', '.join(self.functional)}"]
        lines += [f"but     {name}: {reason}" for name, reason in self.bypassed.items()]
        return "\n".join(lines + [f"left    {name}: {reason}" for name, reason in self.left.items()])


def convert(
    model: AnyModule, report: Callable[[Report], object] | None = None, *, functional: bool = False
) -> AnyModule:
    """Let every `torch.nn` layer that torchbp has compute by our formulas, in place.

    Args:
        model: any `torch.nn.Module`; it may itself be such a layer.
        report: called with a `Report` of what was swapped, what of it does not run our formula, and what was left
            alone and why; `print` shows it.
        functional: also let the functions of torch that modules with a forward of their own call, such as `F.linear`
            or `x @ weight.T`, compute by our formulas, as in the context `torchbp.formulas()`. Each call of any
            function of torch in their forward then costs about 1 µs more. Modules of torch.nn without children are left
            out.

    Returns:
        `model`.

    Each layer stays the object that it is, of its class: `type(layer) is torch.nn.Linear`. It gets a `forward` of its
    own, that of `torchbp.nn.Linear`, which copies and pickles of it have too. Subclasses get it as well, unless they
    override `forward`. `torch.jit.script` refuses a converted layer; `torch.jit.trace` works.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Linear(30, 16), torch.nn.Bilinear(1, 1, 1), torch.nn.Linear(16, 1))
        >>> net = torchbp.convert(net, report=print)
        swapped 2: 0, 2
        left    1: torchbp has no Bilinear
    """
    _check_module(model)
    return _each(model, _convert_layer, report, bypassed=_reasons_of_bypass(model), functional=functional)


def revert(model: AnyModule, report: Callable[[Report], object] | None = None) -> AnyModule:
    """Undo `convert`: every layer is exactly torch's again, in place. Arguments and result are those of `convert`.

    A layer of `torchbp.nn` becomes one of `torch.nn`: it gets another class.

    Example:
        >>> net = torchbp.convert(torch.nn.Sequential(torch.nn.Linear(30, 16), torch.nn.Tanh()))
        >>> torchbp.is_converted(torchbp.revert(net)[1])
        False
    """
    _check_module(model)
    fused = {child for module in model.modules() if isinstance(module, nn.FusedMLP) for child in module.children()}
    return _each(model, _revert_layer, report, left=dict.fromkeys(fused, "FusedMLP computes it; MLP has single layers"))


def is_converted(module: torch.nn.Module) -> bool:
    """Whether `convert` gave this module our formulas, for itself or for the functions of torch that it calls, and
    nothing undid that.

    Example:
        >>> torchbp.is_converted(torchbp.convert(torch.nn.Linear(30, 16)))
        True
    """
    function = function_set(module)
    return registry.is_converted(module) or hasattr(function, "set_again")


def _check_module(model):
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model is of the type {type(model).__name__}; give a torch.nn.Module")


def _each(model, change, report, bypassed=None, left=None, functional=False):
    """Call `change` with each module; it says whether there was something to do, or raises `_LeftAlone`."""
    done = Report()
    for name, module in model.named_modules():
        name = name or "the model itself"
        try:
            if left and module in left:
                raise _LeftAlone(left[module])
            if functional and _calls_functions(module):
                set_formulas(module)
                done.functional.append(name)
                continue
            changed = change(module)
        except _LeftAlone as reason:
            done.left[name] = str(reason)
            continue
        if changed:
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
        elif isinstance(module, torch.nn.TransformerEncoderLayer):
            for layer in (module.self_attn, module.linear1, module.linear2, module.norm1, module.norm2):
                reasons[layer] = f"in eval mode without gradients, {_name_of(type(module))} runs torch's fused kernel"
    return reasons


def _convert_layer(module):
    """Let the module compute by our formulas; whether it did not before. Containers are passed over."""
    cls, ours = type(module), registry.our_classes()
    if isinstance(module, tuple(ours.values())) or is_converted(module):
        return False
    base = next((base for base in cls.__mro__ if base in ours), None)
    if base is None:
        if _is_layer(module):
            raise _LeftAlone(f"torchbp has no {_name_of(cls)}")
        return False
    if isinstance(module, LazyModuleMixin):
        raise _LeftAlone(f"{_name_of(cls)} has no parameters yet; run it once first")
    if cls.forward is not base.forward or "forward" in module.__dict__:
        raise _LeftAlone(f"{_name_of(cls)} overrides forward")
    set_forward(module, ours[base].forward)
    return True


def _calls_functions(module):
    """Whether the module has a forward of its own, which may call torch's functions."""
    cls = type(module)
    known = tuple(registry.our_classes().items())
    if was_set(module) or "forward" in vars(module) or isinstance(module, torch.jit.ScriptModule):
        return False
    if not _runs_at_once(inspect.getattr_static(cls, "forward")):
        return False
    if cls.forward is torch.nn.Module.forward or cls.forward is torch.nn.Sequential.forward:
        return False
    base = next((pair for pair in known if isinstance(module, pair)), None)
    if base is not None:
        return cls.forward not in (base[0].forward, base[1].forward)
    if cls.__module__.startswith("torchbp.nn."):
        return False
    return not cls.__module__.startswith("torch.") or next(module.children(), None) is not None


def _runs_at_once(forward):
    """Whether it is a plain method: not static, not one of the class, no generator and no coroutine."""
    kinds = inspect.isgeneratorfunction, inspect.iscoroutinefunction, inspect.isasyncgenfunction
    return inspect.isfunction(forward) and not any(kind(forward) for kind in kinds)


def _revert_layer(module):
    """Let the module compute by torch's formulas; whether it did not before."""
    if was_set(module):
        if not is_converted(module):
            raise _LeftAlone(f"another forward was set on this {_name_of(type(module))} after convert")
        unset_forward(module)
        return True
    cls, torchs = type(module), {ours: theirs for theirs, ours in registry.our_classes().items()}
    if cls not in torchs:
        return False
    if torchs[cls] is cls:
        raise _LeftAlone(f"torch.nn has no {_name_of(cls)}")
    module.__class__ = torchs[cls]
    return True


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
