"""The numbers that are given, X, y, the parameters and others, in lines of text: what each is, and its values."""

import math
import textwrap

from torchbp.explanation.notation.numbers import formatted
from torchbp.explanation.notation.quantities import INPUT, TARGET
from torchbp.printing import printable

WIDTH = 80
ROWS, COLUMNS, CELL = 8, 7, 11  # of a tensor that is printed whole; of a larger one its corners
FEATURES, BESIDE, NAME = 40, 2, 28  # names that are printed; rows of which each feature has a line; letters of a name
AS_READ = "as it was read, before the scaling"


def given(explanation, name):
    """A quantity that is given: what it is, and its numbers; beside a scaled X the numbers that were read."""
    tensor, raw = explanation.values[name], explanation.unscaled if name == INPUT.name else None
    if name == INPUT.name and len(tensor) <= BESIDE and 0 < len(explanation.features) <= FEATURES:
        head = f"{_shaped(explanation, name)}{'' if raw is None else f', scaled, and beside it {AS_READ}'}"
        return [*wrapped(head, "", "  "), *_by_feature(explanation)]
    lines = [*wrapped(described(explanation, name), "", "  "), *tensor_lines(tensor)]
    return lines if raw is None else [*lines, f"{name} {AS_READ}", *tensor_lines(raw, blanks=True)]


def described(explanation, name):
    """What a given quantity is: its shape, its name in the model, the names of its columns, and what y = 1 means."""
    head = _shaped(explanation, name)
    if name == INPUT.name and explanation.features:
        return f"{head}; its columns are {_listed(explanation.features)}"
    if name == TARGET.name and (names := explanation.outputs):
        if len(names) > 1:
            return f"{head}; its columns are {_listed(names)}"
        if names[0] != "1":
            return f"{head}; 1 means {printable(names[0])}"
    return head


def _shaped(explanation, name):
    key = explanation.chain.keys.get(name)
    return f"{name} ({size(explanation.values[name])}){f', {printable(key)}' if key else ''}"


def _listed(names):
    names = [printable(name) for name in names]
    return ", ".join(names if len(names) <= FEATURES else [*names[:5], "…", names[-1]])


def _by_feature(explanation):
    """A line for each feature: its name, its number in each row, and beside them those before the scaling."""
    x, raw = explanation.values[INPUT.name], explanation.unscaled
    names = [printable(name) for name in explanation.features]
    wide = min(max(map(len, names)), NAME)
    for place, name in enumerate(names):
        cells = [f"{formatted(row[place]):>{CELL}}" for row in x]
        cells += [f"{f'({as_read(row[place])})':>{CELL + 2}}" for row in raw] if raw is not None else []
        yield f"  {shortened(name):<{wide}}{''.join(cells)}"


def shortened(name):
    """A name of at most so many letters."""
    return name if len(name) <= NAME else f"{name[: NAME - 1]}…"


def as_read(number):
    """A number of the table as it was read, where a blank is nan."""
    return "blank" if math.isnan(number) else formatted(number)


def size(tensor):
    return "×".join(map(str, tensor.shape)) or "1"


def without_blanks(table):
    """The numbers of a table as it was read; of blanks alone the blanks."""
    known = table[~table.isnan()]
    return known if known.numel() else table


def tensor_lines(tensor, blanks=False):
    """Whole, if it is small; otherwise its shape, its range and its corners. blanks: whether nan is a blank of a table
    as it was read, which the range leaves out."""
    number = as_read if blanks else formatted
    if tensor.dim() == 0:
        return [f"     {formatted(tensor)}"]
    table = tensor.detach().double().reshape(-1, tensor.shape[-1])
    rows, columns = table.shape
    lines = []
    if rows > ROWS or columns > COLUMNS:
        known = without_blanks(table) if blanks else table
        least, most, mean = map(number, (known.min(), known.max(), known.mean()))
        lines = [f"     {size(tensor)}, from {least} to {most}, mean {mean}"]
    across = list(range(columns)) if columns <= COLUMNS else [0, 1, 2, None, columns - 2, columns - 1]
    down = list(range(rows)) if rows <= ROWS else [0, 1, None, rows - 2, rows - 1]
    for row in down:
        cells = ["…" if None in (row, column) else number(table[row, column]) for column in across]
        lines.append(" " + "".join(f"{cell:>{CELL}}" for cell in cells))
    return lines


def wrapped(text, first, other):
    """The text in lines that fit the terminal; `first` and `other` stand before the first line and the others."""
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=other, break_on_hyphens=False)
