"""How networks answer together: their answers to the explained rows, their shares, and the mean of them."""

from dataclasses import dataclass

import torch

from torchbp.explanation.notation.numbers import formatted

MOST_ANSWERS = 6  # numbers of a member that are shown
MOST_MEMBERS = 24  # that are shown


@dataclass(frozen=True)
class MemberAnswer:
    """One network. number: as its ensemble counts it. share: of its answers in the mean. made: what it was trained
    with, name: value. answers: `(N, outputs)`. loss: L of them."""

    number: int
    share: float
    made: dict[str, str]
    answers: torch.Tensor
    loss: float


@dataclass(frozen=True)
class Ensemble:
    """Networks that answer together; an explanation shows one of them.

    equation: of their answer. names: of the outputs. members: those that answer, the largest share first. answers,
    spread: the mean by the shares and the standard deviation around it, `(N, outputs)`. loss: L of the mean. shown: the
    number of the member whose step is explained.
    """

    equation: str
    names: list[str]
    members: list[MemberAnswer]
    answers: torch.Tensor
    spread: torch.Tensor
    loss: float
    shown: int

    @property
    def title(self) -> str:
        return f"How {len(self.members)} networks answer together"

    def table(self) -> tuple[list[str], list[list[str]]]:
        """The head and the rows of a table: the members with the largest shares, and at its end the mean."""
        outputs = self.answers.shape[1]
        if self.answers.numel() > MOST_ANSWERS:  # of each row the two largest, which among classes are the likely ones
            outputs = 2 if 2 * len(self.answers) <= MOST_ANSWERS else 0
        order = self.answers.sort(1, descending=True).indices if outputs < self.answers.shape[1] else None
        places = [
            (row, place if order is None else int(order[row, place]))
            for row in range(len(self.answers))
            for place in range(outputs)
        ]
        made = list(self.members[0].made)
        several = len(self.answers) > 1
        heads = [f"{self.names[output]}{f' of row {row + 1}' * several}" for row, output in places]
        shown = self.members[:MOST_MEMBERS]
        lines = [
            [str(one.number), f"{one.share:.1%}", *one.made.values(), formatted(one.loss)]
            + [formatted(one.answers[place]) for place in places]
            for one in shown
        ]
        if left_out := self.members[MOST_MEMBERS:]:
            rest = sum(one.share for one in left_out)
            lines.append([f"{len(left_out)} more", f"{rest:.1%}"] + [""] * (len(made) + 1 + len(places)))
        mean = [formatted(self.answers[place]) for place in places]
        lines.append(["together", "100.0%", *[""] * len(made), formatted(self.loss), *mean])
        if places:
            lines.append(["spread", "", *[""] * len(made), "", *(formatted(self.spread[place]) for place in places)])
        return ["member", "share", *made, "L", *heads], lines

    def sentences(self) -> list[str]:
        """What the table says, and what it does not: how the gradients of the members belong together."""
        alone = sum(one.share * one.loss for one in self.members)
        shown = next((one for one in self.members if one.number == self.shown), None)
        share = f", whose share is {shown.share:.1%}," if shown else ""
        convex = ", which it never exceeds, since the loss is convex" if self.loss <= alone * (1 + 1e-9) else ""
        return [
            f"L of the mean answer is {formatted(self.loss)}. "
            f"The members' own L have the mean {formatted(alone)}{convex}.",
            "Each member was trained alone, by the gradient of its own L: no gradient passes through the mean, or from "
            f"one member to another. The step of member {self.shown}{share} follows; --member N shows another one.",
        ]
