"""The layers of a model in the order in which it runs them, where the engine can run them."""

import torch
from torch.nn.modules.lazy import LazyModuleMixin

from torchbp.engine.network.module_checks import described
from torchbp.ops.registry import refusal, rule_of
from torchbp.ops.rules import Activation, Layer

SUPPORTED = (
    "modules of torchbp.nn, and of torch.nn with their names, that take one tensor: layers and activations, in a "
    "Sequential or an MLP"
)


def layers_in_order(model):
    """(name, module) of all modules, containers too; and (name, layer) of the layers, in the order of the model.

    Raises:
        TypeError: a layer that the engine does not run.
    """
    modules = []
    return modules, list(_flat("", model, modules))


def _flat(name, module, modules):
    modules.append((name, module))
    if isinstance(module, torch.nn.Sequential) and type(module).forward is torch.nn.Sequential.forward:
        for child, inner in module._modules.items():
            yield from _flat(f"{name}.{child}" if name else child, inner, modules)
    elif isinstance(rule_of(module), (Activation, Layer)):
        yield name, module
    elif type(module) is torch.nn.Identity:  # it has nothing to compute
        return
    elif not isinstance(module, torch.nn.Module):
        raise TypeError(f"model is {described('', module)}; give the model itself, and not its parameters")
    elif isinstance(module, LazyModuleMixin):
        raise TypeError(f"{described(name, module)} has no parameters yet; call the model on some rows first")
    else:
        raise TypeError(f"{described(name, module)} is not supported; the engine runs {SUPPORTED}")
    if rule_of(module) is not None and (why := refusal(module)):
        raise TypeError(f"{described(name, module)} is not supported: {why}")


def members_of(model, named):
    """E, the number of members of all layers, (name, layer); None for one network.

    Raises:
        ValueError: layers of ensembles beside others.
    """
    holders = [layer for _, layer in named if has_parameters(layer) or getattr(layer, "members", None) is not None]
    sizes = {getattr(layer, "members", None) for layer in holders}
    if len(sizes) > 1:
        raise ValueError(f"{described('', model)} has layers of {sizes} members; all must be of one ensemble, or none")
    return sizes.pop()


def has_parameters(layer):
    """Whether its rule has parameters, and the layer one of them at least: a norm may be without."""
    rule = rule_of(layer)
    return isinstance(rule, Layer) and bool(rule.parameters) and any(p is not None for p in layer._parameters.values())
