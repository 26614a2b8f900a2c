"""The tables of the formula book, `torchbp/ops/README.md`: made from the rules, the docstrings of their files, and the
records of `torchbp bench accuracy`."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import torch

from torchbp.benchmarks.helpers.accuracy_inputs import INPUTS
from torchbp.benchmarks.helpers.accuracy_sums import drawn
from torchbp.ops.registry import rules
from torchbp.ops.rules import KINDS

FOLDER = Path(importlib.import_module("torchbp.ops").__file__).parent
ROOMS = "activations", "layers", "losses", "normalisation", "convolution", "attention"
BEGIN, END = "<!-- The tables: torchbp bench accuracy --book FILE writes them. -->", "<!-- The end of the tables. -->"
HEADS = "operation", "forward", "backward", "saves"


def rules_of(room):
    """{file: its rules} of a folder of torchbp/ops, by the alphabet."""
    found = {}
    for rule in (rule for kind in KINDS for rule in rules(kind).values()):
        path = file_of(rule)
        if path.parent == FOLDER / room:
            found.setdefault(path, []).append(rule)
    return {path: sorted(found[path], key=lambda rule: rule.name) for path in sorted(found)}


def file_of(rule):
    """Where it is registered: the file of its function, or of its formulas, where its function is torch's own."""
    formulas = (value for value in vars(rule).values() if inspect.isfunction(value))
    return next(path for path in map(Path, map(inspect.getsourcefile, formulas)) if FOLDER in path.parents)


def equations(text):
    """(forward, backward) of a file: the indented lines of its docstring under these words."""
    parts, current = {}, None
    for line in ast.get_docstring(ast.parse(text)).splitlines():
        line = line.removeprefix("    ")
        if named := re.match(r"\s*(forward|backward|tangent)\s{2,}(.*)", line):
            current = parts.setdefault(named[1], [])
            line = named[2]
        elif not re.match(r"(  |\"\w+\")", line):
            current = None
        if current is not None:
            current += [re.sub(r"\s+", " ", part) for part in re.split(r"\s{3,}(?!=)", line.strip())]
    return ["; ".join(parts[name]).replace("|", "\\|") for name in ("forward", "backward")]


def link(path, lines, pattern):
    """Links to the lines of the file that begin with the pattern, whose first group is the text."""
    found = {}
    for number, line in enumerate(lines, 1):
        if named := re.match(pattern, line):
            found.setdefault(named[1], number)
    return [f"[`{text}`]({path.relative_to(FOLDER).as_posix()}#L{number})" for text, number in found.items()]


def row(path, of_file):
    """The cells of one file's operations: the names, both equations with their lines, and what is saved."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    forward, backward = equations(text)
    names = dict.fromkeys(rule.apply.__name__ for rule in of_file)
    names = [link(path, lines, rf"(?:def | +name=\")({name})[(\"]")[0] for name in names]
    formulas = link(path, lines, r"(?:def )?((?!add_|write_|of_)[a-z]\w*_d(?:[a-z]|weight|bias|mask)+)(?: =|\()")
    backward_lines = formulas or link(path, lines, r"\s*(def _?backward)\(")
    # an operation that is made of others has no forward of its own
    forward_lines = link(path, lines, r"(?:    )?(def _?forward)") or names
    return (
        ", ".join(names),
        f"{forward} {forward_lines[0]}",
        f"{backward} {', '.join(backward_lines)}",
        "; ".join(dict.fromkeys(map(saved, of_file))),
    )


def saved(rule):
    """What the operation saves for backward, by the names of its arguments, where each of them requires a gradient."""
    if not inspect.isfunction(rule.apply):
        return "it is torch's own function"
    inputs = INPUTS.get(rule.apply.__name__)
    tensors = drawn(inputs, 1.0, 0, torch.float32) if inputs else [torch.rand(3), torch.rand(3)]
    if inputs is None and "target" not in inspect.signature(rule.apply).parameters:
        tensors = tensors[:1]
    leaves = [t.requires_grad_(t.is_floating_point() and (inputs is not None or i == 0)) for i, t in enumerate(tensors)]
    names, kept = {}, []

    def called(*args, **kwargs):
        for name, value in inspect.signature(rule.apply).bind(*args, **kwargs).arguments.items():
            if isinstance(value, torch.Tensor):
                names[value.data_ptr()] = name
        output = rule.apply(*args, **kwargs)
        first = output[0] if isinstance(output, tuple) else output
        names.setdefault(first.data_ptr(), "its output")
        return output

    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        output = inputs.call(called, *leaves) if inputs else called(*leaves)
    found = [names.get(t.data_ptr(), described(t, output)) for t in kept]
    return ", ".join(dict.fromkeys(filter(None, found))) or "nothing"


def described(tensor, output):
    """A tensor that is neither an argument nor the output."""
    if not tensor.numel():
        return ""
    dtype = str(tensor.dtype).removeprefix("torch.")
    if tensor.numel() == output.numel():
        return f"{dtype} for each number of its output"
    return f"{tensor.numel()} of {dtype} for an output of {output.numel()}"


def table(heads, rows):
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows))


def accuracy_rows(room, cells):
    """The rows of the table of accuracy: those of the operations of a room, by name, and its variants."""
    names = [rule.apply.__name__ for of_file in rules_of(room).values() for rule in of_file]
    return [[f"`{name}`", *cells[name]] for name in cells if name.split(",")[0] in names]


def tables(heads, cells):
    """The text between BEGIN and END: a section for each room, with its formulas and its accuracy."""
    parts = [BEGIN]
    for room in ROOMS:
        files = rules_of(room)
        if not files:
            continue
        parts += [f"## {room.capitalize()}", table(HEADS, [row(path, of_file) for path, of_file in files.items()])]
        parts += ["Worst error in ulp, ours / torch's:", table(heads, accuracy_rows(room, cells))]
    return "\n\n".join([*parts, END])


def read_cells(text):
    """(heads, {operation: cells}) of the tables of accuracy in a book."""
    heads, cells = [], {}
    for line in between(text).splitlines():
        if line.startswith("| operation | float"):
            heads = split(line)
        elif named := re.match(r"\| `([^`]+)` \|", line):
            cells[named[1]] = split(line)[1:]
    return heads, cells


def split(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def between(text):
    return text[text.index(BEGIN) : text.index(END) + len(END)]


def write(path, heads, measured):
    """Write the tables anew into the book; operations that were not measured keep their numbers."""
    text = path.read_text(encoding="utf-8")
    cells = read_cells(text)[1] | measured
    known = {rule.apply.__name__ for kind in KINDS for rule in rules(kind).values()}
    cells = {name: cells[name] for name in sorted(cells) if name.split(",")[0] in known}
    path.write_text(text.replace(between(text), tables(heads, cells)), encoding="utf-8")
