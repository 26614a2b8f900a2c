"""The parts of the page that are text: a card for each record, and the bars of the gradient's norms."""

import itertools
import math
from html import escape

from torchbp.explanation.notation.numbers import formatted
from torchbp.explanation.notation.quantities import INPUT, TARGET, d
from torchbp.explanation.notation.records import STAGES, chain_rule_text, equation_text, sentence
from torchbp.explanation.render import mathml, text
from torchbp.explanation.render.numbers_given import COLUMNS, ROWS, as_read, size, without_blanks
from torchbp.explanation.render.plain_text import partial
from torchbp.explanation.render.step_summary import scale
from torchbp.printing import printable


def card(record):
    """One record: its name, equation, numbers, reason, rule and checks."""
    shapes = {} if record.elementwise or not record.tensor.dim() else {n: s for n, s in record.shapes.items() if s}
    shape = size(record.tensor) if record.tensor.dim() else "a number"
    name = escape(partial(record.quantity))
    drawn = mathml.drawn_equation(record.quantity, record.sides, equation_text(record, partial), shapes)
    parts = [
        f'<p class="stage">{STAGES[record.stage]}{_where(record)}</p>',
        f'<h2 aria-label="{name}, {shape}">{mathml.drawn_quantity(record.quantity)}'
        f'<span class="shape">{shape}</span></h2>',
        f'<div class="equation">{drawn}</div>',
        f'<p class="why">{readable(sentence(record.reason, partial))}</p>',
    ]
    if len(record.chain) > 1:
        rule = mathml.drawn_chain_rule(record.quantity, record.chain, chain_rule_text(record, partial))
        parts.append(f'<div class="equation rule">{rule}</div>')
    if record.example:
        parts.append(f'<p class="numbers">{readable(record.example.text(partial))}</p>')
    parts += [table(record), _verdicts(record.checks)]
    return f'<article class="step">{"".join(parts)}</article>'


def _where(record):
    if record.number is None:
        return ""
    named = record.layer.rpartition(".")[2]
    return f", layer {record.number}" + ("" if named.isdigit() or not named else f", <b>{readable(named)}</b>")


def readable(text):
    """As it stands on the page: without markup, and nothing that does not print."""
    return escape(printable(text))


def _verdicts(checks):
    """The checks, behind one line where all are ok."""
    if not checks or not all(check.ok for check in checks):
        return "".join(map(_verdict, checks))
    count = "1 check" if len(checks) == 1 else f"{len(checks)} checks"
    lines = "".join(f'<p class="check">{readable(text.comparison(check))}</p>' for check in checks)
    return f'<details class="checks"><summary>{count} ok</summary>{lines}</details>'


def _verdict(check):
    kind = {True: "check ok", False: "check off", None: "check none"}[check.ok]
    return f'<p class="{kind}"><b>{text.VERDICTS[check.ok]}:</b> {readable(text.comparison(check))}</p>'


def ensemble_card(ensemble):
    """How networks answer together."""
    head, rows = ensemble.table()
    heads = "".join(f'<th scope="col">{readable(cell)}</th>' for cell in head)
    lines = "".join(
        f'<tr><th scope="row">{readable(name)}</th>{"".join(f"<td>{readable(cell)}</td>" for cell in cells)}</tr>'
        for name, *cells in rows
    )
    words = "".join(f"<p>{readable(sentence)}</p>" for sentence in ensemble.sentences())
    return (
        f'<details class="card" id="ensemble" open><summary>{readable(ensemble.title)}</summary>'
        f'<p class="equation">{readable(ensemble.equation)}</p><div class="scroll" tabindex="0" role="region" '
        f'aria-label="The members"><table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>'
        f"{words}</details>"
    )


def table(record):
    """A record's tensor."""
    caption = "rows × units" if record.has_rows else ""
    return table_of(record.tensor.double(), partial(record.quantity), caption)


def table_of(tensor, name, caption="", heads=(), blanks=False):
    """A tensor: whole if it is small, and otherwise its range and its corners. heads: the names of its columns. blanks:
    whether nan is a blank of a table as it was read, which the range leaves out."""
    number = as_read if blanks else formatted
    if tensor.dim() == 0:
        return f'<p class="scalar">{formatted(tensor)}</p>'
    cells = tensor.reshape(-1, tensor.shape[-1])
    rows, columns = cells.shape
    if rows > ROWS or columns > COLUMNS:
        shown = "corners" if rows > 1 else "ends"
        known = without_blanks(cells) if blanks else cells
        ends = f"{number(known.min())} to {number(known.max())}"
        caption = f'{size(tensor)}, from <span class="range">{ends}</span>; only its {shown}'
    across = list(range(columns)) if columns <= COLUMNS else [0, 1, None, columns - 1]
    down = list(range(rows)) if rows <= ROWS else [0, 1, None, rows - 1]
    lines = []
    for row in down:
        inside = "".join(
            f"<td>{'⋯' if None in (row, column) else number(cells[row, column])}</td>" for column in across
        )
        lines.append(f"<tr>{inside}</tr>")
    names = "".join(f'<th scope="col">{"⋯" if i is None else readable(heads[i])}</th>' for i in across) if heads else ""
    head = f"<thead><tr>{names}</tr></thead>" if heads else ""
    caption = f"<caption>{caption}</caption>" if caption else ""
    body = f"{caption}{head}<tbody>{''.join(lines)}</tbody>"
    return f'<div class="scroll"><table aria-label="{escape(name)}">{body}</table></div>'


def given(explanation):
    """What the step begins with: the inputs, before they were scaled too, the target, and the parameters."""
    parts = []
    for name in explanation.step.given:
        tensor, key = explanation.values[name].double(), explanation.chain.keys.get(name, "")
        heads = {INPUT.name: explanation.features, TARGET.name: explanation.outputs}.get(name, ())
        parts.append(
            f"<h3>{readable(name)}{f', {readable(key)}' if key else ''}</h3>{table_of(tensor, name, '', heads)}"
        )
        if name == INPUT.name and explanation.unscaled is not None:
            raw = table_of(explanation.unscaled.double(), "before it was scaled", "", heads, blanks=True)
            parts.append(f"<h3>{readable(name)} before it was scaled</h3>{raw}")
        if name == TARGET.name and len(explanation.outputs) == 1 and explanation.step.criterion.rule.domain:
            parts.append(f"<p>1 means {readable(explanation.outputs[0])}.</p>")
    return "".join(parts)


def strip(explanation):
    """‖∂L/∂Z‖ of each layer, the last one first: a bar each, in powers of ten."""
    norms = explanation.norms()
    ends, shares = scale(norms)
    lines, first = [], explanation.chain.first_number
    for layer, share in reversed(list(enumerate(shares, first))):
        bar = f'<i style="width:{100 * share:.1f}%"></i>' if share else ""
        lines.append(
            f'<li><span>layer {layer}</span><span class="bar">{bar}</span>'
            f'<span class="norm">{formatted(norms[layer - first])}</span></li>'
        )
    axis = "".join(f"<span>{end}</span>" for end in ends)
    return f'<ol class="strip">{"".join(lines)}</ol><p class="axis">{axis}</p>'


def shrinkage(explanation):
    """From each layer down to the one below: what the weights and what the slopes leave of the gradient."""
    chain, values, lines = explanation.chain, explanation.values, []
    layers = [step for step in chain.steps[chain.first :] if step.is_layer]
    for below, above in reversed(list(itertools.pairwise(layers))):
        z, a, lower = (values[d(q).name].double().norm().item() for q in (above.gives, above.takes, below.gives))
        if not 0 < z < math.inf or not 0 < a < math.inf:
            continue
        slopes = "" if below.gives == above.takes else f", and the slopes {formatted(lower / a, 3)} times"
        whole, weights = formatted(lower / z, 3), formatted(a / z, 3)
        lines.append(
            f"<li>From layer {above.number} to layer {below.number} it becomes {whole} times as large: the weights "
            f"make it {weights} times as large{slopes}.</li>"
        )
    return f'<ul class="once">{"".join(lines)}</ul>' if lines else ""
