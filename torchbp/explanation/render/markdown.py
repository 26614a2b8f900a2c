"""The explanation in Markdown, with its equations in LaTeX, as GitHub and notebooks draw them."""

from torchbp.explanation.notation.records import STAGES, equation_text
from torchbp.explanation.render.latex import latex
from torchbp.explanation.render.numbers_given import given
from torchbp.explanation.render.step_summary import fall
from torchbp.explanation.render.text import loss_line, tally
from torchbp.printing import printable


def markdown(explanation):
    lines = [f"# {escaped(explanation.title or 'One step of backpropagation')}", ""]
    if explanation.ensemble is not None:
        lines += ensemble_lines(explanation.ensemble)
    lines += [f"- network: {explanation.chain.described()}", f"- loss: {loss_line(explanation)}"]
    update = explanation.step.descent.described()
    lines += [
        f"- learning rate α = {explanation.lr:g}",
        *([f"- update: {update}"] if update else []),
        f"- checks: {tally(explanation)}",
        "",
    ]
    lines += ["## Given", "", "```text"]
    lines += [line for name in explanation.step.given for line in given(explanation, name)]
    lines += ["```", ""]
    stage = None
    for record in explanation.records:
        if record.stage != stage:
            stage = record.stage
            lines += [f"## {STAGES[stage]}", ""]
        lines += ["$$", equation_text(record, latex), "$$", "", record.why, "", f"`{record.numbers}`", ""]
    lines += [fall(explanation), ""]
    return "\n".join([*lines, *(f"- {sentence}" for sentence in explanation.observations)]).rstrip() + "\n"


def ensemble_lines(ensemble):
    """How the networks answer together, as a section; and the title of the next one."""
    head, rows = ensemble.table()
    cells = [head, ["---:"] * len(head), *rows]
    table = [f"| {' | '.join(cell if row is cells[1] else escaped(cell) for cell in row)} |" for row in cells]
    words = [f"{sentence}\n" for sentence in ensemble.sentences()]
    return [
        f"## {ensemble.title}",
        "",
        f"`{ensemble.equation}`",
        "",
        *table,
        "",
        *words,
        f"## Member {ensemble.shown}",
        "",
    ]


def escaped(text):
    """A text without Markdown's and HTML's signs."""
    return "".join(f"\\{c}" if c in r"\`*_{}[]<>#$|" else c for c in printable(text))
