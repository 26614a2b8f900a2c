"""The parameters of a function or class, read from its source: names, types, defaults, and words of its docstring.

The parsers of the commands are made from the same signatures and docstrings. Reading them takes milliseconds, where
importing what they stand in takes seconds.
"""

import ast
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

REQUIRED = object()


@dataclass(frozen=True)
class Parameter:
    """annotation: as it is written. default: its value, or REQUIRED. text: the first sentence of the docstring."""

    annotation: str
    default: object
    text: str


def parameters_of(path):
    """{name: Parameter} of a function, or of the constructor of a class.

    Args:
        path: its module and name, such as "torchbp.cli.keys:fit_keys". The packages that the module is in are imported.
    """
    module, _, name = path.partition(":")
    tree = ast.parse(Path(importlib.util.find_spec(module).origin).read_text(encoding="utf-8"))
    definition = next(node for node in tree.body if getattr(node, "name", None) == name)
    texts = argument_texts(ast.get_docstring(definition) or "")
    function = definition
    if isinstance(definition, ast.ClassDef):
        function = next(node for node in definition.body if getattr(node, "name", None) == "__init__")
    arguments = [argument for argument in function.args.args if argument.arg != "self"]
    defaults = [REQUIRED] * len(arguments) + [ast.literal_eval(default) for default in function.args.defaults]
    return {
        argument.arg: Parameter(ast.unparse(argument.annotation), default, texts.get(argument.arg, ""))
        for argument, default in zip(arguments, defaults[-len(arguments) :], strict=True)
    }


def argument_texts(docstring):
    """{name: first sentence} of the section `Args:` of a docstring. An entry may be of several names, `a, b: …`."""
    _, _, section = docstring.partition("Args:\n")
    texts = {}
    for entry in re.findall(r"^    (\S.*(?:\n     +\S.*)*)", section.partition("\n\n")[0], re.MULTILINE):
        names, _, text = " ".join(entry.split()).partition(": ")
        sentence = re.split(r"\. (?=[A-Z“\"`0-9])", text)[0].removesuffix(".").replace("`", "")
        texts |= dict.fromkeys(names.split(", "), sentence)
    return texts
