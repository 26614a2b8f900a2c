"""Gradients by hand beside those of autograd."""

import unicodedata

import torch


class Comparison:
    """A table of gradients: what each is, by which equation, and how far it is from autograd's.

    Args:
        loss: L, as `torch.nn` computes it.
        quantities: {name: tensor} of what L is a function of: parameters, and numbers on the way from them to L.
    """

    def __init__(self, loss, quantities):
        gradients = torch.autograd.grad(loss, list(quantities.values()))
        self.by_autograd = dict(zip(quantities, gradients, strict=True))
        self.missing = set(quantities)  # what was not compared yet
        self.rows = []

    def __call__(self, name, equation, gradient):
        """The gradient by hand of the quantity of this name, as it is; the table gets a row of it."""
        by_autograd = self.by_autograd[name]
        self.missing.discard(name)
        difference, size = (gradient - by_autograd).abs().max().item(), by_autograd.abs().max().item()
        self.rows.append((f"d{name}", equation, size, difference))
        return gradient

    @property
    def largest(self):
        """The largest difference of all gradients.

        Raises:
            LookupError: a gradient of autograd was compared with nothing.
        """
        if self.missing:
            raise LookupError(f"no gradient by hand of {', '.join(sorted(self.missing))}")
        return max(difference for *_, difference in self.rows)

    def __str__(self):
        rows = [("gradient", "equation", "largest number", "largest difference")]
        rows += [(name, equation, f"{size:.0e}", f"{difference:.0e}") for name, equation, size, difference in self.rows]
        widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(t + " " * (w - width(t)) for t, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*lines, f"autograd's gradients differ by at most {self.largest:.0e}"])


def width(text):
    """How many columns it takes: the hat of x̂ takes none."""
    return sum(not unicodedata.combining(letter) for letter in text)
