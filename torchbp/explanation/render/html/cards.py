"""The parts of the page that are text: a card for each step, and the strip of gradients."""

from html import escape

from torchbp.explanation.numeric_examples import number
from torchbp.explanation.records import STAGES
from torchbp.explanation.render import mathml, text
from torchbp.explanation.render.text import COLUMNS, ROWS, scale, size
from torchbp.printing import printable


def article(explanation, record, place):
    """One step: its name, equation, numbers, reason, rule and check."""
    names = {name: tuple(value.shape) for name, value in explanation.values.items() if value.dim()}
    shapes = names if record.sizes and "element" not in record.sizes else {}
    shape = size(record.tensor) if record.tensor.dim() else "a number"
    parts = [
        f'<p class="stage">{STAGES[record.stage]}{where(record)}</p>',
        f'<h2 id="step-{place}-name" aria-label="{record.name}, {shape}">{mathml.math(record.name, display=False)}'
        f'<span class="shape">{shape}</span></h2>',
        f'<div class="equation">{mathml.math(record.equation, shapes)}</div>',
        f'<p class="why">{escape(record.why)}</p>',
    ]
    if record.factors:
        parts.append(f'<div class="equation rule">{mathml.rule(record.rule)}</div>')
    if record.numbers:
        parts.append(f'<p class="numbers">{readable(record.numbers)}</p>')
    parts += [table(record), *map(verdict, record.checks)]
    return f'<article class="step" id="step-{place}" aria-labelledby="step-{place}-name">{"".join(parts)}</article>'


def where(record):
    if record.number is None:
        return ""
    named = record.layer.rpartition(".")[2]
    return f", layer {record.number}" + ("" if named.isdigit() or not named else f", <b>{readable(named)}</b>")


def readable(sentence):
    """As it is read on the page: ∂L/∂Z, and no markup, and nothing that does not print."""
    return escape(printable(sentence.replace("dL/d", "∂L/∂")))


def verdict(check):
    kind = {True: "check ok", False: "check off", None: "check none"}[check.ok]
    return f'<p class="{kind}"><b>{text.VERDICTS[check.ok]}:</b> {readable(text.said(check))}</p>'


def table(record):
    """The tensor: whole if it is small, and otherwise its range and its corners."""
    tensor = record.tensor.double()
    if tensor.dim() == 0:
        return f'<p class="scalar">{number(tensor)}</p>'
    cells = tensor.reshape(-1, tensor.shape[-1])
    rows, columns = cells.shape
    caption = "" if record.name.removeprefix("dL/d")[0] in "Wb" else "rows × units"
    if rows > ROWS or columns > COLUMNS:
        shown = "corners" if rows > 1 else "ends"
        caption = f"{size(tensor)}, from {number(cells.min())} to {number(cells.max())}; its {shown}"
    across = list(range(columns)) if columns <= COLUMNS else [0, 1, None, columns - 1]
    down = list(range(rows)) if rows <= ROWS else [0, 1, None, rows - 1]
    lines = []
    for row in down:
        inside = "".join(
            f"<td>{'⋯' if None in (row, column) else number(cells[row, column])}</td>" for column in across
        )
        lines.append(f"<tr>{inside}</tr>")
    caption = f"<caption>{caption}</caption>" if caption else ""
    return (
        f'<div class="scroll"><table aria-label="{record.name}">{caption}<tbody>{"".join(lines)}</tbody></table></div>'
    )


def strip(explanation):
    """‖dL/dZ‖ of each layer, the last one first: a bar each, in powers of ten."""
    norms = explanation.norms()
    ends, shares = scale(norms)
    lines = []
    for layer in range(len(norms), 0, -1):
        share = shares[layer - 1]
        bar = f'<i style="width:{100 * share:.1f}%"></i>' if share else ""
        lines.append(
            f'<li><span>layer {layer}</span><span class="bar">{bar}</span>'
            f'<span class="norm">{number(norms[layer - 1])}</span></li>'
        )
    axis = "".join(f"<span>{end}</span>" for end in ends)
    return f'<ol class="strip">{"".join(lines)}</ol><p class="axis">{axis}</p>'
