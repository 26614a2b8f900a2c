"""Many steps as text for a terminal: the first one whole, one line for each, and the last one whole."""

from torchbp.explanation.notation.numbers import formatted
from torchbp.explanation.notation.numeric_examples import named
from torchbp.explanation.render.text import as_text

SHOWN, ANSWERS = 100, 4  # lines at most; answers in a line at most


def as_text_of_steps(explanation, layer=None):
    """The text of the first step, the table of all, and the text of the last step."""
    last = explanation.steps[-1]
    return "\n".join([as_text(explanation, layer), "", *table(explanation), "", as_text(last, layer)])


def table(explanation):
    """A line for each step: its number, L before it, ‖∇L‖, and the answers of a small batch; of many steps a hundred
    lines."""
    steps, criterion = explanation.steps, explanation.step.criterion
    found = steps.summaries()
    shown = sorted({round(i * (len(found) - 1) / (SHOWN - 1)) for i in range(SHOWN)}) if len(found) > SHOWN else None
    few = found[0].answers.numel() <= ANSWERS
    rows, units = found[0].answers.shape
    places = [(row, unit) for row in range(rows) for unit in range(units)] if few else []
    heads = ["L", "‖∇L‖", *(named(criterion.answer.name, place) for place in places)]
    title = "Again, until the minimum"
    lines = [f"── {title} {'─' * (80 - len(title) - 4)}", f"{'step':>7}" + "".join(f"{head:>12}" for head in heads)]
    for at in range(len(found)) if shown is None else shown:
        step = found[at]
        numbers = [step.loss, step.gradient_norm, *(step.answers[place] for place in places)]
        lines.append(f"{step.number:>7}" + "".join(f"{formatted(number):>12}" for number in numbers))
    last = steps[-1]
    left_out = "" if shown is None else f" {SHOWN} of {len(found)} steps are shown."
    lines.append(f"After step {len(found)} L is {formatted(last.new_loss)}.{left_out}")
    return lines
