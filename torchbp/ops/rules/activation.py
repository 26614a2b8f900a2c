"""The rule of an activation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch

from torchbp.ops.expressions import Expression
from torchbp.ops.rules.checked import REQUIRED
from torchbp.ops.rules.rule import Rule


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
        return {"saves": ("input", "output"), "flat": ("both sides", "left", "nowhere")}

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
