"""The network as a chain of quantities: X gives Z1 by W1 and b1, Z1 gives A1 by σ, and so on to the output."""

import copy

import torch

from torchbp.engine.network import Network
from torchbp.engine.network.module_checks import described
from torchbp.explanation.derivation.layer_step import Step, is_numbered
from torchbp.explanation.notation.quantities import INPUT, Quantity
from torchbp.ops.places import NoEquationError
from torchbp.ops.registry import rule_of
from torchbp.ops.rules import Layer

LETTERS = "ABCDEFGH"  # of the activations after a layer


class Chain:
    """A model's steps in order, and its parameters by the names of the equations, W1, b1, W2, …

    `start` are copies of the parameters, without a graph; `keys` their names in the model's state_dict; `constants`
    other tensors of the layers. Once `measure` has run, `sizes` are n_0, n_1, …, n_L, the width of the input and of
    each layer, `drawn` the random numbers of the step, such as the masks of dropout, by their names, and `row_shapes`
    the shape that the layers give a row of each quantity. In the values a row stands in one dimension, (N, units).

    Raises:
        TypeError: a layer that is not supported, or two layers that share their weights.
    """

    def __init__(self, model):
        network = Network(model)
        self.steps, self.parameters, self.keys, self.sizes, self.drawn = [], {}, {}, [], {}
        self.row_shapes, self.constants = {}, {}
        for name, module in network.named:
            self.steps.append(self._step(name, module))
        names = [*self.parameters, *(step.gives.name for step in self.steps), INPUT.name]
        names += [q.name for step in self.steps for q in (step.drawn, *step.parts.values()) if q]
        names += self.constants
        if twice := sorted(name for name in set(names) if names.count(name) > 1):
            raise TypeError(f"two quantities have the name {twice[0]}; give the parameter of a rule another symbol")
        # the explanation is of the network as it is now, whatever becomes of it
        self.start = {name: p.detach().clone() for name, p in self.parameters.items()}
        by_tensor = {}
        for symbol, p in self.parameters.items():
            if (first := by_tensor.setdefault(id(p), symbol)) != symbol:
                raise TypeError(
                    f"{self.keys[first]} and {self.keys[symbol]} are one tensor: two layers share their weights, and "
                    "explain shows one gradient for each layer"
                )

    def _step(self, name, module):
        rule, last = rule_of(module), self.steps[-1] if self.steps else None
        number, takes = (last.number, last.gives) if last else (0, INPUT)
        options = rule.options_of(module)
        # copies: a batch norm changes its running mean
        options = {name: v.clone() if isinstance(v, torch.Tensor) else v for name, v in options.items()}
        if not is_numbered(rule):
            after = [step for step in self.steps if step.number == number and not step.is_layer]
            if len(after) == len(LETTERS):
                raise TypeError(f"layer {name!r}: more than {len(LETTERS)} activations after one layer have no names")
            gives = Quantity(LETTERS[len(after)], number)
        else:
            number += 1
            gives = Quantity("Z", number)
        drawn, parts, constants, about = None, {}, {}, {}
        if isinstance(rule, Layer):
            about = {"dtype": next((p.dtype for p in module.parameters()), torch.float32)}
            trees = [rule.tree(part, about, **options) for part in ("equation", "backward_equation")]
            if None in trees and not rule.takes_rows_of_any_shape:  # otherwise it depends on the rows
                raise TypeError(f"{described(name, module)} has no equations in its rule, and explain shows equations")
            if rule.drawn is not None and rule.drawn in trees[0].symbols():
                drawn = Quantity(rule.drawn, number)
            parts = {symbol: Quantity(symbol, number) for symbol in rule.parts_of(about, **options)}
            constants = self._constants_of(rule, options, number)
        found, missing = self._parameters_of(rule, module, name, number) if isinstance(rule, Layer) else ((), ())
        return Step(rule, module, number, name, takes, gives, found, missing, options, drawn, parts, constants, about)

    def _constants_of(self, rule, options, number):
        """{symbol: (quantity, tensor)} of the options of a layer that are tensors and stand in an equation."""
        names = {name for tree, _ in rule.parts_of(**options).values() for name in tree.symbols()}
        found = {}
        for option, symbol in rule.option_symbols.items():
            if symbol in names:
                found[symbol] = Quantity(symbol, number), options[option].clone()
                self.constants[found[symbol][0].name] = found[symbol][1]
        return found

    def _parameters_of(self, rule, module, name, number):
        """(the parameters that the module has, with their quantities; those that it has not)"""
        found, missing = [], []
        for parameter in rule.parameters:
            tensor = getattr(module, parameter.name)
            if tensor is None:
                missing.append(parameter)
                continue
            if parameter.tree(**rule.options_of(module)) is None:
                raise TypeError(
                    f"{described(name, module)} has no equation for its {parameter.name}, and explain shows equations"
                )
            quantity = Quantity(parameter.symbol, number)
            found.append((parameter, quantity))
            self.parameters[quantity.name] = tensor
            self.keys[quantity.name] = f"{name}.{parameter.name}" if name else parameter.name
        return tuple(found), tuple(missing)

    def measure(self, x, shape=None):
        """Run the network on x, (N, units); keep the widths of its layers as `sizes`, the shapes of their rows as
        `row_shapes`, and what they draw as `drawn`. shape: of a row of x, as the first layer takes it."""
        saved = {}
        if shape is not None:
            self.row_shapes = {INPUT.name: tuple(shape)}
        values = self.forward(self.start, x, saved=saved)
        for step in self.steps:
            if step.drawn:
                self.drawn[step.drawn.name] = self._drawn_numbers(step, saved[step.gives.name])
        self.sizes = [x.shape[1], *(values[step.gives.name].shape[1] for step in self.layers)]
        self.outputs = values[self.output.name].shape[1]

    def _drawn_numbers(self, step, drawn):
        """The random numbers of a step, one for each number of its rows."""
        rows = len(drawn) if drawn.dim() else 1
        self.row_shapes[step.drawn.name] = tuple(drawn.shape[1:])  # a channel may have one number
        return drawn.expand(rows, *self.row_shapes[step.takes.name]).reshape(rows, -1)

    def _measure_step(self, step, taken, given):
        """Keep the shape of a row that a step gives, and let its equations know that of a row that it takes."""
        if given.dim() < 2 or len(given) != len(taken):
            raise TypeError(
                f"{step.described()} makes of {tuple(taken.shape)} the shape {tuple(given.shape)}; explain shows "
                "layers that give a row for each that they take; of a single row give x[None]"
            )
        shape = self.row_shapes[step.takes.name]
        if len(shape) > 1 and not step.is_activation and not step.rule.takes_rows_of_any_shape:
            raise TypeError(
                f"{step.described()} takes rows of the shape {shape}, and its equations are of rows of one dimension; "
                "put a Flatten before it"
            )
        self.row_shapes[step.gives.name] = tuple(given.shape[1:])
        parameters = {p.symbol: tuple(self.start[quantity.name].shape) for p, quantity in step.parameters}
        step.about["shapes"] = {"X": shape, **parameters}
        without = f"{step.described()} has no equations in its rule for rows of the shape {shape}"
        try:
            tree = step.tree("equation")
        except NoEquationError as why:
            raise TypeError(f"{without}: {why}") from None
        if tree is None:
            raise TypeError(without)

    def at(self, start, x):
        """The same network with other parameters, and with new random numbers."""
        chain = copy.copy(self)
        chain.start, chain.drawn = start, {}
        if self.drawn:
            chain.measure(x)
        return chain

    @property
    def output(self):
        return self.steps[-1].gives

    @property
    def layers(self):
        return [step for step in self.steps if step.is_layer]

    @property
    def first(self):
        """The place of the first step with parameters: below it nothing learns."""
        return next(place for place, step in enumerate(self.steps) if step.parameters)

    @property
    def first_number(self):
        """The number of the first layer that learns."""
        return self.steps[self.first].number

    def forward(self, parameters, x, saved=None, reference=False):
        """Each quantity by its name, X among them.

        Args:
            saved: a dictionary that gets what the derivatives of each step need, by the name of what it gives.
            reference: compute by torch's own modules, and by the user's.

        Raises:
            ValueError: a layer does not take the numbers that come to it.
        """
        values = {INPUT.name: x}
        for step in self.steps:
            taken = values[step.takes.name]
            if reference:
                values[step.gives.name] = step.reference(*self._arguments(step, taken, parameters)).flatten(1)
                continue
            values[step.gives.name], needed = self.pass_through(step, taken, parameters)
            if saved is not None:
                saved[step.gives.name] = needed
        return values

    def pass_through(self, step, taken, parameters):
        """(what a step gives, (N, units), what its derivatives need); `taken` is what it takes, (N, units).

        Raises:
            ValueError: it does not take these numbers.
        """
        x, parameters, drawn = self._arguments(step, taken, parameters)
        try:
            z, needed = step.forward(x, parameters, drawn)
        except (RuntimeError, ValueError, IndexError) as error:
            words = " ".join(str(error).split())
            raise ValueError(
                f"{step.described()} does not take numbers of the shape {tuple(x.shape)}: {words}"
            ) from None
        if step.gives.name not in self.row_shapes:
            self._measure_step(step, x, z)
        return z.flatten(1), needed

    def _arguments(self, step, taken, parameters):
        """(X in the shape that the step's formula takes, the parameters, the random numbers that are drawn, or None)"""
        drawn = self.drawn[step.drawn.name].to(taken.dtype) if step.drawn and self.drawn else None
        return taken if drawn is not None else self.in_row_shape(taken, step.takes), parameters, drawn

    def in_row_shape(self, tensor, quantity):
        """The numbers of a quantity, (N, units), in the shape that the layers give a row."""
        shape = self.row_shapes[quantity.name]
        return tensor if len(shape) == 1 else tensor.reshape(len(tensor), *shape)

    def described(self):
        """For a heading: 2-4-1, sigmoid, 17 parameters."""
        layers = dict.fromkeys(step.rule.name for step in self.layers)
        kinds = [*(layers if len(layers) > 1 else ()), *(s.rule.name for s in self.steps if not s.is_layer)]
        count = sum(p.numel() for p in self.parameters.values())
        return ", ".join(["-".join(map(str, self.sizes)), *dict.fromkeys(kinds), f"{count} parameters"])
