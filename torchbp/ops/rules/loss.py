"""The rule of a loss."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from torchbp.ops.expressions import Expression
from torchbp.ops.losses._reduction import check_shape
from torchbp.ops.rules.activation import Activation
from torchbp.ops.rules.checked import REQUIRED
from torchbp.ops.rules.layer import Layer
from torchbp.ops.rules.rule import Rule


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
