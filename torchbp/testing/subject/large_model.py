"""Which modules are large models, and what their layers are given.

A large model is looked at as a whole along a few directions, and each kind of its layers alone with every check.
"""

from dataclasses import dataclass

import torch
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves, tree_map

from torchbp.testing.numerics.tensors import is_inexact
from torchbp.testing.subject.arguments import Call

NUMBERS, TENSORS = 100_000, 40  # of the parameters, from which on a module that has layers is a large model
_CONTAINERS = (torch.nn.Sequential, torch.nn.ModuleList, torch.nn.ModuleDict)


@dataclass
class LayerCall:
    """A layer of a model, and the inputs that one call of the model gives it."""

    name: str
    layer: torch.nn.Module
    inputs: Call
    numbers: int  # of its parameters and inputs
    count: int = 1  # calls of layers of this kind

    @property
    def kind(self):
        return type(self.layer).__name__

    @property
    def is_leaf(self):
        return not any(True for _ in self.layer.children())


def is_large_model(function):
    """Whether it is a module that has layers, and many parameters."""
    if not isinstance(function, torch.nn.Module) or isinstance(function, torch.jit.ScriptModule):
        return False
    parameters = list(function.parameters())
    if any(map(is_lazy, parameters)):  # without a shape
        return False
    many = len(parameters) > TENSORS or sum(p.numel() for p in parameters) > NUMBERS
    return many and len(_layers(function)) > 1


def _layers(model):
    """{name: module} of what is no container."""
    return {name: m for name, m in model.named_modules() if name and not isinstance(m, _CONTAINERS)}


def layer_calls(subject):
    """A `LayerCall` of each kind of layer, that of the fewest numbers. Those of torch, and of many parts, are last."""
    found, counts, handles = {}, {}, []

    def note(name, layer):
        def hook(_, args, kwargs):
            kind = type(layer)
            counts[kind] = counts.get(kind, 0) + 1
            numbers = sum(t.numel() for t in [*_tensors((args, kwargs)), *layer.parameters()])
            if kind not in found or numbers < found[kind].numbers:
                found[kind] = LayerCall(name, subject.callee.original.get_submodule(name), None, numbers)
                found[kind].inputs = Call(*tree_map(_detached, (args, kwargs)))

        return hook

    for name, layer in _layers(subject.callee.module).items():
        handles.append(layer.register_forward_pre_hook(note(name, layer), with_kwargs=True))
    try:
        subject.call(subject.fresh_tensors(subject.differentiable))
    finally:
        for handle in handles:
            handle.remove()
    for kind, call in found.items():
        call.count = counts[kind]
    of_torch = {kind: kind.__module__.startswith("torch.") for kind in found}
    return sorted(found.values(), key=lambda call: (not call.is_leaf, of_torch[type(call.layer)], call.numbers))


def _tensors(values):
    return [value for value in tree_leaves(values) if isinstance(value, torch.Tensor)]


def _detached(value):
    if not isinstance(value, torch.Tensor):
        return value
    return value.detach().clone().requires_grad_(value.requires_grad and is_inexact(value))
