"""What is known about a wrong gradient, for the guesses at its cause."""

import math
from dataclasses import dataclass
from itertools import combinations

import torch

MAX_ENTRIES = 1000  # wrong entries that are looked at
DECADES = 2.0  # of a hundred causes that are named, one may be chance


@dataclass
class Evidence:
    """d out / d argument, whole, with the values and shapes of arguments and outputs."""

    analytical: torch.Tensor  # rows: outputs, columns: entries of the argument (pairs, where they are complex)
    numerical: torch.Tensor
    close: torch.Tensor  # where the two agree
    slack: torch.Tensor  # how far the two may differ by rounding
    argument: str
    argument_shape: tuple
    output_shape: tuple  # () where there are several outputs
    values: dict  # name: flat values, of the arguments and of "out"
    shapes: dict  # name: shape, of the arguments
    complex: bool
    others: dict  # name: (analytical, numerical) Jacobian of another argument

    def is_more_than_chance(self, choices, fitted=0):
        """Whether more than chance makes one of so many guesses fit, with so many numbers fitted to the entries.

        A wrong entry is off by its gap, and a guess must meet it within the margin of `same`: by chance, one in
        gap / margin does. Equal entries count once.
        """
        gap, margin = (self.analytical - self.numerical).abs(), 10 * self.slack + 1e-6 * self.numerical.abs()
        wrong = ~self.close & gap.isfinite()
        rows = torch.stack([self.analytical[wrong], self.numerical[wrong], (gap / margin)[wrong]], dim=1)
        distinct = {}
        for a, n, ratio in rows[:MAX_ENTRIES].tolist():
            distinct.setdefault((f"{a:.4g}", f"{n:.4g}"), max(ratio, 1.0))
        decades = sorted((math.log10(ratio) for ratio in distinct.values()), reverse=True)
        return sum(decades[fitted:]) > math.log10(choices) + DECADES

    def same(self, a, b):
        """Whether two Jacobians are equal within the slack."""
        if a.shape != b.shape or not bool(a.isfinite().all()):
            return False
        return bool(((a - b).abs() <= 10 * self.slack + 1e-6 * b.abs()).all())


def evidence_of(subject, comparison, block):
    """Evidence, if the block holds every entry of the Jacobian; else None."""
    if bool(block.is_projection.any()) or len(comparison.rows) != len(comparison.at_0):
        return None
    argument = subject.arguments[block.argument]
    values, shapes = {}, {}
    if not any(subject.outputs.dtypes[i].is_complex for i in subject.outputs.compared):
        values["out"] = comparison.at_0
    for other in subject.arguments:
        shapes[other.name] = tuple(other.tensor.shape)
        if 0 < other.tensor.numel() <= 4096 and not other.tensor.is_complex():
            values[other.name] = other.tensor.detach().double().cpu().reshape(-1)
    for (a, x), (b, y) in combinations(list(values.items())[1:4], 2):
        if len(x) == len(y):
            values[f"({a} − {b})"] = x - y
    others = {subject.arguments[b.argument].name: b for b in comparison.blocks if b is not block}
    output_shape = (
        tuple(subject.outputs.shapes[subject.outputs.compared[0]]) if len(subject.outputs.compared) == 1 else ()
    )
    return Evidence(
        block.analytical,
        block.numerical,
        ~block.wrong,
        block.tolerance + 3 * block.error.nan_to_num(0, 0, 0),
        argument.name,
        tuple(argument.tensor.shape),
        output_shape,
        values,
        shapes,
        argument.tensor.is_complex(),
        {name: (b.analytical, b.numerical) for name, b in others.items()},
    )
