"""The quantities of one training step as nodes of equations: X, Z1, W1, dL/dW1, and W1′ after the update."""

from dataclasses import dataclass, replace

from torchbp.ops.expressions import Named


@dataclass(frozen=True, slots=True)
class Quantity(Named):
    """A tensor of the network or the loss.

    letter: as the equations call it, such as Z.
    number: of its layer, from 1; None of X, y and L.
    prime: whether it is the quantity after the update.
    """

    letter: str
    number: int | None = None
    prime: bool = False

    @property
    def name(self):
        """Its key among the values, and its text: Z1, or W1′ after the update."""
        return f"{self.letter}{'' if self.number is None else self.number}{'′' * self.prime}"

    def after(self):
        """The same quantity after the update."""
        return replace(self, prime=True)


@dataclass(frozen=True, slots=True)
class Derivative(Named):
    """∂of/∂by: a gradient dL/dW1, or a factor of the chain rule such as dA1/dZ1."""

    of: Quantity
    by: Quantity

    @property
    def name(self):
        return f"d{self.of.name}/d{self.by.name}"


INPUT, TARGET, LOSS = Quantity("X"), Quantity("y"), Quantity("L")


def d(quantity):
    """The derivative of the loss by a quantity."""
    return Derivative(LOSS, quantity)
