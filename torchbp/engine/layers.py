"""What the engine can run: Linear, Sigmoid, Tanh and ReLU, forward, and backward by the formulas of ops."""

import torch
import torch.nn.functional as F
from torch.nn.modules.module import _has_any_global_hook

from torchbp import nn
from torchbp.nn.mlp import is_hooked
from torchbp.ops.linear import linear_dx
from torchbp.ops.relu import relu_dz
from torchbp.ops.sigmoid import sigmoid_dz
from torchbp.ops.tanh import tanh_dz

LINEAR = (torch.nn.Linear, nn.Linear)
# module: f, written over Z, and dZ of dA and A
ACTIVATIONS = {
    torch.nn.Sigmoid: (torch.sigmoid_, sigmoid_dz),
    nn.Sigmoid: (torch.sigmoid_, sigmoid_dz),
    torch.nn.Tanh: (torch.tanh_, tanh_dz),
    nn.Tanh: (torch.tanh_, tanh_dz),
    torch.nn.ReLU: (torch.relu_, relu_dz),
    nn.ReLU: (torch.relu_, relu_dz),
}
SUPPORTED = "Linear, Sigmoid, Tanh and ReLU, of torch.nn or torchbp.nn, in a Sequential or an MLP"


class Layers:
    """A model's layers in order. `forward` and `backward` are the two passes of a step, without a graph.

    Raises:
        TypeError: a layer, a hook or a parametrization that the formulas here do not cover.
    """

    def __init__(self, model):
        self.named = list(flat("", model))
        # (the layer's parameters, or None; f and its derivative, or None)
        self.steps = [
            (layer._parameters, None) if isinstance(layer, LINEAR) else (None, ACTIVATIONS[type(layer)])
            for _, layer in self.named
        ]
        if all(parameters is None for parameters, _ in self.steps):
            raise TypeError(f"{described('', model)} has no Linear layer; the engine runs {SUPPORTED}")
        self.check_hooks()

    def check_hooks(self):
        """Raises a TypeError for a hook that the engine would not call."""
        if _has_any_global_hook():
            raise TypeError("all modules have a hook, which the engine would not call; remove it, or use autograd")
        for name, layer in self.named:
            if is_hooked(layer):
                raise TypeError(f"{described(name, layer)} has a hook, which the engine would not call; use autograd")

    def forward(self, x):
        """[A_0 = X, and what each layer gives]: the last one is the network's output."""
        outputs, needed = [x], True
        for parameters, activation in self.steps:
            if parameters is not None:
                x = F.linear(x, parameters["weight"], parameters["bias"])
            elif needed:
                x = activation[0](x.clone())
            else:
                x = activation[0](x)  # A over Z
            needed = parameters is None  # what a Linear layer gives, nobody asks for but the next
            outputs.append(x)
        return outputs

    def backward(self, outputs, dz):
        """(W, b, dZ, A of the layer below) of each Linear layer, from the last to the first that learns.

        A layer's dX is taken before the layer is given, so that its W may be changed. `outputs` is emptied on the way,
        so that what is done with is freed.
        """
        lowest = self.lowest()
        for index in range(len(self.steps) - 1, lowest - 1, -1):
            parameters, activation = self.steps[index]
            a = outputs.pop()
            if parameters is None:
                dz = activation[1](dz, a)
                continue
            del a
            weight = parameters["weight"]
            below = linear_dx(dz, weight) if index > lowest else None
            yield weight, parameters["bias"], dz, outputs[-1]
            dz = below

    def lowest(self):
        """The number of the first layer that learns; of all layers, where none does."""
        for index, (parameters, _) in enumerate(self.steps):
            if parameters is not None and any(p is not None and p.requires_grad for p in parameters.values()):
                return index
        return len(self.steps)


def flat(name, module):
    """(name, layer) of each layer that the model runs, in order."""
    if isinstance(module, torch.nn.Sequential) and type(module).forward is torch.nn.Sequential.forward:
        if is_hooked(module):
            raise TypeError(f"{described(name, module)} has a hook, which the engine would not call; use autograd")
        for child, inner in module._modules.items():
            yield from flat(f"{name}.{child}" if name else child, inner)
    elif type(module) in LINEAR or type(module) in ACTIVATIONS:
        yield name, module
    else:
        raise TypeError(f"{described(name, module)} is not supported; the engine runs {SUPPORTED}")


def described(name, module):
    return f"layer {name!r}, a {type(module).__name__}," if name else f"a {type(module).__name__}"
