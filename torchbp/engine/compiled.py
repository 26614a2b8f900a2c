"""Several steps of gradient descent as one graph of torch.compile: for a small network most of a step is its calls."""

import os
import tempfile
import types
from pathlib import Path

import torch

from torchbp.engine.descent import step
from torchbp.engine.layers import Layers
from torchbp.engine.rules import distinct, placed
from torchbp.ops.ensemble_linear import ensemble_dbias, ensemble_dweight
from torchbp.ops.linear import linear_dbias, linear_dweight
from torchbp.ops.rules import per_member

MOST = 32  # programs that are kept, each for a shape of the rows


class TracedLayers(Layers):
    """`Layers` in a form that the compiler fuses: whole expressions in place of products that accumulate."""

    def __init__(self, model):
        super().__init__(model)
        dweight, dbias = (linear_dweight, linear_dbias) if self.members is None else (ensemble_dweight, ensemble_dbias)

        def add_dweight(out, dz, x, beta, scale):
            out.copy_(times(beta, out) + times(scale, dweight(dz, x)))

        def add_dbias(out, dz, _, beta, scale):
            out.copy_(times(beta, out) + times(scale, dbias(dz)))

        self.formulas = self.formulas._replace(add_dweight=add_dweight, add_dbias=add_dbias)

    def ones(self, dz):
        return None


def times(scale, tensor):
    return per_member(scale, tensor) * tensor if isinstance(scale, torch.Tensor) else scale * tensor


class CompiledSteps:
    """K steps of a network on the rows x (K, …, in_features) and y, compiled for each shape of x and y."""

    def __init__(self, model, loss):
        self.layers, self.loss, self.compiled = TracedLayers(model), loss, {}

    @torch.no_grad()
    def __call__(self, parameters, rules, x, y):
        """The losses (K, …) of before each step."""
        found, places = distinct(rules)
        key = (x.shape, x.dtype, y.shape, y.dtype, places, *(rule.fixed() for rule in found))
        made = kept(self.compiled, key, lambda: self.compile(x.device.type == "cpu"))
        parameters = [tuple(p if p is None else p.detach() for p in pair) for pair in parameters]
        try:
            return made(parameters, placed([traced(rule, x) for rule in found], places), x, y)
        except torch._dynamo.exc.BackendCompilerFailed:  # the parameters are as they were
            if not (why := cannot_compile()):
                raise
            raise RuntimeError(f"compile=True is not possible here: {why}, or leave compile out") from None

    def compile(self, cpp_wrapper):
        layers, loss = self.layers, self.loss

        def steps(parameters, rules, x, y):
            return torch.stack([step(layers, loss, parameters, rules, *rows) for rows in zip(x, y, strict=True)])

        # torch counts recompilations by code, over all networks: each has code of its own
        own = types.FunctionType(steps.__code__.replace(), steps.__globals__, "steps", None, steps.__closure__)
        return torch.compile(own, fullgraph=True, dynamic=False, options={"cpp_wrapper": cpp_wrapper})


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


def kept(programs, key, make):
    """programs[key], made where it is missing. Of more than MOST, the one that was not used for longest is dropped."""
    program = programs.pop(key, None)
    if program is None:
        program = make()
        if len(programs) >= MOST:
            del programs[next(iter(programs))]
    programs[key] = program
    return program


def traced(rule, x):
    """The rule with tensors for numbers, so that another learning rate is not compiled anew."""
    return rule._replace(**{k: number(v, x) for k, v in rule.numbers().items()})


def number(value, x):
    """A tensor of the number, as precise as x or as float32, whichever is more."""
    if isinstance(value, torch.Tensor):
        return value
    return torch.full((), value, dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)
