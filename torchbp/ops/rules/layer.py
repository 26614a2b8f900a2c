"""The rule of a layer that is no elementwise activation, with those of its parameters."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from torchbp.ops._accumulate import accumulate
from torchbp.ops.expressions import Expression
from torchbp.ops.rules.checked import REQUIRED, Checked
from torchbp.ops.rules.rule import Rule


@dataclass(frozen=True, eq=False)
class Parameter(Checked):
    """A parameter of a layer.

    name: the module's attribute. symbol: as the equations call it.
    gradient(dz, saved) → dP, the sum over all rows.
    accumulate(out, dz, saved, beta, scale): out ← β out + s dP in place, without a tensor as large as dP where that can
        be. β and s are numbers or tensors, of an ensemble of one for each member. None is made of `gradient`.
    ones: whether `accumulate` takes a vector with a 1 for each row, and not what was saved: Σ_n dZ is dZᵀ 1.
    equation: dP, of the symbols dZ, X, Z and the parameters', or a function as the layer's are; None where `explain`
        does not show the layer.
    why: the end of the sentence "Chain rule: …", on that equation; `{z}` and `{x}` are replaced by names.

    `gradient` and `accumulate` take the layer's constants as keywords, if its rule has `options`.
    """

    name: Annotated[str, "the module's attribute"] = REQUIRED
    symbol: Annotated[str, "the symbol in equations"] = REQUIRED
    gradient: Annotated[Callable, "gradient(dz, saved) → dP"] = REQUIRED
    equation: Annotated[Expression | Callable | None, "dP as an expression in dZ and X, or None"] = REQUIRED
    why: Annotated[str, 'the end of the sentence "Chain rule: …"'] = "{z} changes with it"
    accumulate: Annotated[Callable | None, "accumulate(out, dz, saved, beta, scale)"] = None
    ones: Annotated[bool, "whether accumulate takes ones"] = False

    def __post_init__(self):
        super().__post_init__()
        if self.equation is not None and not callable(self.equation):
            self._check_tree("equation", self.equation, None)  # its symbols depend on the layer, which checks them
        if self.ones and self.accumulate is None:
            raise ValueError(f"{self._described()} has ones=True without `accumulate`, which would take them")
        if self.symbol in ("X", "Z", "dZ"):
            raise ValueError(f"{self._described()} has the symbol {self.symbol}, which is taken; use another")
        object.__setattr__(self, "accumulate", self.accumulate or functools.partial(accumulate, self.gradient))

    def sentences(self):
        return {"why": ("z", "x")}

    def tree(self, about=None, **options):
        """The equation, of these options; `about` is as for `Layer.tree`."""
        return _called(self.equation, about, options)


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer(Rule):
    """Z = f(X; parameters), any layer that is no elementwise activation.

    forward(x, *parameters) → z; with saves="returned" → (z, saved). Parameters that the module has not are None.
    backward(dz, saved, *parameters) → dx.
    saves: what the derivatives need: "input", X, "output", Z, or what `forward` has "returned" beside it.
    parameters: a `Parameter` for each, in the order of `forward`.
    keyed: whether `forward` takes `key`, too: None, or the key of random numbers (`torchbp/ops/_counter_random.py`), in
        the place of torch's random stream, which it advances in place. The engine gives it.
    new_memory: whether what `forward` and `backward` return lies in memory of its own, and is no argument or a view of
        one. The engine may then overwrite it.
    large(gives_dx) → the same layer by products that are faster where they are large, a `Layer` that is not registered;
        or None. The engine takes it for a parameter of many numbers. gives_dx: whether dX is in memory while the
        parameters change.
    equation: Z, of the symbols X and the parameters'; backward_equation: dX, of dZ, Z and those. N is the number of
        rows. Both may also be a function of the options, as keywords with the defaults of the module: it returns the
        expression, or None where there is none for these options. Of X a row is a vector, unless the function also
        takes `shapes`: {"X": the shape of a row, and by its symbol that of each parameter}. In the equations a row of
        any shape stands in one dimension; see `torchbp/ops/places.py`. It may take `dtype` too.
    parts: such a function: {symbol: (expression, what it is, a sentence)} of quantities on the way from X to
        Z, which the equations name, such as the mean of a row; each of X and of those before it. Or None.
    backward_parts: the same for the way back: {"dU": (∂L/∂U, why, a sentence)} of parts U, each of dZ and of those
        before it.
    resizes: of a layer without parameters, whether a row of Z has another number of units than one of X, as of a GLU.
        In an explanation it counts as a layer then, and is no part of the layer before it.
    option_symbols: how the equations call those options that are tensors, such as the mean of all batches so far.
    drawn: of a layer that draws random numbers, the symbol of those in the equations: what `forward` has "returned".
    backward_why: the end of the sentence "Chain rule: …", on that equation; `{z}` and `{x}` are replaced by names.
    description: what it does, a sentence. description_without: another one for a module that lacks parameters, by the
        tuple of their names.

    accumulate_all(*parameters, dz, saved, ones, scale): p ← p + s dP in place for all parameters at once, as
        `accumulate` of each with β = 1 and a number s, in less time; or None.
    of_member: of a layer for ensembles, the rule of the layer that each member has alone; or None.

    Of a layer that `explain` does not show, such as an embedding of indices, the equations may be None; for rows that
    it does not show they may raise a `NoEquationError`, which says why. The formulas of a layer for ensembles take
    X (E, N, …) and parameters (E, …) of all members; its module has the attribute `members`, E.
    """

    forward: Annotated[Callable, "forward(x, *parameters) → z"] = REQUIRED
    backward: Annotated[Callable, "backward(dz, saved, *parameters) → dx"] = REQUIRED
    saves: Annotated[str, 'what the derivatives need, "input", "output" or "returned"'] = REQUIRED
    parameters: Annotated[tuple[Parameter, ...], "a Parameter for each, or ()"] = REQUIRED
    equation: Annotated[Expression | Callable | None, "Z as an expression in X and the parameters' symbols"] = REQUIRED
    backward_equation: Annotated[Expression | Callable | None, "dX as an expression in dZ, X and the symbols"] = (
        REQUIRED
    )
    description: Annotated[str, "what the layer does, a sentence"] = REQUIRED
    description_without: Annotated[dict[tuple[str, ...], str] | None, "the same by missing parameters"] = None
    backward_why: Annotated[str, 'the end of the sentence "Chain rule: …"'] = "{z} changes with {x}"
    new_memory: Annotated[bool, "whether results are in new memory"] = False
    accumulate_all: Annotated[Callable | None, "accumulate_all(*parameters, dz, saved, ones, scale)"] = None
    of_member: Annotated[Rule | None, "of an ensemble's layer, the rule of a member's layer, or None"] = None
    large: Annotated[Callable | None, "large(gives_dx) → the same layer by other products, or None"] = None
    keyed: Annotated[bool, "whether forward takes a key"] = False
    parts: Annotated[Callable | None, "parts() → {symbol: (expression, what it is)}, or None"] = None
    backward_parts: Annotated[Callable | None, "backward_parts() → {symbol: (expression, why)}, or None"] = None
    resizes: Annotated[bool, "whether a row of Z has another number of units"] = False
    option_symbols: Annotated[dict, "{option: its symbol}"] = field(default_factory=dict)
    drawn: Annotated[str | None, "the symbol of random numbers that forward returns, or None"] = None

    def __post_init__(self):
        super().__post_init__()
        if self.drawn is not None and self.saves != "returned":
            raise ValueError(f'{self._described()} has drawn={self.drawn!r}; `forward` must have it "returned"')
        symbols = [parameter.symbol for parameter in self.parameters]
        if len(set(symbols)) < len(symbols):
            raise ValueError(f"{self._described()} has two parameters with one symbol: {', '.join(symbols)}")
        if wrong := [symbol for symbol in self.backward_parts_of() if symbol[1:] not in self.parts_of()]:
            raise ValueError(f"{self._described()} has the backward part {wrong[0]}, of a part that it has not")
        for parameter in self.parameters:
            if (tree := parameter.tree()) is not None:
                self._check_tree(f"equation of {parameter.name}", tree, self.symbols()["backward_equation"])

    def choices(self):
        return {"saves": ("input", "output", "returned")}

    def symbols(self):
        names = [parameter.symbol for parameter in self.parameters]
        names += [*([self.drawn] if self.drawn else []), *self.parts_of(), *self.options, *self.option_symbols.values()]
        backward = ("dZ", "X", "Z", *names, *self.backward_parts_of(), "N")
        return {"equation": ("X", *names, "N"), "backward_equation": backward}

    def trees(self, name):
        tree = self.tree(name)
        return [] if tree is None else [tree]

    def parts_of(self, about=None, **options):
        """{symbol: (expression, what it is)} of the parts, of these options; `about` is as for `tree`."""
        return _called(self.parts, about, options) if self.parts else {}

    def backward_parts_of(self, about=None, **options):
        """{symbol: (expression, why)} of the backward parts, of these options."""
        return _called(self.backward_parts, about, options) if self.backward_parts else {}

    def tree(self, name, about=None, **options):
        """The expression `name`, "equation" or "backward_equation", of these options; those that are not given are the
        module's. `about` has what it may take beside the options: "shapes" and "dtype". None where there is none."""
        return _called(getattr(self, name), about, options)

    @functools.cached_property
    def takes_rows_of_any_shape(self):
        """Whether the equations are of rows of any shape, and not of vectors alone."""
        return callable(self.equation) and "shapes" in inspect.signature(self.equation).parameters

    def sentences(self):
        return {"backward_why": ("z", "x")}


def _called(tree, about, options):
    """A tree, or what the function of the options returns that it is."""
    if not callable(tree):
        return tree
    taken = _arguments_of(tree)
    return tree(**options, **{name: value for name, value in (about or {}).items() if name in taken})


@functools.lru_cache(1024)
def _arguments_of(function):
    """The names of its arguments, which `inspect` takes 0.1 ms to read."""
    return frozenset(inspect.signature(function).parameters)
