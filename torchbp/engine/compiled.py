"""Several steps of gradient descent as one graph of torch.compile: for a small network most of a step is its calls."""

import functools
import os
import tempfile
import types
from pathlib import Path

import torch

from torchbp.engine.network import Network, with_options
from torchbp.engine.step import step
from torchbp.engine.update_rule import rules_at, unique_rules
from torchbp.ops._accumulate import per_member
from torchbp.ops.registry import rule_of

MOST = 32  # programs that are kept, each for a shape of the rows


class TracedNetwork(Network):
    """`Network` in a form that the compiler fuses: whole expressions in place of products that accumulate."""

    def __init__(self, model):
        super().__init__(model)
        self.accumulate = [list(traced_formulas(rule_of(layer), layer)) for _, layer in self.layers]

    def ones(self, dz):
        return None


def traced_formulas(rule, module):
    """For each parameter out ← β out + s dP, and that it takes what the layer saved."""
    for parameter in rule.parameters:
        gradient = with_options(parameter.gradient, rule, module)
        yield functools.partial(accumulate_traced, gradient), False


def accumulate_traced(gradient, out, dz, saved, beta, scale):
    change = times(scale, gradient(dz, saved))
    out.copy_(change if not isinstance(beta, torch.Tensor) and beta == 0 else times(beta, out) + change)


def times(scale, tensor):
    return per_member(scale, tensor) * tensor if isinstance(scale, torch.Tensor) else scale * tensor


class CompiledSteps:
    """K steps of a network on the rows x (K, …, in_features) and y, compiled for each shape of x and y."""

    def __init__(self, model, loss):
        self.network, self.loss, self.programs = TracedNetwork(model), loss, {}

    @torch.no_grad()
    def __call__(self, parameters, rules, x, y):
        """The losses (K, …) of before each step."""
        unique, indices = unique_rules(rules)
        structure = [rule.structure_key() for rule in unique]
        key = (x.shape, x.dtype, y.shape, y.dtype, indices, *structure, self.network.constants())
        program = cached(self.programs, key, lambda: self.compile(x.device.type == "cpu"))
        parameters = [tuple(p if p is None else p.detach() for p in of_layer) for of_layer in parameters]
        try:
            return program(parameters, rules_at([rule.with_tensors(x) for rule in unique], indices), x, y)
        except torch._dynamo.exc.BackendCompilerFailed:  # the parameters are as they were
            if not (why := cannot_compile()):
                raise
            raise RuntimeError(f"compile=True is not possible here: {why}, or leave compile out") from None

    def compile(self, cpp_wrapper):
        network, loss = self.network, self.loss

        def steps(parameters, rules, x, y):
            return torch.stack([step(network, loss, parameters, rules, *rows) for rows in zip(x, y, strict=True)])

        # torch counts recompilations by code object, over all networks: each network gets a copy of the code
        copy = types.FunctionType(steps.__code__.replace(), steps.__globals__, "steps", None, steps.__closure__)
        return torch.compile(copy, fullgraph=True, dynamic=False, options={"cpp_wrapper": cpp_wrapper})


def cannot_compile():
    """Why torch.compile cannot build here, and what would help; "" if nothing is known to be in its way."""
    from torch._inductor import cpp_builder, exc

    try:
        cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler:
        return "torch.compile needs a C++ compiler, and finds none on the PATH; install g++"
    paths = str(Path(torch.__file__).parent), tempfile.gettempdir(), os.environ.get("TORCHINDUCTOR_CACHE_DIR", "")
    for path in paths:
        if " " in path:
            return f"torch.compile takes no path with a space, and builds with {path}; move that folder"
    return ""


def cached(programs, key, make):
    """programs[key], made where it is missing. Of more than MOST, the least recently used one is dropped."""
    program = programs.pop(key, None)
    if program is None:
        program = make()
        if len(programs) >= MOST:
            del programs[next(iter(programs))]
    programs[key] = program
    return program
