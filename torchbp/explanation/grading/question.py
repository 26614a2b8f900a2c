"""A question about a formula: what belongs in its gap?"""

from torchbp.explanation.grading.formulas import read_formula
from torchbp.explanation.grading.gaps import NEAR, Gap
from torchbp.explanation.grading.grade import Mark
from torchbp.explanation.notation.records import Record, sentence
from torchbp.explanation.render.plain_text import plain


class Question:
    """A formula with a gap, `dL/dZ1 = dL/dA1 ∘ ▢ ∘ (1 − A1)`.

    text: it. choices: the texts of what belongs there and of wrong parts, in the order of the alphabet. Print it: it
    shows both.
    """

    def __init__(self, exercise, record: Record, gap: Gap, names: dict) -> None:
        self._exercise, self._record, self._gap, self._names = exercise, record, gap, names
        self.text: str = f"{plain(record.quantity)} = {plain(gap.tree)}"
        self.choices: list[str] = sorted(map(plain, [gap.part, *(mistake.tree for mistake in gap.wrong)]))

    def answer(self, text: str) -> Mark:
        """The mark of what a learner puts into the gap: one of the choices, or any formula.

        Raises:
            ValueError: a text that is no formula of what comes before.
        """
        part = read_formula(text, self._names)
        offered = [mistake.parts for mistake in self._gap.wrong if plain(mistake.tree) == plain(part)]
        cause = offered[0] if offered else (part, " stands where ", self._gap.part, " belongs")
        near = {"tolerance": NEAR} if offered else {}  # so far at least is what is offered from the right numbers
        return self._exercise._mark_of_formula(self._record, self._gap.filled(part), otherwise=sentence(cause), **near)

    def __str__(self) -> str:
        return f"{self.text}\n▢ is one of: {';  '.join(self.choices)}"

    def __repr__(self) -> str:
        return f"Question({self.text})"
