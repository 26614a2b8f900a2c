"""What an explanation consists of: one record for each quantity, in the order of the article."""

from dataclasses import dataclass, replace

import torch

STAGES = {
    "forward": "Forward",
    "loss": "Loss",
    "backward": "Backward",
    "update": "Update",
    "again": "Forward again",
}


@dataclass(frozen=True)
class Factor:
    """One factor of the chain rule: `name` in words of the equations, such as ∂A1/∂Z1, and its tensor."""

    name: str
    tensor: torch.Tensor


@dataclass(frozen=True)
class Record:
    """One quantity of the step.

    name: Z1, A1, L, dL/dW1; of what comes after the update with a prime, W1′, Z1′, L′.
    stage: "forward", "loss", "backward", "update" or "again".
    number: of its linear layer, from 1; None of the loss. layer: the name of its module in the model.
    equation: it by other quantities. sizes: the same with their shapes, rows × units.
    tensor: its value.
    rule: the chain rule that it follows from, of a derivative. factors: those of the rule, one by one.
    numbers: the equation of its largest element, with the numbers filled in.
    why: a sentence.
    reference: what torch says, a tensor: its layer, autograd, or torch.optim.SGD. error: the largest difference to it.
    quotient_error: the largest difference of the derivative to a central difference quotient, in float64, over
        `quotients` of its elements; None of what is no derivative, or where there is no quotient.
    """

    name: str
    stage: str
    number: int | None
    layer: str
    equation: str
    tensor: torch.Tensor
    why: str
    sizes: str = ""
    rule: str = ""
    factors: tuple[Factor, ...] = ()
    numbers: str = ""
    reference: torch.Tensor | None = None
    quotient_error: float | None = None
    quotients: int = 0

    @property
    def error(self):
        return largest(self.tensor - self.reference)

    @property
    def by(self):
        """Who the reference is from, in a word."""
        return {"backward": "autograd", "update": "torch.optim.SGD"}.get(self.stage, "torch")

    @property
    def elements(self):
        """Of how many elements the difference quotients are, where not of all."""
        return f" of {self.quotients} elements" if self.quotients < self.tensor.numel() else ""

    def checked(self, reference, quotient_error=None, quotients=0):
        return replace(self, reference=reference, quotient_error=quotient_error, quotients=quotients)


def largest(tensor):
    return tensor.abs().max().item() if tensor.numel() else 0.0
