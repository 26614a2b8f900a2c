"""The engine's own step as a graph of torch's operations."""

import contextlib
import functools
import itertools

import torch
import torch._decomp
from torch._guards import TracingContext, tracing
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functionalize
from torch.fx.experimental.proxy_tensor import make_fx

from torchbp.engine.native.translation.lowering import is_known
from torchbp.engine.network import Network
from torchbp.engine.network.layer_formulas import with_options
from torchbp.engine.optimizers.update_rule import rules_at
from torchbp.engine.step import step
from torchbp.ops._accumulate import per_member
from torchbp.ops.registry import rule_of


class TracedNetwork(Network):
    """`Network` in a form that a compiler fuses: whole expressions in place of products that accumulate."""

    def __init__(self, model):
        super().__init__(model)
        self.accumulate = [list(traced_formulas(rule_of(layer), layer)) for _, layer in self.layers]

        self.numbers = [  # options whose values a program is given in each call
            (layer, name) for _, layer in self.named for name in rule_of(layer).numbers if name not in layer._buffers
        ]

    def ones(self, dz):
        return None

    def constants(self):
        """The other options of all layers, which a program is made for; those of members are buffers."""
        for rule, layer in self._with_options:
            for name, value in rule.options_of(layer).items():
                if name not in rule.numbers:
                    yield value

    def values(self):
        """The options `numbers` as they are now."""
        return [getattr(layer, name) for layer, name in self.numbers]

    @contextlib.contextmanager
    def with_values(self, values):
        """A context in which the options `numbers` are these."""
        before = self.values()
        try:
            for (layer, name), value in zip(self.numbers, values, strict=True):
                layer.__dict__[name] = value
            yield
        finally:
            for (layer, name), value in zip(self.numbers, before, strict=True):
                layer.__dict__[name] = value

    @contextlib.contextmanager
    def with_buffers(self, buffers):
        """A context in which the layers have these in place of their buffers, in the order of `buffers()`."""
        places = [
            (layer._buffers, name) for _, layer in self.named for name, t in layer._buffers.items() if t is not None
        ]
        before = self.buffers()
        try:
            for (table, name), buffer in zip(places, buffers, strict=True):
                table[name] = buffer
            yield
        finally:
            for (table, name), buffer in zip(places, before, strict=True):
                table[name] = buffer


def traced_formulas(rule, module):
    """For each parameter out ← β out + s dP, and that it takes what the layer saved."""
    for parameter in rule.parameters:
        gradient = with_options(parameter.gradient, rule, module)
        yield functools.partial(accumulate_traced, gradient), False


def accumulate_traced(gradient, out, dz, saved, beta, scale):
    out.copy_(times(beta, out) + times(scale, gradient(dz, saved)))


def times(scale, tensor):
    return per_member(scale, tensor) * tensor if isinstance(scale, torch.Tensor) else scale * tensor


@functools.cache
def decompositions():
    """How torch makes operations, of those that have no C here, of simpler ones."""
    table = torch._decomp.decomposition_table
    return {op: of for op, of in table.items() if isinstance(op, torch._ops.OpOverload) and not is_known(op)}


def traced_step(network, loss, parameters, unique, indices, buffers, numbers, x, y):
    """The graph of a step of a `TracedNetwork` on the tensors in `parameters` and in the rules `unique`, and on x, y.

    `numbers` are tensors of the network's `numbers`, and of `max_norm` where there is one. The placeholders are those
    tensors in the order of `tensors_of`, each once, the buffers, the numbers, then x and y. The graph returns the loss,
    and copies into the placeholders that change their new values. The tensors themselves are not changed.
    """

    def function(tensors, buffers, numbers, x, y):
        of_layers, of_rules = with_tensors_at(tensors, parameters, unique)
        of_rules, counts = with_own_counts(of_rules)
        count = len(network.numbers)
        with network.with_buffers(buffers), network.with_values(numbers[:count]):
            value = step(network, loss, of_layers, rules_at(of_rules, indices), x, y, *numbers[count:])
        for count, counted in counts.items():
            count.copy_(counted)
        return [value]

    with torch.no_grad():
        inputs = tensors_of(parameters, unique), buffers, numbers
        tensors, buffers, numbers = ([t.detach().clone() for t in of] for of in inputs)
        function = functionalize(function, remove="mutations_and_views")
        trace = make_fx(function, decomposition_table=decompositions())
        # Without a mode that is there, make_fx makes one for each operation, in half of its time.
        with tracing(TracingContext(FakeTensorMode())):
            graph = trace(tensors, buffers, numbers, x.clone(), y.clone())
    graph.graph.eliminate_dead_code()
    return graph


def with_own_counts(rules):
    """The rules with a copy of each count of steps, which several may share; and of each count one of its copies."""
    counts, result = {}, []
    for rule in rules:
        for name in rule.COUNTS:
            count = getattr(rule, name)
            rule = rule._replace(**{name: count.clone()})
            counts[count] = getattr(rule, name)
        result.append(rule)
    return result, counts


def tensors_of(parameters, rules):
    """The tensors in the parameters and in the rules, each once."""
    held = (p for row in parameters for p in row if p is not None)
    of_rules = (value for rule in rules for value in rule if isinstance(value, torch.Tensor))
    return list({id(t): t for t in itertools.chain(held, of_rules)}.values())


def with_tensors_at(tensors, parameters, rules):
    """Parameters and rules with these tensors in the places of theirs, in the order of `tensors_of`."""
    new = dict(zip(map(id, tensors_of(parameters, rules)), tensors, strict=True))
    rows = [tuple(p if p is None else new[id(p)] for p in row) for row in parameters]
    return rows, [type(rule)(*(new.get(id(v), v) for v in rule)) for rule in rules]
