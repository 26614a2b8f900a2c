"""The explanation as text for a terminal, 80 columns wide."""

from torchbp.explanation.notation.quantities import INPUT, TARGET, d
from torchbp.explanation.notation.records import STAGES
from torchbp.explanation.render.following_text import rows_and_weights
from torchbp.explanation.render.numbers_given import WIDTH, given, tensor_lines, wrapped
from torchbp.explanation.render.plain_text import partial, plain
from torchbp.explanation.render.step_summary import bars, fall, scale
from torchbp.printing import printable

HEAD = 14  # letters of the head of a column
MEASURED = (
    "A measured slope is [L(q + h) − L(q − h)]/2h: a number q is moved by h, up and down, and L is computed again."
)
VERDICTS = {True: "check ok", False: "check OFF", None: "no check"}


def as_text(explanation, layer=None):
    """One step. Raises a ValueError for a number of a layer that is not there."""
    layers = len(explanation.chain.layers)
    if layer is not None and layer not in range(1, layers + 1):
        raise ValueError(f"no layer {layer!r}: the network has layers 1 to {layers}")
    lines = [*heading(explanation), "", _ruled("Given")]
    for name in explanation.step.given if layer is None else _needed(explanation, layer):
        lines += given(explanation, name)
    stage, said = None, set()
    for record in explanation.records:
        if layer is not None and record.number != layer and record.kind != "loss":
            continue
        if record.stage != stage:
            stage = record.stage
            lines += ["", _ruled(STAGES[stage])]
        lines += _block(record, record.reason not in said)
        said.add(record.reason)
    return "\n".join([*lines, "", *closing(explanation)])


def _needed(explanation, layer):
    """The names of what one layer's equations take from elsewhere, forward, back and forward again."""
    chain = explanation.chain
    step = chain.layers[layer - 1]
    names = [step.takes.name, *(quantity.name for _, quantity in step.parameters)]
    if layer < len(chain.layers):
        above = chain.layers[layer]
        names += [*(quantity.name for _, quantity in above.parameters), d(above.gives).name]
        taken = {name for r in explanation.records if r.number == layer for side in r.sides for name in side.symbols()}
        names = [name for name in names if name in taken]
    else:
        names.append(TARGET.name)
    return names if step.takes == INPUT else [*names, step.takes.after().name]


def heading(explanation):
    pairs = [
        ("explain", printable(explanation.title)),
        ("network", explanation.chain.described()),
        ("loss", f"{loss_line(explanation)}; learning rate α = {explanation.lr:g}"),
        ("update", explanation.step.descent.described()),
        ("step", f"{explanation.number} of {len(explanation.steps)}" if len(explanation.steps) > 1 else ""),
        ("reading", reading(explanation)),
    ]
    lines = [line for name, what in pairs if what for line in wrapped(f"{name:<9}{what}", "", " " * 9)]
    return [*_ensemble(explanation.ensemble), *lines] if explanation.ensemble else lines


def _ensemble(ensemble):
    """How networks answer together, and the heading of the one that is explained."""
    head, rows = ensemble.table()
    table = [[printable(cell) for cell in cells] for cells in (head, *rows)]
    table[0] = [cell if len(cell) <= HEAD else f"{cell[: HEAD - 1]}…" for cell in table[0]]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    while sum(widths) + 2 * (len(widths) - 1) > WIDTH:
        widths.pop()  # the page and the JSON have all columns
    lines = [_ruled(ensemble.title), "", ensemble.equation, ""]
    for cells in table:
        lines.append("  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=False)).rstrip())
    lines.append("")
    for sentence in ensemble.sentences():
        lines += wrapped(sentence, "", "")
    return [*lines, "", _ruled(f"Member {ensemble.shown}"), ""]


def reading(explanation, printer=plain):
    """How the names are read, on those of this network. The page writes ∂, and says nothing on it."""
    first = explanation.chain.layers[0]
    quantities = [quantity for step in explanation.chain.layers for _, quantity in step.parameters]
    weight = _first_matrix(explanation)
    parts = [f"{first.gives.name}[2,3] is row 2, unit 3"]
    parts += [f"{weight.name}[2,3] is the weight from input 3 to unit 2"] if weight else []
    parts = [f"{'; '.join(parts)} (counted from 1)."]
    if printer(d(first.gives)) != partial(d(first.gives)):
        parts.append(f"{printer(d(first.gives))} means {partial(d(first.gives))}.")
    prime = quantities[0].after()
    parts.append(f"A prime ({printer(prime)}) means after the update.")
    if explanation.outputs and explanation.step.criterion.rule.domain is not None:
        place = len(explanation.outputs)
        name = printable(explanation.outputs[-1])
        parts.append(f"{printer(explanation.step.criterion.answer)}[1,{place}] is P({name} | x) of row 1.")
    return " ".join(parts)


def _first_matrix(explanation):
    """The first parameter that has a weight from each input to each unit of its layer; None where there is none."""
    for step in explanation.chain.layers:
        between = tuple(explanation.values[q.name].shape[-1] for q in (step.gives, step.takes))
        for _, quantity in step.parameters:
            if tuple(explanation.values[quantity.name].shape) == between:
                return quantity
    return None


def loss_line(explanation):
    """The loss, and what N and K are in its equation."""
    of, (rows, outputs) = explanation.step.loss, explanation.values[TARGET.name].shape
    counts = f"N = {rows} row{'s' * (rows > 1)}, K = {outputs} output{'s' * (outputs > 1)}"
    factor = explanation.step.criterion.factor
    times = "" if factor == 1 else f", times {factor:g}"
    return f"{type(of).__name__}, {of.reduction}{times}; {counts}"


def _ruled(title):
    return f"── {title} {'─' * (WIDTH - len(title) - 4)}"


def _block(record, with_why=True):
    """One record: its equation, sizes, why, rule, tensor, numbers, and checks."""
    named = printable(record.layer.rpartition(".")[2])
    space = WIDTH - len(record.equation)
    if named and not named.isdigit() and len(named) < space - 2:
        lines = ["", f"{record.equation}{named:>{space}}"]
    else:
        lines = ["", *wrapped(record.equation, "", "     ")]
    if record.sizes:
        lines += wrapped(record.sizes, "   ", "     ")
    lines += wrapped(record.why, "   ", "   ") if with_why else []
    if len(record.chain) > 1:
        lines += wrapped(record.rule, "   ", "     ")
    lines += tensor_lines(record.tensor)
    if record.numbers:
        lines += wrapped(record.numbers, "   ", "     ")
    for check in record.checks:
        if not check.ok:  # the others are counted at the end
            lines += wrapped(f"{VERDICTS[check.ok]}: {comparison(check)}", "   ", "     ")
    return lines


def comparison(check):
    """What a record is compared with, and by how much it differs."""
    if check.ok is None:
        return f"no {check.by}: {check.why}"
    difference = f"{check.by} differs by {_rounded(check.error)}"
    return f"{difference}; rounding allows {_rounded(check.bound)}"


def tally(explanation, printer=plain):
    """How many checks are ok, and which records have one that is not."""
    verdicts = [(record.quantity, check.ok) for record in explanation.records for check in record.checks]
    off = dict.fromkeys(printer(quantity) for quantity, ok in verdicts if ok is False)
    done = [ok for _, ok in verdicts if ok is not None]
    return f"{sum(done)} of {len(done)} ok{'; OFF: ' if off else ''}{', '.join(off)}"


def _rounded(error):
    return "0" if error == 0 else f"{error:.0e}".replace("-", "−")


def closing(explanation):
    """How far the loss fell, the gradient's norm by layer, and what there is to see."""
    lines = [
        _ruled("What it did"),
        *wrapped(f"Checks: {tally(explanation)}. {MEASURED}", "", ""),
        *wrapped(fall(explanation), "", ""),
    ]
    lines += rows_and_weights(explanation)
    norms = explanation.norms()
    if len(norms) > 1:
        first = explanation.chain.first_number
        ends = " to ".join(scale(norms)[0])
        lines += ["", f"Size of each layer's gradient ‖dL/dZ‖, last layer first (bars: {ends})", *bars(norms, first)]
    for sentence in explanation.observations:
        lines += ["", *wrapped(f"→ {sentence}", "", "  ")]
    return lines
