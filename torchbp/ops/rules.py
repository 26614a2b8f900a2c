"""Rules: what an operation states of itself, once, for everybody who reads it.

The modules of `torchbp.nn`, `convert`, the engine, `explain`, the training command, the bench and the tests read the
rules; none of them has a table of operations. A new operation is one `autograd.Function`, one rule and one module:

    RULE = register(Activation(name="sigmoid", …))

    @implements(RULE)
    class Sigmoid(torch.nn.Sigmoid): …

`tests/test_new_operations.py` makes three of them. A rule whose part is missing is refused where it is made.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

import torch

from torchbp.ops._accumulate import accumulate
from torchbp.ops._checked import REQUIRED, Checked
from torchbp.ops.expressions import Expression
from torchbp.ops.losses._reduction import check_shape


@dataclass(frozen=True, kw_only=True, eq=False)
class Rule(Checked):
    """What all kinds of rules have.

    name: of the operation, as in `torchbp.ops` and in settings.
    apply: the operation as a user calls it, which records its formulas for autograd: of tensors, and of the options as
        keywords.
    torch_module: the module of torch that computes the same, or None.
    torch_functions: the functions of torch that compute the same, each with ours, which takes the same arguments:
        `{F.linear: linear}`.
    options: names of the module's attributes that are constants of the operation, such as the slope of a leaky relu.
        `forward`, `backward` and the other formulas take them as keywords.
    numbers: those of them that the formulas also take as a tensor of one number, so that a program in C that was made
        of a trace serves for all of them.
    module_class: our module, the class that `@implements(rule)` is above; None where there is none.
    refuses(module): why the formulas do not compute what this module does, the end of the sentence "layer … is not
        supported: …"; or None where they do. For options of torch's module that the rule does not have.
    reference(module, *inputs): what torch's module gives, by other operations of torch, where its own are not exact
        enough to compare with; None is its forward.
    """

    name: Annotated[str, "the name of the operation"] = REQUIRED
    apply: Annotated[Callable, "the operation with its autograd.Function"] = REQUIRED
    torch_module: Annotated[type | None, "torch's module, or None"] = None
    torch_functions: Annotated[dict, "{torch's function: ours}"] = field(default_factory=dict)
    options: Annotated[tuple[str, ...], "a tuple of names of constants"] = ()
    refuses: Annotated[Callable | None, "refuses(module) → why, or None"] = None
    reference: Annotated[Callable | None, "reference(module, inputs) → output, by torch, or None"] = None
    numbers: Annotated[tuple[str, ...], "a tuple of those of the options that may be tensors"] = ()
    module_class = None  # no part: it is set by `implements`

    def __post_init__(self):
        super().__post_init__()
        if wrong := [name for name in self.numbers if name not in self.options]:
            raise ValueError(f"{self._described()} has numbers={self.numbers}; {wrong[0]!r} is none of its options")

    @property
    def known_class(self):
        """The class of modules that people know the operation by: torch's, or ours; None where there is neither."""
        return self.torch_module or self.module_class

    def options_of(self, module):
        """The constants of the module, name: value, as they are now."""
        options, buffers = {}, module._buffers  # reading a buffer as an attribute costs 1 µs
        for name in self.options:
            options[name] = buffers[name] if name in buffers else getattr(module, name)
        return options


@dataclass(frozen=True, kw_only=True, eq=False)
class Operation(Rule):
    """Any other operation, such as one of several inputs. `convert` reaches it; the engine does not run it."""


SAVES = "input", "output", "returned"


@dataclass(frozen=True, kw_only=True, eq=False)
class Activation(Rule):
    """A = f(Z), elementwise.

    forward(z) → a, by torch's operations. forward_(z) → a, which may be written over z; None where there is none,
        as for one that saves its input.
    backward(da, saved) → dz = da ∘ f′. backward_(da, saved) → dz, which may be written over da; or None.
    saves: what the derivative is a function of: "output", A, or "input", Z.
    equation: f, of the symbol Z. It and `slope` may also be a function of the options, as keywords with the defaults
        of the module: it returns the expression.
    slope: f′, of A where the output is saved, otherwise of Z.
    description: what f does, the end of the sentence "The activation …".
    slope_description: how large f′ is, the end of the sentence "Its slope is …"; `{a}` and `{z}` are replaced by names.
    steepest: the largest |f′|.
    range: the least and the largest A, where both are finite; or None.
    flat: where f′ is nearly 0: "both sides" of 0, as of σ; on the "left", as of relu; or "nowhere".
    instead: the name of an activation to try where units of this one no longer learn, or None.
    """

    forward: Annotated[Callable, "forward(z) → a"] = REQUIRED
    backward: Annotated[Callable, "backward(da, saved) → dz"] = REQUIRED
    saves: Annotated[str, 'what backward needs, "input" or "output"'] = REQUIRED
    equation: Annotated[Expression | Callable, "A as an expression in Z"] = REQUIRED
    slope: Annotated[Expression | Callable, "∂A/∂Z as an expression in A, where that is saved, or in Z"] = REQUIRED
    description: Annotated[str, 'the end of the sentence "The activation …"'] = REQUIRED
    slope_description: Annotated[str, 'the end of the sentence "Its slope is …"'] = REQUIRED
    steepest: Annotated[float, "the largest slope"] = REQUIRED
    flat: Annotated[str, 'where the slope is nearly 0: "both sides", "left" or "nowhere"'] = REQUIRED
    instead: Annotated[str | None, "the name of an activation that helps where this one is flat, or None"] = None
    range: Annotated[tuple[float, float] | None, "the least and the largest A, or None"] = None
    forward_: Annotated[Callable | None, "forward, over Z"] = None
    backward_: Annotated[Callable | None, "backward, over dA"] = None

    def __post_init__(self):
        super().__post_init__()
        if self.forward_ is not None and self.saves == "input":
            raise ValueError(f"{self._described()} has `forward_`, which would overwrite the saved input; leave it out")

    def choices(self):
        return {"saves": SAVES[:2], "flat": ("both sides", "left", "nowhere")}

    def symbols(self):
        saved = "A" if self.saves == "output" else "Z"
        return {"equation": ("Z", *self.options), "slope": (saved, *self.options)}

    def sentences(self):
        return {"slope_description": ("a", "z")}

    def trees(self, name):
        return [self.tree(name)]

    def tree(self, name, **options):
        """The expression `name`, "equation" or "slope", of these options; those that are not given are the module's."""
        tree = getattr(self, name)
        return tree(**options) if callable(tree) else tree

    def derivative(self, a, z, **options):
        """f′ of each element, from A and Z."""
        saved = a if self.saves == "output" else z
        return self.backward(torch.ones_like(saved), saved, **options)


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

    Of a layer that `explain` does not show, such as a convolution, the equations may be None. The formulas of a layer
    for ensembles take X (E, N, …) and parameters (E, …) of all members; its module has the attribute `members`, E.
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
        return {"saves": SAVES}

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
    taken = inspect.signature(tree).parameters
    return tree(**options, **{name: value for name, value in (about or {}).items() if name in taken})


@dataclass(frozen=True, kw_only=True)
class Computed:
    """How a part of a loss is computed, where its equation does not give the number: A is rounded, or a bound holds.

    expression: of the symbols A, Z, the network's output, y, and those of the loss's options; or a function of the set
        of the options that are given, which returns it.
    why: a sentence, or a function of that set; `{a}` and `{z}` are replaced by names.
    """

    expression: Expression | Callable
    why: str | Callable


@dataclass(frozen=True, kw_only=True, eq=False)
class Loss(Rule):
    """L, the mean or the sum of ℓ over the elements of the network's output, or over its rows.

    each(output, y) → ℓ, by torch's operations.
    value(output, y, reduction) → L, "mean" or "sum", in one operation; None where L is made of `each`.
    derivative(output, y) → D = ∂ℓ/∂output, in new memory, which the engine overwrites. ∂L/∂output = s D, with s = 1 for
        a sum, and 1 over the count for a mean.
    count(y) → what the mean divides by, of one network: a number or tensor; None is the number of y's elements, which
        are those of ℓ. Of an ensemble's y it is the count of each member.
    terms(output, y) → (ℓ, D, count), the three in one, where they share work, as a softmax; None is `each`,
        `derivative` and `count`.
    check(output, y): raises a ValueError for a y that does not fit; by default for one of another shape.
    target: "elements", a number for each of the output's; or "classes", the index of a class for each row.
    uncounted: a function of the options: the number that the target of a row is filled with where the row is not to
        count. None is the option `ignore_index`, where the loss has it.
    answers: the rule of what turns outputs into answers, of a loss that takes logits: an activation, or a layer without
        parameters such as the softmax, with `answers_options` as its constants; or None.
    of_answers: of the same, the rule of the loss that takes those answers and is otherwise equal; or None.
    option_symbols: how the equations call each of the `options`.
    equation: ℓ, of the symbols A, the answers, y, and those of the options. It, `slope` and `error` may also be a
        function: of the set of those options that are given, it returns the expression. Of classes y is 1 for the class
        of the row and 0 for the others, K is their number, and ℓ of a row the sum over them.
    slope: ∂ℓ/∂A, of the same symbols.
    error: ∂ℓ/∂Z of a loss that takes logits, of the same: the slope times that of `answers`,
        simplified. None where it is not simplified, or where there are no logits.
    equation_computed, slope_computed, error_computed: a `Computed`, where ℓ, ∂ℓ/∂A or ∂ℓ/∂Z is not always computed by
        its equation.
    as_target(output): the answers on the scale of y, where they are not: of log-probabilities the probabilities. It
        takes the options too. None is the output, or what `answers` makes of it.
    domain: the least and the largest number that A and y may be; None is any.
    description: what it measures, a sentence. answers_description: what `answers` makes of the logits, a sentence;
        error_description: why `error` is the slope times that of `answers`, a sentence, or a function of the options
        that are given. `{a}` and `{z}` are replaced by the names of the answers and the logits.
    """

    each: Annotated[Callable, "each(output, y) → ℓ"] = REQUIRED
    derivative: Annotated[Callable, "derivative(output, y) → ∂ℓ/∂output"] = REQUIRED
    equation: Annotated[Expression | Callable | None, "ℓ as an expression in A and y"] = REQUIRED
    slope: Annotated[Expression | Callable | None, "∂ℓ/∂A as an expression in A and y"] = REQUIRED
    description: Annotated[str, "what the loss measures, a sentence"] = REQUIRED
    answers: Annotated[Activation | Layer | None, "what turns logits into answers, or None"] = None
    answers_options: Annotated[dict, "the constants of that layer"] = field(default_factory=dict)
    of_answers: Annotated["Loss | None", "the rule of the same loss of the answers, or None"] = None
    error: Annotated[Expression | Callable | None, "∂ℓ/∂Z as an expression in A and y"] = None
    answers_description: Annotated[str, "what it makes of the logits"] = "The loss turns the logits {z} into answers."
    error_description: Annotated[str | Callable, "why"] = (
        "Chain rule: the slope of L times that of the answers, in one formula."
    )
    equation_computed: Annotated[Computed | None, "how ℓ is computed"] = None
    slope_computed: Annotated[Computed | None, "how ∂ℓ/∂A is computed"] = None
    error_computed: Annotated[Computed | None, "how ∂ℓ/∂Z is computed"] = None
    as_target: Annotated[Callable | None, "as_target(output) → the answers on the scale of y"] = None
    domain: Annotated[tuple[float, float] | None, "the least and the largest A and y, or None"] = None
    option_symbols: Annotated[tuple[str, ...], "the symbol of each option"] = ()
    value: Annotated[Callable | None, "value(output, y, reduction) → L"] = None
    target: Annotated[str, 'what y is: "elements" or "classes"'] = "elements"
    uncounted: Annotated[Callable | None, "uncounted() → the target of a row that does not count"] = None
    check: Annotated[Callable, "check(output, y), which raises a ValueError for a y that does not fit"] = check_shape
    count: Annotated[Callable | None, "count(y) → what the mean divides by"] = None
    terms: Annotated[Callable | None, "terms(output, y) → (ℓ, ∂ℓ/∂output, count)"] = None

    def __post_init__(self):
        super().__post_init__()
        if self.equation is not None and len(self.option_symbols) != len(self.options):
            raise ValueError(
                f"{self._described()} has option_symbols={self.option_symbols}; give one for each of {self.options}"
            )
        if self.error is not None and self.answers is None:
            raise ValueError(f"{self._described()} has `error` without `answers`, whose logits it is of; give both")
        for name in ("equation_computed", "slope_computed", "error_computed"):
            if (computed := getattr(self, name)) is not None:
                for tree in self._alternatives(computed.expression):
                    self._check_tree(name, tree, ("A", "Z", "y", "K", *self.option_symbols))

    def mean_or_sum(self, output, y, reduction, **options):
        """L, by `value` or from `each`.

        Raises:
            ValueError: ℓ has another number of elements than y, and the rule has no `count`.
        """
        if self.value is not None:
            return self.value(output, y, reduction, **options)
        each = self.each(output, y, **options)
        if reduction == "sum":
            return each.sum()
        if self.count is not None:
            return each.sum() / self.count(y, **options)
        if each.numel() != y.numel():
            raise ValueError(
                f"{self._described()} gives {each.numel()} losses for {y.numel()} targets; say in `count` what its "
                "mean divides by"
            )
        return each.mean()

    def trees(self, name):
        return self._alternatives(getattr(self, name))

    def _alternatives(self, tree):
        if tree is None:
            return []
        return [tree(frozenset(given)) for given in ((), self.options)] if callable(tree) else [tree]

    def sentences(self):
        return {"answers_description": ("a", "z"), "error_description": ("a", "z")}

    def choices(self):
        return {"target": ("elements", "classes")}

    def symbols(self):
        return dict.fromkeys(("equation", "slope", "error"), ("A", "y", "K", *self.option_symbols))

    def tree(self, name, given=(), computed=False):
        """The expression `name`, "equation", "slope" or "error", where the options `given` are, and others are None; or
        what is `computed` in its place."""
        tree = getattr(self, f"{name}_computed").expression if computed else getattr(self, name)
        return tree(frozenset(given)) if callable(tree) else tree


KINDS = Activation, Layer, Loss, Operation
