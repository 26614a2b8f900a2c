"""The explanation for a terminal, 80 columns wide, in the article's order from top to bottom."""

import math
import textwrap

from torchbp.explanation.equations import d
from torchbp.explanation.numeric_examples import number
from torchbp.explanation.records import STAGES
from torchbp.printing import printable

WIDTH = 80
ROWS, COLUMNS, CELL = 8, 7, 11  # of a tensor that is printed whole; of a larger one its corners
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
BAR, DECADES = 30, 3  # the longest bar; the powers of ten that bars stand for, at least
VERDICTS = {True: "check ok", False: "check OFF", None: "no check"}


def text(explanation, layer=None):
    """Raises a ValueError for a number of a layer that is not there."""
    chain, layers = explanation.chain, len(explanation.chain.sizes()) - 1
    if layer is not None and layer not in range(1, layers + 1):
        raise ValueError(f"layer {layer!r} is not there; the network has the layers 1 to {layers}")
    lines = [*heading(explanation), "", ruled("Given")]
    for name in (*("X", "y"), *chain.start) if layer is None else needed(chain, layer):
        lines += given(name, explanation.values[name], chain.keys.get(name))
    stage, said = None, set()
    for record in explanation.records:
        if layer not in (None, record.number) and record.name[0] != "L":
            continue
        if record.stage != stage:
            stage = record.stage
            lines += ["", ruled(STAGES[stage])]
        lines += block(record, record.why not in said)
        said.add(record.why)
    return "\n".join([*lines, "", *closing(explanation)])


def needed(chain, layer):
    """The names of what one layer's equations take from elsewhere, forward, back and forward again."""
    linear = {step.number: step for step in chain.steps if step.kind == "linear"}
    step, above = linear[layer], linear.get(layer + 1)
    names = [step.takes, step.weight, *([step.bias] if step.bias in chain.start else [])]
    names += [above.weight, d(above.gives)] if above else ["y"]
    return names if step.takes == "X" else [*names, step.takes + "′"]


def heading(explanation):
    pairs = [
        ("explain", printable(explanation.title)),
        ("network", explanation.chain.described()),
        ("loss", f"{loss(explanation)}; learning rate α = {explanation.lr:g}"),
        ("reading", "Z1[row, unit], W1[unit, number it takes], from 1; dL/dZ is ∂L/∂Z; ′ is after the step"),
    ]
    return [line for name, what in pairs if what for line in wrapped(f"{name:<9}{what}", "", " " * 9)]


def loss(explanation):
    """The loss, and what N and K are in its equation."""
    of, (rows, outputs) = explanation.derivation.loss, explanation.values["y"].shape
    counts = f"N = {rows} row{'s' * (rows > 1)}, K = {outputs} output{'s' * (outputs > 1)}"
    return f"{type(of).__name__}, {of.reduction}; {counts}"


def ruled(title):
    return f"── {title} {'─' * (WIDTH - len(title) - 4)}"


def given(name, tensor, key=None):
    return [*wrapped(f"{name} ({size(tensor)}){f', {printable(key)}' if key else ''}", "", "  "), *tensor_lines(tensor)]


def block(record, with_why=True):
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
    if record.factors:
        lines += wrapped(
            f"{record.rule}: {' times '.join(f'({size(f.tensor)})' for f in record.factors)}", "   ", "     "
        )
    lines += tensor_lines(record.tensor)
    if record.numbers:
        lines += wrapped(record.numbers, "   ", "     ")
    for check in record.checks:
        lines += wrapped(f"{VERDICTS[check.ok]}: {said(check)}", "   ", "     ")
    return lines


def said(check):
    """What a record is compared with, and by how much it differs."""
    if check.ok is None:
        return f"there is no {check.by}: {check.why}"
    return f"{check.by} differs by {difference(check.error)} (bound {difference(check.bound)})"


def tally(explanation):
    """How many checks are ok, and which records have one that is not."""
    verdicts = [(record.name, check.ok) for record in explanation.records for check in record.checks]
    off = dict.fromkeys(name for name, ok in verdicts if ok is False)
    done = [ok for _, ok in verdicts if ok is not None]
    return f"{sum(done)} of {len(done)} ok{'; OFF: ' if off else ''}{', '.join(off)}"


def difference(error):
    return "0" if error == 0 else f"{error:.0e}".replace("-", "−")


def size(tensor):
    return "×".join(map(str, tensor.shape)) or "1"


def tensor_lines(tensor):
    """Whole, if it is small; otherwise its shape, its range and its corners."""
    if tensor.dim() == 0:
        return [f"     {number(tensor)}"]
    table = tensor.detach().double().reshape(-1, tensor.shape[-1])
    rows, columns = table.shape
    lines = []
    if rows > ROWS or columns > COLUMNS:
        lines = [
            f"     {size(tensor)}, from {number(table.min())} to {number(table.max())}, mean {number(table.mean())}"
        ]
    across = list(range(columns)) if columns <= COLUMNS else [0, 1, 2, None, columns - 2, columns - 1]
    down = list(range(rows)) if rows <= ROWS else [0, 1, None, rows - 2, rows - 1]
    for row in down:
        cells = ["…" if None in (row, column) else number(table[row, column]) for column in across]
        lines.append(" " + "".join(f"{cell:>{CELL}}" for cell in cells))
    return lines


def closing(explanation):
    """How far the loss fell, the gradient's norm by layer, and what there is to see."""
    lines = [ruled("What it did"), *wrapped(f"Checks: {tally(explanation)}.", "", "")]
    falls = explanation.lr * explanation.squared_norm()
    lines += wrapped(
        f"The loss went from {number(explanation.loss)} to {number(explanation.new_loss)}: "
        f"{number(explanation.new_loss - explanation.loss)}. Along a straight line it would have been −α‖dL‖² = "
        f"{number(-falls)}.",
        "",
        "",
    )
    norms = explanation.norms()
    if len(norms) > 1:
        ends = " to ".join(scale(norms)[0])
        lines += ["", f"‖dL/dZ‖ of each layer, back to front (bars: powers of ten, {ends})", *bars(norms)]
    for sentence in explanation.observations:
        lines += ["", *wrapped(f"→ {sentence}", "", "  ")]
    return lines


def scale(norms):
    """The bars of ‖dL/dZ‖, in the terminal and on the page: the powers of ten that they go from and to, at least three
    apart, and the share of each bar, 0 for no gradient only."""
    powers = [math.log10(norm) if 0 < norm < math.inf else None for norm in norms]
    found = [power for power in powers if power is not None]
    high = math.ceil(max(found, default=0))
    low = min(math.ceil(min(found, default=0)) - 1, high - DECADES)
    ends = tuple(f"10{str(exponent).translate(RAISED)}" for exponent in (low, high))
    return ends, [0 if power is None else (power - low) / (high - low) for power in powers]


def bars(norms):
    """The last layer first, since that is the way that the gradient goes."""
    for layer, share in reversed(list(enumerate(scale(norms)[1], 1))):
        bar = "█" * max(round(BAR * share), share > 0)
        yield f"  layer {layer:<3} {number(norms[layer - 1]):>10}  {bar}".rstrip()


def wrapped(text, first, other):
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=other, break_on_hyphens=False)
