"""A model as the engine runs it: its layers in order, forward, and backward by the formulas of their rules."""

import contextlib
import copy
from functools import partial

import torch

from torchbp._unchanged import unchanged
from torchbp.engine.network.layer_formulas import Step, getter, rule_for_size, with_options
from torchbp.engine.network.model_layers import SUPPORTED, has_parameters, layers_in_order, members_of
from torchbp.engine.network.module_checks import ModuleChecks, described
from torchbp.engine.network.rows import rows_of_members
from torchbp.ops._counter_random import drawn_keys
from torchbp.ops._dispatch import any_autocast
from torchbp.ops.registry import rule_of
from torchbp.ops.rules import Layer


class Network:
    """A model's layers in order. `forward` and `backward` are the two passes of a step, without a graph.

    `members` is E for an ensemble, whose outputs have the shape (E, N, …), and None for one network. A model with a
    hook is refused, since the engine would not call it. `allow_hooks=True` accepts it, for a caller that only reads.

    Raises:
        TypeError: a layer, a hook or a parametrization that the formulas here do not cover.
        ValueError: layers of ensembles beside others.
    """

    def __init__(self, model, allow_hooks=False):
        self.modules, self.named = layers_in_order(model)
        self.layers = [(name, layer) for name, layer in self.named if isinstance(rule_of(layer), Layer)]
        if not any(has_parameters(layer) for _, layer in self.layers):
            raise TypeError(f"{described('', model)} has no layer with parameters; the engine runs {SUPPORTED}")
        self.members = members_of(model, self.named)
        self.steps, self.tables, self.keyed = [], [], []
        self.part = None  # the members, a slice, whose parameters and rows `forward` is given; None is all
        self.accumulate = []  # of each layer, a pair for each parameter: `accumulate`, and whether it takes ones
        self.accumulate_all = []  # of each layer, the rule's, or None
        for _, layer in self.named:
            rule, place = rule_of(layer), None
            if isinstance(rule, Layer):
                rule = rule_for_size(rule, layer, gives_dx=bool(self.tables))
                place = len(self.tables)
                self.tables.append((getter([p.name for p in rule.parameters]), layer._parameters))
                self._add_accumulate(rule, layer)
            self.steps.append(Step.of(rule, layer, place))
            if isinstance(rule, Layer) and rule.keyed:
                self.steps[-1] = self.steps[-1]._replace(forward=partial(self._forward_by_key, rule, layer))
                self.keyed.append(layer)
        self._with_options = [(rule, layer) for _, layer in self.named if (rule := rule_of(layer)).options]
        self.module_checks = ModuleChecks(self.modules)
        self._most_ones = self.last_ones = None  # for the most rows so far, and of the last step
        self.strict = False
        if not allow_hooks:
            self.module_checks()
            self.check_parameters()

    def _add_accumulate(self, rule, layer):
        self.accumulate.append([(with_options(p.accumulate, rule, layer), p.ones) for p in rule.parameters])
        of_all = rule.accumulate_all
        self.accumulate_all.append(None if of_all is None else with_options(of_all, rule, layer))

    @property
    def first_parameter(self):
        """Whose dtype and device are the model's."""
        return first_parameter(self.parameters())

    def constants(self):
        """The options of all layers, as they are now: what a program is made for."""
        return tuple(value for rule, layer in self._with_options for value in rule.options_of(layer).values())

    def check(self):
        """Check that the engine still does what the model would do.

        Raises:
            TypeError: a hook or another layer, which has come to the model since.
            RuntimeError: autocast is on.
        """
        self.check_autocast()
        self.module_checks()
        if self.keyed:
            self.draw_keys()

    def draw_keys(self, generator=None):
        """Give a key to each layer with random numbers that has none: the masks of a step are then a function of it.

        The layer keeps it, as a buffer of the name "key" that no `state_dict` has: int32, (2) or (E, 2).
        """
        shape = () if self.members is None else (self.members,)
        for layer in self.keyed:
            if layer._buffers.get("key") is None:
                key = drawn_keys(shape, generator).to(self.first_parameter.device)
                layer.register_buffer("key", key, persistent=False)

    def _forward_by_key(self, rule, layer, x):
        """forward of a layer with random numbers: by its key, or without one by torch's random stream."""
        key, options = layer._buffers.get("key"), rule.options_of(layer)
        if self.part is not None:
            options = {k: v[self.part] if isinstance(v, torch.Tensor) else v for k, v in options.items()}
            key = key if key is None else key[self.part]
        return rule.forward(x, key=key, **options)

    def check_autocast(self):
        if any_autocast() and torch.is_autocast_enabled(self.first_parameter.device.type):
            raise RuntimeError(
                "the engine computes in the dtype of the model, and autocast is on; leave autocast, or use autograd"
            )

    def check_parameters(self):
        """Raises a TypeError for a hook of a parameter's gradient."""
        for name, of_layer in zip(self.names(), self.parameters(), strict=True):
            if any(p is not None and (p._backward_hooks or p._post_accumulate_grad_hooks) for p in of_layer):
                raise TypeError(f"{name} has a parameter with a hook, which the engine would not call")

    def parameters(self):
        """The parameters of each layer as they are now, in the order of its rule; None for one that it has not."""
        try:
            return [get(table) for get, table in self.tables]
        except KeyError as error:
            raise TypeError(f"a layer has lost its {error}; the engine runs no parametrized layer") from None

    def of_only_member(self):
        """The network of one member, with the formulas of a network alone: it takes parameters, rows and outputs
        without the dimension of members. None where a layer has no such formulas."""
        one = copy.copy(self)
        one.members, one.steps, one.accumulate, one.accumulate_all = None, [], [], []
        for (_, layer), step in zip(self.named, self.steps, strict=True):
            if (rule := rule_of(layer)) and isinstance(rule, Layer):
                rule = rule.of_member
                if rule is None:
                    return None
                rule = rule_for_size(rule, layer, gives_dx=bool(step.place))
                one._add_accumulate(rule, layer)
            one.steps.append(Step.of(rule, layer, step.place))
        return one

    def chunks(self, size):
        """Slices of at most so many members, one after the other. One network, or size None, is a single None."""
        if size is None:
            return [None]
        return [slice(start, start + size) for start in range(0, self.members, size)]

    @contextlib.contextmanager
    def of_members(self, members):
        """A context in which `forward` is given the parameters and rows of these members, a slice; None is all."""
        self.part = members
        try:
            yield
        finally:
            self.part = None

    def forward(self, parameters, x):
        """The network's output, and for each step what its backward needs. `parameters` are those here.

        Raises:
            ValueError: rows of another number of members.
            FloatingPointError: nan or inf, under torch.autograd.detect_anomaly.
        """
        if self.members:
            x = rows_of_members(x, len(first_parameter(parameters)))
        if self.strict:
            _raise_if_not_finite("x holds", x)
        saved, overwrite = [], False  # whether an activation may write over x: nobody else needs its memory
        for place, forward, forward_, _, _, saves, new_memory in self.steps:
            if place is not None:
                z = forward(x, *parameters[place])
            elif overwrite:
                z = forward_(x)
            else:
                z = forward(x)
            if saves == "input":
                saved.append(x)
                overwrite = new_memory
            else:
                z, needed = z if saves == "returned" else (z, z)
                saved.append(needed)
                overwrite = False
            x = z
            if self.strict:
                _raise_if_not_finite(f"{described(*self.named[len(saved) - 1])} gives", x)
        return x, saved

    def backward(self, parameters, saved, dz, lowest=0):
        """(place, dZ, what the layer saved) of each layer, from the last one to the place `lowest`.

        A layer's dX is taken before the layer is given, so that its parameters may be changed. `saved` is emptied on
        the way, so that its memory is freed. An activation writes over dZ, and over each dX in new memory.
        """
        passes = self._passes(parameters, saved, dz, lowest)
        return self._finite(list(passes)) if self.strict else passes

    def _passes(self, parameters, saved, dz, lowest):
        overwrite = True
        for place, _, _, backward, backward_, _, new_memory in reversed(self.steps):
            needed = saved.pop()
            if place is None:
                dz = backward_(dz, needed) if overwrite else backward(dz, needed)
                continue
            dx = backward(dz, needed, *parameters[place]) if place > lowest else None
            yield place, dz, needed
            if dx is None:
                return
            dz, overwrite = dx, new_memory

    def ones(self, dz):
        """A 1 for each row of dZ: db = dZᵀ 1 is then one product. One vector is kept, for the most rows so far."""
        rows = dz.size(1) if self.members else dz.size(0) if dz.dim() == 2 else dz.shape[:-1].numel()
        ones = self.last_ones
        if ones is not None and ones.numel() == rows and ones.dtype is dz.dtype and ones.device == dz.device:
            return ones
        most = self._most_ones
        if most is None or most.numel() < rows or most.dtype is not dz.dtype or most.device != dz.device:
            self._most_ones = most = dz.new_ones(rows)
        self.last_ones = most[:rows]
        return self.last_ones

    def buffers(self):
        """What a layer keeps beside its parameters, such as running statistics."""
        return [tensor for _, layer in self.named for tensor in layer._buffers.values() if tensor is not None]

    def only_read(self):
        """A context for a pass that is no step: after it, buffers and the random stream are as they were before."""
        return unchanged(self.buffers, [self.first_parameter.device])

    def names(self):
        """Of each layer with a rule for layers, for a message."""
        return [described(name, layer) for name, layer in self.layers]

    def _finite(self, passes):
        """The passes, once every dZ is known to be finite."""
        for place, dz, _ in passes:
            _raise_if_not_finite(f"{self.names()[place]} has a dZ with", dz)
        return passes


def first_parameter(parameters):
    return next(p for of_layer in parameters for p in of_layer if p is not None)


def _raise_if_not_finite(words, tensor):
    """Raises a FloatingPointError of these words for a tensor that holds nan or inf."""
    if not tensor.isfinite().all():
        raise FloatingPointError(f"{words} {'nan' if tensor.isnan().any() else 'inf'}")
