"""What an explanation consists of: one record for each quantity, in the order of the article."""

import math
from dataclasses import dataclass, field, replace

import torch

from torchbp.explanation.notation.equations import is_elementwise, sums_rows
from torchbp.explanation.notation.numeric_examples import Example
from torchbp.explanation.notation.quantities import Derivative, Quantity
from torchbp.explanation.render.plain_text import PlainText, plain
from torchbp.ops.expressions import Expression

STAGES = {
    "forward": "Forward",
    "loss": "Loss",
    "backward": "Backward",
    "update": "Update",
    "again": "Forward again",
}
OVERFLOW = "numbers overflow on the way to it, in torch too"  # why nothing is compared


@dataclass(frozen=True)
class Factor:
    """One factor of the chain rule, such as dA1/dZ1, and its tensor."""

    derivative: Derivative
    tensor: torch.Tensor

    @property
    def name(self):
        return self.derivative.name


@dataclass(frozen=True)
class Check:
    """A comparison of a record, and its verdict.

        ok:  |value − reference| ≤ bound

    by: what the reference is from.
    error, bound: the largest difference, and what rounding, or the step of a difference quotient, explains of it; of an
        element beyond its bound if there is one. None where there is no comparison.
    why: the reason, where there is none.
    """

    by: str
    error: float | None = None
    bound: float | None = None
    why: str = ""

    @property
    def ok(self):
        """None where there is no comparison; nan and inf are never ok."""
        return None if self.error is None else self.error <= self.bound < math.inf


@dataclass(frozen=True)
class Record:
    """One quantity of the step.

    quantity: what it is, with its letter and number; a `Derivative` says of what, and by what.
    kind: "output" of a layer, "part" on the way to it, such as the mean of a row, "answer" that the loss compares with
        y, "loss", "derivative" or "update".
    stage: "forward", "loss", "backward", "update" or "again".
    number: of its layer, from 1; None of the loss. layer: the name of its module in the model.
    sides: it by other quantities, expressions that are all equal.
    tensor: its value.
    reason: a sentence, as texts and quantities.
    has_rows: whether its first dimension are the rows of x; parameters and their gradients have none.
    chain: the factors of the chain rule that it follows from, of a derivative; factors: the same with their tensors,
        where each is one.
    example: the equation of its largest element, or of one that the equation does not give, with the numbers in it.
    shapes: the shape of each quantity in the equation.
    compared_with: who the reference is from, in a word: "torch", the name of the user's class, "autograd", or torch's
        optimizer. reference: what that says, a tensor.
    checks: the `Check` against it, and of a derivative that against central difference quotients, in float64.
    """

    quantity: Quantity | Derivative
    kind: str
    stage: str
    number: int | None
    layer: str
    sides: tuple[Expression, ...]
    tensor: torch.Tensor
    reason: tuple = ()
    has_rows: bool = True
    chain: tuple[Derivative, ...] = ()
    factors: tuple[Factor, ...] = ()
    example: Example | None = None
    shapes: dict = field(default_factory=dict)
    compared_with: str = "torch"
    reference: torch.Tensor | None = None
    checks: tuple[Check, ...] = ()

    @property
    def name(self):
        """Z1, A1, L, dL/dW1; of what comes after the update with a prime, W1′, Z1′, L′."""
        return self.quantity.name

    @property
    def of(self):
        """What it is the derivative of, or None."""
        return self.quantity.of if isinstance(self.quantity, Derivative) else None

    @property
    def by(self):
        """What it is the derivative by, or None."""
        return self.quantity.by if isinstance(self.quantity, Derivative) else None

    @property
    def elementwise(self):
        """Whether each element is computed from the elements at its place."""
        return all(map(is_elementwise, self.sides)) and self.kind != "update"

    @property
    def equation(self):
        """It by other quantities, in a line of text."""
        return equation_text(self, plain)

    @property
    def sizes(self):
        """The equation with (rows×units) in the place of each quantity. Of one that is element by element, or row by
        row, the left side is enough, and a number has none."""
        if not self.tensor.dim():
            return ""
        printer = PlainText(shapes=self.shapes)
        if any(map(sums_rows, self.sides)):
            return f"{printer(self.quantity)}, row by row"
        if self.elementwise:
            return f"{printer(self.quantity)}, element by element"
        return equation_text(self, printer)

    @property
    def rule(self):
        """The chain rule that it follows from, in a line of text; "" of what is no derivative."""
        return chain_rule_text(self, plain)

    @property
    def numbers(self):
        """The equation of its largest element, with the numbers in it."""
        return "" if self.example is None else self.example.text()

    @property
    def why(self):
        """A sentence."""
        return sentence(self.reason)

    @property
    def error(self):
        """The largest difference to the reference."""
        return self.checks[0].error

    @property
    def quotient_error(self):
        """The difference to a central difference quotient; None of what is no derivative, or where there is none."""
        return self.checks[1].error if len(self.checks) > 1 else None

    def checked(self, reference: torch.Tensor, bound: float | torch.Tensor, *checks: Check) -> "Record":
        """With its checks: against the reference, up to the bound, a number or a tensor, and those that are given. The
        same is ok, of inf and nan too; other numbers than an inf or a nan are not compared with it."""
        same = (self.tensor == reference) | (self.tensor.isnan() & reference.isnan())
        errors = torch.where(same, 0.0, (self.tensor - reference).abs())
        bounds = torch.as_tensor(bound, device=errors.device).expand_as(errors).where(reference.isfinite(), math.inf)
        error, bound = worst(errors, bounds.where(bounds.isfinite() | ~same, 0.0))
        by = self.compared_with
        check = Check(by, error, bound) if math.isfinite(bound) else Check(by, why=OVERFLOW)
        return replace(self, reference=reference, checks=(check, *checks))


def equation_text(record, printer):
    return " = ".join([printer(record.quantity), *map(printer, record.sides)])


def chain_rule_text(record, printer):
    if not record.chain:
        return ""
    left = printer(record.quantity)
    if record.chain == (record.quantity,):
        return left
    return f"{left} = {' · '.join(map(printer, record.chain))}"


def sentence(parts, printer=plain):
    """The texts and quantities of a sentence as one text."""
    return "".join(part if isinstance(part, str) else printer(part) for part in parts)


def worst(errors, bounds):
    """The largest error and its bound, numbers, of those beyond their bounds if there are any; nan is the largest."""
    errors = errors.double().reshape(-1)
    bounds = torch.as_tensor(bounds, dtype=torch.float64, device=errors.device).reshape(-1).expand_as(errors)
    off = ~(errors <= bounds)
    among = errors.nan_to_num(nan=math.inf, posinf=math.inf)
    place = (among.where(off, -1.0) if off.any() else among).argmax()
    return errors[place].item(), bounds[place].item()
