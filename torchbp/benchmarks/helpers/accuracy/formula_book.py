"""The tables of the formula book, `torchbp/ops/README.md`: made from the rules, the docstrings of their files, and the
records of `torchbp bench accuracy`."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import torch

from torchbp.benchmarks.helpers.accuracy.inputs import INPUTS
from torchbp.benchmarks.helpers.accuracy.sums import drawn
from torchbp.ops.registry import rules
from torchbp.ops.rules import KINDS

FOLDER = Path(importlib.import_module("torchbp.ops").__file__).parent
ROOMS = "activations", "layers", "losses", "normalisation", "convolution", "attention"
BEGIN, END = "<!-- The tables: torchbp bench accuracy --book FILE writes them. -->", "<!-- The end of the tables. -->"
HEADS = "operation", "forward", "backward", "saves"
FORMULA = r"(?:def )?((?!add_|write_|of_)[a-z]\w*_d(?:[a-z]|weight|bias|mask))(?: =|\()"  # gelu_dz, conv_dweight


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


def link(path, pattern, names=None):
    """Links to the lines of the file that begin with the pattern, whose first group is the text, one of these names."""
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if (named := re.match(pattern, line)) and (names is None or named[1] in names):
            found.setdefault(named[1], number)
    return [f"[`{text}`]({path.relative_to(FOLDER).as_posix()}#L{number})" for text, number in found.items()]


def backward_links(path):
    """Links to the backward formulas of a file: its own and those that it imports; if it is made of other operations,
    theirs; and if there are none, its `backward`."""
    others = list(imports(path))
    found = link(path, FORMULA) + [links for other, names in others for links in link(other, FORMULA, names)]
    found = found or [links for other, _ in others for links in link(other, FORMULA)]
    return found or link(path, r"\s*(def _?backward)\(")


def imports(path):
    """(file, names) of what a file imports of torchbp/ops; of a whole file None in the place of the names."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module.startswith("torchbp.ops."):
            place = FOLDER.joinpath(*node.module.split(".")[2:])
            names = [alias.name for alias in node.names]
            if place.is_dir():  # of a room, whole files; or what it has of its own, which is no formula
                yield from ((file, None) for name in names if (file := place / f"{name}.py").exists())
            else:
                yield place.with_suffix(".py"), names


def row(path, of_file):
    """The cells of one file's operations: the names, both equations with their lines, and what is saved."""
    forward, backward = equations(path.read_text(encoding="utf-8"))
    names = dict.fromkeys(rule.apply.__name__ for rule in of_file)
    names = [link(path, rf"(?:def | +name=\")({name})[(\"]")[0] for name in names]
    # an operation that is made of others has no forward of its own
    forward_lines = link(path, r"(?:    )?(def _?forward)") or names
    return (
        ", ".join(names),
        f"{forward} {forward_lines[0]}",
        f"{backward} {', '.join(backward_links(path))}",
        "; ".join(dict.fromkeys(map(saved, of_file))),
    )


def saved(rule):
    """What the operation saves for backward, by the names of its arguments, where each of them requires a gradient."""
    if not inspect.isfunction(rule.apply):
        return "nothing"
    inputs = INPUTS.get(rule.apply.__name__)
    tensors = drawn(inputs, 1.0, 0, torch.float32) if inputs else [torch.rand(3), torch.rand(3)]
    if inputs is None and "target" not in inspect.signature(rule.apply).parameters:
        tensors = tensors[:1]
    leaves = [t.requires_grad_(t.is_floating_point() and (inputs is not None or i == 0)) for i, t in enumerate(tensors)]
    arguments, kept = {}, []

    def called(*args, **kwargs):
        bound = inspect.signature(rule.apply).bind(*args, **kwargs).arguments
        arguments.update({name: value for name, value in bound.items() if isinstance(value, torch.Tensor)})
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
            return rule.apply(*args, **kwargs)

    output = inputs.call(called, *leaves) if inputs else called(*leaves)
    arguments["its output"] = output[0] if isinstance(output, tuple) else output
    return ", ".join(dict.fromkeys(described(t, arguments) for t in kept if t.numel())) or "nothing"


def described(tensor, arguments):
    """A saved tensor: the name of the argument or output that it is, or its dtype and shape."""
    for name, argument in arguments.items():
        if tensor.data_ptr() == argument.data_ptr():
            return name
    dtype = str(tensor.dtype).removeprefix("torch.")
    for name, argument in arguments.items():
        if tensor.shape == argument.shape:
            return f"{dtype} in the shape of {name}"
    output = arguments["its output"]
    return f"{dtype} of the shape {tuple(tensor.shape)} for an output of {tuple(output.shape)}"


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
