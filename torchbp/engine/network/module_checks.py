"""Whether the modules of a model are still such that the formulas of the engine do what the model would do."""

from torch.nn.modules.module import _has_any_global_hook

from torchbp.ops.registry import is_converted
from torchbp.printing import with_article


class ModuleChecks:
    """Checks of the modules, (name, module), of a model.

    Calling it raises a TypeError for a hook, another forward, or another layer, which has come to the model since.
    """

    def __init__(self, modules):
        self.modules = modules
        self._hooks = [hooks for _, module in modules for hooks in hooks_of(module)]
        self._attributes = [module.__dict__ for _, module in modules]
        self._converted = [module.forward if is_converted(module) else None for _, module in modules]
        self._children = [(table, list(table.values())) for _, module in modules if (table := module._modules)]

    def __call__(self):
        if _has_any_global_hook():
            raise TypeError("all modules have a hook, which the engine would not call; remove it, or use autograd")
        if any(self._hooks):
            name, module = next(pair for pair in self.modules if any(hooks_of(pair[1])))
            raise TypeError(f"{described(name, module)} has a hook, which the engine would not call; use autograd")
        for place, attributes in enumerate(self._attributes):
            if "forward" in attributes and attributes["forward"] is not self._converted[place]:
                name, module = self.modules[place]
                if is_converted(module):
                    continue
                raise TypeError(
                    f"{described(name, module)} has another forward than its class, which the engine would not call"
                )
        for modules, children in self._children:
            if list(modules.values()) != children:
                raise TypeError("the model has other layers than when its engine was made; make a new one")


def hooks_of(module):
    return module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks


def described(name, module):
    kind = with_article(type(module).__name__)
    return f"layer {name!r}, {kind}," if name else kind
