"""What the engine can run: Linear, Sigmoid, Tanh and ReLU, forward, and backward by the formulas of ops."""

from collections import namedtuple

import torch
import torch.nn.functional as F
from torch.nn.modules.module import _has_any_global_hook

from torchbp import nn
from torchbp.ops._function import any_autocast
from torchbp.ops.ensemble_linear import add_ensemble_dbias, add_ensemble_dweight, affine_, ensemble_dx
from torchbp.ops.linear import add_dbias, add_dweight, linear_dx
from torchbp.ops.relu import relu_dz_
from torchbp.ops.sigmoid import sigmoid_dz_
from torchbp.ops.tanh import tanh_dz_

Formulas = namedtuple("Formulas", "z dx add_dweight add_dbias")
ONE = Formulas(F.linear, linear_dx, add_dweight, add_dbias)
ENSEMBLE = Formulas(affine_, ensemble_dx, add_ensemble_dweight, add_ensemble_dbias)
LINEAR = {torch.nn.Linear: ONE, nn.Linear: ONE, nn.EnsembleLinear: ENSEMBLE}
# module: f, written over Z, and dZ of dA and A, written over dA
ACTIVATIONS = {
    torch.nn.Sigmoid: (torch.sigmoid_, sigmoid_dz_),
    nn.Sigmoid: (torch.sigmoid_, sigmoid_dz_),
    torch.nn.Tanh: (torch.tanh_, tanh_dz_),
    nn.Tanh: (torch.tanh_, tanh_dz_),
    torch.nn.ReLU: (torch.relu_, relu_dz_),
    nn.ReLU: (torch.relu_, relu_dz_),
}
SUPPORTED = "Linear, Sigmoid, Tanh and ReLU, of torch.nn or torchbp.nn, and EnsembleLinear, in a Sequential or an MLP"


class Layers:
    """A model's layers in order. `forward` and `backward` are the two passes of a step, without a graph.

    `members` is E for an ensemble, whose outputs have the shape (E, N, …), and None for one network. A hook is refused,
    since it would not be called; `hooks` is true for who only looks on, and needs none of them called.

    Raises:
        TypeError: a layer, a hook or a parametrization that the formulas here do not cover.
        ValueError: layers of ensembles beside others.
    """

    def __init__(self, model, hooks=False):
        self.modules = []  # (name, module), of containers too: none of them may have a hook
        self.named = list(self.flat("", model))
        linear = [layer for _, layer in self.named if type(layer) in LINEAR]
        if not linear:
            raise TypeError(f"{described('', model)} has no Linear layer; the engine runs {SUPPORTED}")
        sizes = {getattr(layer, "members", None) for layer in linear}
        if len(sizes) > 1:
            raise ValueError(
                f"{described('', model)} has layers of {sizes} members; all must be of one ensemble, or none"
            )
        (self.members,) = sizes
        self.formulas = LINEAR[type(linear[0])]
        # the numbers of a layer's W and b among the parameters, or None; f and its derivative, or None
        self.steps, self.tables = [], []
        for _, layer in self.named:
            if type(layer) in LINEAR:
                self.steps.append((len(self.tables), None))
                self.tables.append(layer._parameters)
            else:
                self.steps.append((None, ACTIVATIONS[type(layer)]))
        self.hooks = [hooks for _, module in self.modules for hooks in hooks_of(module)]
        self.own = [module.__dict__ for _, module in self.modules]
        self.children = [(table, list(table.values())) for _, module in self.modules if (table := module._modules)]
        self.kept_ones = self.last_ones = None  # for the most rows so far, and of the last step
        self.strict = False
        if not hooks:
            self.check_modules()
            self.check_parameters()

    def flat(self, name, module):
        """(name, layer) of each layer that the model runs, in order."""
        self.modules.append((name, module))
        if isinstance(module, torch.nn.Sequential) and type(module).forward is torch.nn.Sequential.forward:
            for child, inner in module._modules.items():
                yield from self.flat(f"{name}.{child}" if name else child, inner)
        elif type(module) in LINEAR or type(module) in ACTIVATIONS:
            yield name, module
        else:
            raise TypeError(f"{described(name, module)} is not supported; the engine runs {SUPPORTED}")

    def check(self):
        """Raises a TypeError for what has come to the model since, and the engine would not do; a RuntimeError in
        autocast, which it does not do either."""
        self.check_autocast()
        self.check_modules()

    def check_autocast(self):
        if any_autocast() and torch.is_autocast_enabled(self.tables[0]["weight"].device.type):
            raise RuntimeError(
                "the engine computes in the dtype of the model, and autocast is on; leave autocast, or use autograd"
            )

    def check_modules(self):
        if _has_any_global_hook():
            raise TypeError("all modules have a hook, which the engine would not call; remove it, or use autograd")
        if any(self.hooks):
            name, module = next(pair for pair in self.modules if any(hooks_of(pair[1])))
            raise TypeError(f"{described(name, module)} has a hook, which the engine would not call; use autograd")
        for number, own in enumerate(self.own):
            if "forward" in own:
                name, module = self.modules[number]
                raise TypeError(f"{described(name, module)} has a forward of its own, which the engine would not call")
        for modules, children in self.children:
            if list(modules.values()) != children:
                raise TypeError("the model has other layers than when its engine was made; make a new one")

    def check_parameters(self):
        """Raises a TypeError for a hook of a parameter's gradient."""
        for name, pair in zip(self.names(), self.parameters(), strict=True):
            if any(p is not None and (p._backward_hooks or p._post_accumulate_grad_hooks) for p in pair):
                raise TypeError(f"{name} has a parameter with a hook, which the engine would not call")

    def parameters(self):
        """(W, b or None) of each Linear layer, as they are now."""
        try:
            return [(table["weight"], table["bias"]) for table in self.tables]
        except KeyError as error:
            raise TypeError(f"a Linear layer has lost its {error}; the engine runs no parametrized layer") from None

    def chunks(self, size):
        """Slices of at most so many members, one after the other; None for all of them is one."""
        if size is None:
            return [None]
        return [slice(start, start + size) for start in range(0, self.members, size)]

    def forward(self, parameters, x):
        """[A_0 = X, and what each layer gives]: the last one is the network's output. `parameters` are those here.

        Raises:
            ValueError: rows of another number of members.
            FloatingPointError: nan or inf, under torch.autograd.detect_anomaly.
        """
        if self.members:
            x = self.of_each(x, len(parameters[0][0]))
        z = self.formulas.z
        outputs, needed = [x], True
        for number, activation in self.steps:
            if activation is None:
                x = z(x, *parameters[number])
            elif needed:
                x = activation[0](x.clone())
            else:
                x = activation[0](x)  # A over Z
            needed = activation is not None  # what a Linear layer gives, nobody asks for but the next
            outputs.append(x)
        if self.strict:
            self.check_finite(outputs)
        return outputs

    def of_each(self, x, members):
        """The rows of each member, (E, N, in_features); those that they share, (N, in_features), are not copied."""
        if x.dim() == 2:
            return x.expand(members, -1, -1)
        if x.dim() != 3 or len(x) != members:
            raise ValueError(
                f"x has the shape {tuple(x.shape)}; give (N, in_features), rows that all members share, or "
                f"({members}, N, in_features), those of each member"
            )
        return x

    def backward(self, parameters, outputs, dz, lowest):
        """(number, dZ, A of the layer below) of each Linear layer, from the last one to the number `lowest`.

        A layer's dX is taken before the layer is given, so that its W may be changed. `outputs` is emptied on the way,
        so that what is done with is freed.
        """
        passes = self.passes(parameters, outputs, dz, lowest)
        return self.finite(list(passes)) if self.strict else passes

    def passes(self, parameters, outputs, dz, lowest):
        dx = self.formulas.dx
        for number, activation in reversed(self.steps):
            a = outputs.pop()
            if activation is not None:
                dz = activation[1](dz, a)
                continue
            del a  # with the A that lies over it
            below = dx(dz, parameters[number][0]) if number > lowest else None
            yield number, dz, outputs[-1]
            if below is None:
                return
            dz = below

    def ones(self, dz):
        """A 1 for each row of dZ: db = dZᵀ 1 is then one product. One vector is kept, for the most rows so far."""
        rows = dz.size(1) if self.members else dz.size(0) if dz.dim() == 2 else dz.shape[:-1].numel()
        ones = self.last_ones
        if ones is not None and ones.numel() == rows and ones.dtype is dz.dtype and ones.device == dz.device:
            return ones
        kept = self.kept_ones
        if kept is None or kept.numel() < rows or kept.dtype is not dz.dtype or kept.device != dz.device:
            self.kept_ones = kept = dz.new_ones(rows)
        self.last_ones = kept[:rows]
        return self.last_ones

    def names(self):
        """Of each Linear layer, for a message."""
        return [described(name, layer) for name, layer in self.named if type(layer) in LINEAR]

    def check_finite(self, outputs):
        """Raises a FloatingPointError that names the first layer, or x, whose output is not all finite numbers."""
        names = ["x holds", *(f"{described(name, layer)} gives" for name, layer in self.named)]
        for name, a in zip(names, outputs, strict=True):
            if not a.isfinite().all():
                raise FloatingPointError(f"{name} {odd(a)}")

    def finite(self, passes):
        """The same, once every dZ is known to be finite numbers."""
        for number, dz, _ in passes:
            if not dz.isfinite().all():
                raise FloatingPointError(f"{self.names()[number]} has a dZ with {odd(dz)}")
        return passes


def odd(tensor):
    return "nan" if tensor.isnan().any() else "inf"


def hooks_of(module):
    return module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks


def described(name, module):
    return f"layer {name!r}, a {type(module).__name__}," if name else f"a {type(module).__name__}"
