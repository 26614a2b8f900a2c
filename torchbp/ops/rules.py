"""Rules: what an operation states of itself, once, for everybody who reads it.

The modules of `torchbp.nn`, `convert`, the engine, `explain`, the training command, the bench and the tests read the
rules; none of them has a table of operations. A new operation is one `autograd.Function`, one rule and one module:

    RULE = register(Activation(name="sigmoid", …))

    @implements(RULE)
    class Sigmoid(torch.nn.Sigmoid): …

`tests/test_new_operations.py` makes three of them. A rule whose part is missing is refused where it is made.
"""

import dataclasses
import functools
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch

from torchbp.ops._loss import check_shape, reduced
from torchbp.ops.expressions import Expression

REQUIRED = object()  # stands for a part that a rule cannot do without; the words of its type say what is missing


@dataclass(frozen=True, kw_only=True, eq=False)
class Rule:
    """What all kinds of rules have.

    name: of the operation, as in `torchbp.ops` and in settings.
    apply: the operation as a user calls it, which records its formulas for autograd.
    torch_module: the module of torch that computes the same, or None.
    options: names of the module's attributes that are constants of the operation, such as the slope of a leaky relu.
        `forward`, `backward` and the other formulas take them as keywords.

    Raises:
        TypeError: a part is missing, which the message names, or unknown.
        ValueError: a part has a value that the rule cannot have.
    """

    name: Annotated[str, "the name of the operation"] = REQUIRED
    apply: Annotated[Callable, "the operation with its autograd.Function"] = REQUIRED
    torch_module: Annotated[type | None, "torch's module, or None"] = None
    options: Annotated[tuple[str, ...], "names of constants"] = ()

    def __post_init__(self):
        kind = f"the rule of {type(self).__name__.lower()} {'(no name)' if self.name is REQUIRED else repr(self.name)}"
        for f in dataclasses.fields(self):
            if getattr(self, f.name) is REQUIRED:
                words = typing.get_type_hints(type(self), include_extras=True)[f.name].__metadata__[0]
                raise TypeError(f"{kind} lacks `{f.name}`: {words}")
        for name, values in self.choices().items():
            if getattr(self, name) not in values:
                raise ValueError(f"{kind} has {name}={getattr(self, name)!r}; use {', '.join(map(repr, values))}")
        for name, symbols in self.symbols().items():
            tree = getattr(self, name)
            if tree is None:
                continue
            if callable(tree) and isinstance(self, Loss):
                tree = tree(frozenset(self.options))
            if not isinstance(tree, Expression):
                raise TypeError(f"{kind} has no expression as `{name}`, but {tree!r}; see torchbp.ops.expressions")
            if unknown := [s for s in tree.symbols() if s not in (*symbols, *self.options)]:
                raise ValueError(f"{kind}: `{name}` has the symbol {unknown[0]}; it may have {', '.join(symbols)}")

    def choices(self):
        """The values that a part may have, by its name."""
        return {}

    def symbols(self):
        """The symbols that each equation may have, by the name of the part."""
        return {}

    @property
    def module_class(self):
        """Our module's class, or None."""
        return _ours.get(self)

    def module(self, *args, **kwargs):
        """A new module of ours that computes the operation.

        Raises:
            TypeError: no class implements the rule.
        """
        if self not in _ours:
            raise TypeError(f"no module implements {self.name}; write @implements(rule) over its class")
        return _ours[self](*args, **kwargs)

    def options_of(self, module):
        """The constants of the module, name: value, as they are now."""
        options, buffers = {}, module._buffers  # reading a buffer as an attribute costs 1 µs
        for name in self.options:
            options[name] = buffers[name] if name in buffers else getattr(module, name)
        return options


SAVES = "input", "output", "returned"


@dataclass(frozen=True, kw_only=True, eq=False)
class Activation(Rule):
    """A = f(Z), elementwise.

    forward(z) → a, by torch's operations. forward_(z) → a, which may be written over z; None is `forward`.
    backward(da, saved) → dz = da ∘ f′. backward_(da, saved) → dz, which may be written over da; None is `backward`.
    saves: what the derivative is a function of: "output", A, or "input", Z.
    equation: f, of the symbol Z.
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
    equation: Annotated[Expression, "A as an expression in Z"] = REQUIRED
    slope: Annotated[Expression, "∂A/∂Z as an expression in A, where the output is saved, or in Z"] = REQUIRED
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
        object.__setattr__(self, "forward_", self.forward_ or self.forward)
        object.__setattr__(self, "backward_", self.backward_ or self.backward)

    def choices(self):
        return {"saves": SAVES[:2], "flat": ("both sides", "left", "nowhere")}

    def symbols(self):
        return {"equation": ("Z",), "slope": ("A",) if self.saves == "output" else ("Z",)}

    def derivative(self, a, z, **options):
        """f′ of each element, from A and Z."""
        saved = a if self.saves == "output" else z
        return self.backward(torch.ones_like(saved), saved, **options)


@dataclass(frozen=True, eq=False)
class Parameter:
    """A parameter of a layer.

    name: the module's attribute. symbol: as the equations call it.
    gradient(dz, saved) → dP, the sum over all rows.
    accumulate(out, dz, saved, beta, scale): out ← β out + s dP in place, without a tensor as large as dP where that can
        be. β and s are numbers or tensors, of an ensemble of one for each member. None is made of `gradient`.
    ones: whether `accumulate` takes a vector with a 1 for each row, and not what was saved: Σ_n dZ is dZᵀ 1.
    equation: dP, of the symbols dZ, X, Z and the parameters'; None where `explain` does not show the layer.
    why: the end of the sentence "Chain rule: …", on that equation; `{z}` and `{x}` are replaced by names.

    `gradient` and `accumulate` take the layer's constants as keywords, if its rule has `options`.
    """

    name: str
    symbol: str
    gradient: Callable
    equation: Expression | None
    why: str = "{z} changes with it"
    accumulate: Callable | None = None
    ones: bool = False

    def __post_init__(self):
        if self.accumulate is None:
            object.__setattr__(self, "accumulate", functools.partial(accumulate, self.gradient))


def accumulate(gradient, out, dz, saved, beta, scale, **options):
    """out ← β out + s dP in place, of a formula that gives dP."""
    if isinstance(beta, torch.Tensor):
        out.mul_(per_member(beta, out))
    elif beta != 1:
        out.mul_(beta) if beta else out.zero_()
    add_multiple(out, scale, gradient(dz, saved, **options))


def add_multiple(out, scale, tensor):
    """out ← out + s tensor in place; s is a number, or a tensor of one number or of one for each member."""
    if isinstance(scale, torch.Tensor):
        out.addcmul_(tensor, per_member(scale, tensor))
    else:
        out.add_(tensor, alpha=scale)


def per_member(numbers, tensor):
    """One number for all, or one for each member, in the shape (E, 1, …) that multiplies `tensor` (E, …)."""
    return numbers.view(-1, *[1] * (tensor.dim() - 1))


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer(Rule):
    """Z = f(X; parameters), any layer that is no elementwise activation.

    forward(x, *parameters) → z; with saves="returned" → (z, saved). Parameters that the module has not are None.
    backward(dz, saved, *parameters) → dx.
    saves: what the derivatives need: "input", X, "output", Z, or what `forward` has "returned" beside it.
    parameters: a `Parameter` for each, in the order of `forward`.
    members: whether the formulas are of all members of an ensemble: X (E, N, …), parameters (E, …).
    equation: Z, of the symbols X and the parameters'; backward_equation: dX, of dZ and those.
    backward_why: the end of the sentence "Chain rule: …", on that equation; `{z}` and `{x}` are replaced by names.
    description: what it does, a sentence. description_without: another one for a module that lacks parameters, by the
        tuple of their names.

    Of a layer that `explain` does not show, such as a convolution, the equations may be None.
    """

    forward: Annotated[Callable, "forward(x, *parameters) → z"] = REQUIRED
    backward: Annotated[Callable, "backward(dz, saved, *parameters) → dx"] = REQUIRED
    saves: Annotated[str, 'what the derivatives need, "input", "output" or "returned"'] = REQUIRED
    parameters: Annotated[tuple[Parameter, ...], "a Parameter for each, or ()"] = REQUIRED
    equation: Annotated[Expression | None, "Z as an expression in X and the parameters' symbols"] = REQUIRED
    backward_equation: Annotated[Expression | None, "dX as an expression in dZ, X and the symbols"] = REQUIRED
    description: Annotated[str, "what the layer does, a sentence"] = REQUIRED
    description_without: Annotated[dict[tuple[str, ...], str] | None, "the same by missing parameters"] = None
    backward_why: Annotated[str, 'the end of the sentence "Chain rule: …"'] = "{z} changes with {x}"
    members: Annotated[bool, "whether the formulas are of all members of an ensemble"] = False

    def choices(self):
        return {"saves": SAVES}

    def symbols(self):
        names = [p.symbol for p in self.parameters]
        return {"equation": ("X", *names), "backward_equation": ("dZ", "X", "Z", *names)}


@dataclass(frozen=True, kw_only=True)
class Computed:
    """How a part of a loss is computed, where its equation does not give the number: A is rounded, or a bound holds.

    expression: of the symbols A, Z, the network's output, y, and those of the loss's options; or a function of the set
        of the options that are given, which returns it.
    why: a sentence; `{a}` and `{z}` are replaced by names.
    """

    expression: Expression | Callable
    why: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Loss(Rule):
    """L, the mean or the sum of ℓ over the elements of the network's output, or over its rows.

    each(output, y) → ℓ, by torch's operations.
    value(output, y, reduction) → L, "mean" or "sum", in one operation; None is made of `each`.
    derivative(output, y) → D = ∂ℓ/∂output; ∂L/∂output = s D, with s = 1 for a sum, and 1 over the count for a mean.
    count(y) → what the mean divides by, of one network: a number or tensor; None is the number of y's elements, which
        are those of ℓ. Of an ensemble's y it is the count of each member.
    check(output, y): raises a ValueError for a y that does not fit; None asks for the shape of the output.
    target: "elements", a number for each of the output's; or "classes", the index of a class for each row.
    answers: the rule of the activation that turns outputs into answers, of a loss that takes logits; or None.
    of_answers: of the same, the rule of the loss that takes those answers and is otherwise equal; or None.
    option_symbols: how the equations call each of the `options`.
    equation: ℓ, of the symbols A, the answers, y, and those of the options. It, `slope` and `error` may also be a
        function: of the set of those options that are given, it returns the expression.
    slope: ∂ℓ/∂A, of the same symbols.
    error: ∂ℓ/∂Z of a loss that takes logits, of the same: the slope times that of `answers`; None otherwise.
    equation_computed, slope_computed: a `Computed`, where ℓ or ∂ℓ/∂A is not always computed by its equation.
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
    answers: Annotated[Activation | None, "the activation that turns logits into answers, or None"] = None
    of_answers: Annotated["Loss | None", "the rule of the same loss of the answers, or None"] = None
    error: Annotated[Expression | Callable | None, "∂ℓ/∂Z as an expression in A and y"] = None
    answers_description: Annotated[str, "what it makes of the logits"] = "The loss turns the logits {z} into answers."
    error_description: Annotated[str | Callable, "why"] = (
        "Chain rule: the slope of L times that of the answers, in one formula."
    )
    equation_computed: Annotated[Computed | None, "how ℓ is computed"] = None
    slope_computed: Annotated[Computed | None, "how ∂ℓ/∂A is computed"] = None
    domain: Annotated[tuple[float, float] | None, "the least and the largest A and y, or None"] = None
    option_symbols: Annotated[tuple[str, ...], "the symbol of each option"] = ()
    value: Annotated[Callable | None, "value(output, y, reduction) → L"] = None
    target: Annotated[str, 'what y is: "elements" or "classes"'] = "elements"
    check: Annotated[Callable | None, "check(output, y), which raises a ValueError for a y that does not fit"] = None
    count: Annotated[Callable | None, "count(y) → what the mean divides by"] = None

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "check", self.check or check_shape)
        object.__setattr__(self, "value", self.value or self._value_of_each)

    def _value_of_each(self, output, y, reduction, **options):
        each = self.each(output, y, **options)
        if reduction == "mean" and self.count is not None:
            return each.sum() / self.count(y, **options)
        return reduced(each, reduction)

    def choices(self):
        return {"target": ("elements", "classes")}

    def symbols(self):
        return dict.fromkeys(("equation", "slope", "error"), ("A", "y", *self.option_symbols))

    def tree(self, name, given=()):
        """The expression `name`, "equation", "slope" or "error", where the options `given` are, and others are None."""
        tree = getattr(self, name)
        return tree(frozenset(given)) if callable(tree) else tree


_named: dict[tuple[type, str], Rule] = {}
_rules: dict[type, Rule] = {}  # of each module's class, ours and torch's
_ours: dict[Rule, type] = {}


def register(rule):
    """Make the rule known by its name and by torch's module; it is returned.

    Raises:
        ValueError: another rule has the name, or the module of torch.
    """
    key = type(rule), rule.name
    if key in _named:
        raise ValueError(f"there is a rule of the {key[0].__name__.lower()} {rule.name!r} already; use another name")
    if rule.torch_module in _rules:
        raise ValueError(f"{rule.torch_module.__name__} has the rule {_rules[rule.torch_module].name!r} already")
    _named[key] = rule
    if rule.torch_module is not None:
        _rules[rule.torch_module] = rule
    return rule


def unregister(rule):
    """The inverse of `register` and `implements`: for tests, and for a notebook's cell that is run again."""
    _named.pop((type(rule), rule.name), None)
    _ours.pop(rule, None)
    for cls in [cls for cls, r in _rules.items() if r is rule]:
        del _rules[cls]


def implements(rule):
    """A class decorator: the class is our module of this rule.

    Raises:
        TypeError: torch has a module for it, and the class is no subclass of that.
    """

    def decorate(cls):
        if rule.torch_module is not None and not issubclass(cls, rule.torch_module):
            raise TypeError(f"{cls.__name__} must be a subclass of {rule.torch_module.__name__}, which it stands for")
        _rules[cls], _ours[rule] = rule, cls
        return cls

    return decorate


def rule_of(module):
    """The rule of a module, by its exact class: a subclass may compute something else. None where there is none."""
    return _rules.get(type(module))


def rules(kind):
    """{name: rule} of a kind, `Activation`, `Layer` or `Loss`, by the alphabet."""
    return {name: rule for (of, name), rule in sorted(_named.items(), key=lambda item: item[0][1]) if of is kind}


def activation(name):
    """The rule of the activation with this name.

    Raises:
        ValueError: there is none; the message lists the names.
    """
    rule = _named.get((Activation, name)) if isinstance(name, str) else None
    if rule is None:
        raise ValueError(f"activation={name!r} is not known; use {', '.join(rules(Activation))}")
    return rule
