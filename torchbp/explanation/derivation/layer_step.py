"""A layer or an activation as a step of the network's chain: its rule, and the quantities that it takes and gives."""

import functools
from dataclasses import dataclass, field

import torch

from torchbp.engine.network.module_checks import described
from torchbp.explanation.comparison.reference_modules import module_of, reference_module
from torchbp.explanation.notation.quantities import Quantity
from torchbp.ops.rules import Activation, Layer, Parameter, Rule


@dataclass(frozen=True)
class Step:
    """One layer or activation of the model: the quantity `gives` of the quantity `takes`.

    number: of the layer that it is, or that it follows; from 1.
    layer: the module's name in the model, as in its state_dict.
    parameters: those of a layer that the module has, with their quantities. missing: those that it has not.
    options: the constants of the rule.
    drawn: the quantity of the random numbers that its equation has, such as the mask of a dropout; or None.
    parts: the quantities on the way to what it gives, such as the mean of a row, by their symbols in the rule.
    constants: {symbol: (quantity, tensor)} of the options that are tensors, such as the mean of all batches so far.
    about: what the rule's equations may take beside the options: the shapes of a row and of the parameters, and the
        dtype. The shape of a row is there once the chain has measured it.
    """

    rule: Rule
    module: torch.nn.Module
    number: int
    layer: str
    takes: Quantity
    gives: Quantity
    parameters: tuple[tuple[Parameter, Quantity], ...] = ()
    missing: tuple[Parameter, ...] = ()
    options: dict = field(default_factory=dict)
    drawn: Quantity | None = None
    parts: dict = field(default_factory=dict)
    constants: dict = field(default_factory=dict)
    about: dict = field(default_factory=dict)

    @property
    def is_layer(self):
        """Whether it has a number of its own: a layer of a kind that has parameters, or that gives another number of
        units. Any other, such as a softmax, belongs to the layer before it, as an activation does."""
        return is_numbered(self.rule)

    @property
    def is_activation(self):
        return isinstance(self.rule, Activation)

    @functools.cached_property
    def _names(self):
        """The names of the parameters in the order of the rule's formulas, None for one that is missing."""
        named = {parameter.name: quantity.name for parameter, quantity in self.parameters}
        return [] if self.is_activation else [named.get(parameter.name) for parameter in self.rule.parameters]

    def arguments(self, parameters):
        """The parameters in the order of the rule's formulas, None for one that is missing."""
        return [None if name is None else parameters[name] for name in self._names]

    def forward(self, x, parameters, drawn=None):
        """(what it gives, what its derivatives need), by the rule's formula; of the random numbers `drawn`, if they are
        given, by its equation."""
        if drawn is not None:
            return self.tree("equation").evaluate({"X": x, self.rule.drawn: drawn}), drawn
        found = self.rule.forward(x, *self.arguments(parameters), **self._options_in(x.dtype))
        if self.rule.saves == "returned":
            return found
        return found, x if self.rule.saves == "input" else found

    def _options_in(self, dtype):
        """The options, those that are tensors in a dtype: the check of a float32 network computes in float64."""
        floats = {name: v.to(dtype) for name, v in self.options.items() if torch.is_tensor(v) and v.is_floating_point()}
        return self.options | floats

    def reference(self, x, parameters, drawn=None):
        """What it gives, by torch's own module, or by the user's: see `compared_with`."""
        if drawn is not None:  # the module would draw others
            return self.forward(x, parameters, drawn)[0]
        values = {p.name: None for p in self.missing}
        values |= {p.name: parameters[quantity.name] for p, quantity in self.parameters}
        return reference_module(self.module, x, values)(x)

    @property
    def compared_with(self):
        """Whose module the reference is: "torch", or the name of the user's class; of random numbers, which a module
        would draw again, their product by torch."""
        return module_of(self.module) if self.drawn is None else "torch.mul"

    def derivative(self, a, z):
        """∂A/∂Z of an activation."""
        return self.rule.derivative(a, z, **self.options)

    def tree(self, name):
        """An expression of the rule, such as its "equation"."""
        if self.is_activation:
            return self.rule.tree(name, **self.options)
        return self.rule.tree(name, self.about, **self.options)

    def gradient_tree(self, parameter):
        """The rule's equation of the gradient of a parameter."""
        return parameter.tree(self.about, **self.options)

    def trees_of_parts(self):
        """(symbol, (expression, what it is)) of each part, in order."""
        return [] if self.is_activation else list(self.rule.parts_of(self.about, **self.options).items())

    def backward_trees(self):
        """(symbol, (expression, why)) of each part on the way back, in order."""
        return [] if self.is_activation else list(self.rule.backward_parts_of(self.about, **self.options).items())

    def described(self):
        return described(self.layer, self.module)


def is_numbered(rule):
    return isinstance(rule, Layer) and (bool(rule.parameters) or rule.resizes)
