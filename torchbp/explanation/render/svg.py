"""The network as a drawing in SVG: units with their numbers in the first row, weights as lines, biases, the loss."""

from html import escape

from torchbp.explanation.notation.numbers import formatted
from torchbp.explanation.notation.quantities import INPUT, LOSS, d
from torchbp.explanation.render.plain_text import partial
from torchbp.printing import printable

UNITS = 8  # of a layer that are drawn; of a larger one those with the largest gradients
WIDE, HIGH, ACROSS, DOWN, TOP = 84, 40, 120, 64, 64  # of a unit, between columns and rows, above the first
LETTERS = 18  # of a name
THICK = 4.0
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#1b1f24;text-anchor:middle}.muted{fill:#58616b}.head{font-weight:600}"
    "rect{fill:#fff;stroke:#58616b}.back{stroke:none}.positive{stroke:#1668a8}"
    ".negative{stroke:#b84a00;stroke-dasharray:7 4}.edge{fill:none}"
)


class _Column:
    """The units of X, of a layer and its activations, or the loss.

    quantities: what the units are of. shown: the indices of the units that are drawn. count: of all.
    """

    def __init__(self, title, quantities, values, names=()):
        self.title, self.quantities, self.names = title, quantities, names
        numbers = values[quantities[-1].name]
        self.count = numbers.shape[-1] if numbers.dim() else 1
        self.shown = list(range(self.count))
        if self.count > UNITS:
            name = next((d(q).name for q in quantities if d(q).name in values), quantities[-1].name)
            self.shown = sorted(values[name].abs().sum(0).argsort(descending=True)[:UNITS].tolist())


def svg(explanation):
    """The text of the drawing."""
    values, columns = explanation.values, _columns(explanation)
    tall = max(len(column.shown) for column in columns)
    width = len(columns) * WIDE + (len(columns) - 1) * ACROSS + 40
    height = TOP + tall * DOWN + 40
    x = [20 + place * (WIDE + ACROSS) for place in range(len(columns))]
    y = [[TOP + ((tall - len(c.shown)) / 2 + i) * DOWN for i in range(len(c.shown))] for c in columns]
    title = printable(explanation.title or "One step of backpropagation")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(title)}"><title>{escape(title)}</title><style>{STYLE}</style>',
        f'<rect class="back" width="{width}" height="{height}"/>',
    ]
    for place, step in enumerate(explanation.chain.layers, 1):
        parts += _edges(explanation, step, columns, place, x, y)
    last = len(columns) - 1
    for top in y[last - 1]:
        ends = (x[last - 1] + WIDE, top + HIGH / 2, x[last], y[last][0] + HIGH / 2)
        parts.append(f'<path class="edge" stroke="#58616b" d="M{ends[0]} {ends[1]}L{ends[2]} {ends[3]}"/>')
    for place, column in enumerate(columns):
        middle = x[place] + WIDE / 2
        parts.append(_words(column.title, middle, 20, "head"))
        parts.append(_words(", ".join(map(partial, column.quantities)), middle, 36, "muted"))
        for unit, top in zip(column.shown, y[place], strict=True):
            parts += _unit(values, column, unit, x[place], top)
        if column.count > len(column.shown):
            parts.append(
                _words(f"and {column.count - len(column.shown)} more", middle, y[place][-1] + HIGH + 18, "muted")
            )
    return "\n".join([*parts, _words(_legend(values), width / 2, height - 12, "muted"), "</svg>"]) + "\n"


def _legend(values):
    row = "row 1 of " + str(len(values[INPUT.name])) if len(values[INPUT.name]) > 1 else "the row"
    return f"In a unit: its number in {row}, beneath it the derivative of L by it. Lines: weights, dashed below 0."


def _columns(explanation):
    chain, values = explanation.chain, explanation.values
    quantities = [[INPUT]]
    for step in chain.steps:
        if step.is_layer:
            quantities.append([])
        quantities[-1].append(step.gives)
    answer = explanation.step.criterion.answer
    if answer not in quantities[-1]:
        quantities[-1].append(answer)
    titles = ["input", *(f"layer {step.number}" for step in chain.layers)]
    names = [list(explanation.features), *([] for _ in chain.layers)]
    names[-1] = list(explanation.outputs)
    columns = [_Column(t, q, values, n) for t, q, n in zip(titles, quantities, names, strict=True)]
    return [*columns, _Column("loss", [LOSS], values)]


def _edges(explanation, step, columns, place, x, y):
    """A line for each weight between the units that are drawn; and above a unit what it has alone, such as its bias."""
    values, below, column, alone = explanation.values, columns[place - 1], columns[place], []
    for _, quantity in step.parameters:
        numbers = values[quantity.name]
        if numbers.dim() == 2 and tuple(numbers.shape) == (column.count, below.count):
            largest = numbers.abs().max().item() or 1.0
            for i, unit in enumerate(column.shown):
                for j, source in enumerate(below.shown):
                    weight = numbers[unit, source].item()
                    x1, x2 = x[place - 1] + WIDE, x[place]
                    y1, y2 = y[place - 1][j] + HIGH / 2, y[place][i] + HIGH / 2
                    name = f"{quantity.name}[{unit + 1},{source + 1}] = {formatted(weight)}"
                    thick = f"{max(THICK * abs(weight) / largest, 0.3):.2f}"
                    kind = "negative" if weight < 0 else "positive"
                    yield (
                        f'<path class="edge {kind}" stroke-width="{thick}" d="M{x1} {y1}L{x2} {y2}">'
                        f"<title>{name}</title></path>"
                    )
        elif numbers.dim() == 1 and len(numbers) == column.count:
            alone.append(quantity.name)
    for i, unit in enumerate(column.shown if alone else ()):
        text = ", ".join(f"{name} {formatted(values[name][unit], 3)}" for name in alone)
        yield _words(text, x[place] + WIDE / 2, y[place][i] - 5, "muted")


def _unit(values, column, unit, left, top):
    quantity, middle = column.quantities[-1], left + WIDE / 2
    number = values[quantity.name]
    gradient = values.get(d(next((q for q in column.quantities[::-1] if d(q).name in values), quantity)).name)
    first = number[0, unit] if number.dim() else number
    parts = [f'<rect x="{left}" y="{top}" width="{WIDE}" height="{HIGH}" rx="{20 if quantity == LOSS else 10}"/>']
    if unit < len(column.names):
        name = printable(column.names[unit])
        name = name if len(name) <= LETTERS else f"{name[: LETTERS - 1]}…"
        parts.append(_words(name, middle, top + HIGH + 13, "muted"))
    if gradient is None:
        return [*parts, _words(formatted(first), middle, top + 25)]
    return [
        *parts,
        _words(formatted(first), middle, top + 17),
        _words(formatted(gradient[0, unit], 3), middle, top + 33, "muted"),
    ]


def _words(text, x, y, kind=""):
    of = f' class="{kind}"' if kind else ""
    return f'<text{of} x="{x:g}" y="{y:g}">{escape(text)}</text>'
