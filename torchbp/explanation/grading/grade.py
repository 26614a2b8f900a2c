"""The grade of a learner's answers: a mark for each quantity, and what is to be mended first."""

import textwrap
from dataclasses import dataclass

from torchbp.explanation.render.numbers_given import WIDTH


@dataclass(frozen=True)
class Mark:
    """The mark of one quantity.

    name: such as dL/dW1. verdict: "right"; "follows", right from an earlier answer that is wrong; or "wrong".
    causes: what is wrong, sentences without a stop, the likeliest first; () where no usual mistake gives the answer.
    follows_from: the names of the wrong answers that it follows from. equation: the right one. where: the largest
        difference, in words.
    """

    name: str
    verdict: str
    causes: tuple[str, ...] = ()
    follows_from: tuple[str, ...] = ()
    equation: str = ""
    where: str = ""

    def __str__(self) -> str:
        if self.verdict == "right":
            return "right"
        if self.verdict == "follows":
            return f"right from your {', '.join(self.follows_from)}, which is wrong"
        return f"wrong: {'; or '.join(self.causes) or f'no usual mistake gives it; {self.where}'}"


class Grade:
    """What `Exercise.grade` returns: print it, or ask.

    marks: a list of `Mark`, in the order of the step; `grade["dL/dW1"]` is one. missing: names that were not answered.
    """

    def __init__(self, marks: list[Mark], missing: list[str]) -> None:
        self.marks, self.missing = marks, missing
        self._by_name = {mark.name: mark for mark in marks}

    def __getitem__(self, name: str) -> Mark:
        return self._by_name[name]

    @property
    def right(self) -> bool:
        """Whether all answers are right."""
        return all(mark.verdict == "right" for mark in self.marks)

    @property
    def first_wrong(self) -> Mark | None:
        """What is to be mended first; None where all is right."""
        return next((mark for mark in self.marks if mark.verdict == "wrong"), None)

    def __str__(self) -> str:
        wide = max(len(mark.name) for mark in self.marks) + 2
        lines = []
        for mark in self.marks:
            lines += textwrap.wrap(f"{mark.name:<{wide}}{mark}", WIDTH, subsequent_indent=" " * wide)
            if mark.verdict == "wrong":
                lines.append(f"{'':<{wide}}{mark.equation}")
        count = sum(mark.verdict == "right" for mark in self.marks)
        first = f" Mend {self.first_wrong.name} first." if self.first_wrong else ""
        lines += ["", f"{count} of {len(self.marks)} right.{first}"]
        if self.missing:
            lines += textwrap.wrap(f"Not answered: {', '.join(self.missing)}.", WIDTH)
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"Grade({sum(mark.verdict == 'right' for mark in self.marks)} of {len(self.marks)} right)"
