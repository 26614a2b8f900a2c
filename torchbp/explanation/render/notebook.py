"""The explanation as a Jupyter notebook: each equation, then a line of NumPy that computes it; graded at its end."""

import inspect
import json

import numpy as np
import torch

from torchbp.explanation.notation.quantities import INPUT, TARGET
from torchbp.explanation.notation.records import STAGES, equation_text, sentence
from torchbp.explanation.render.latex import latex
from torchbp.explanation.render.markdown import ensemble_lines, escaped
from torchbp.explanation.render.numbers_given import given
from torchbp.explanation.render.numpy_code import NoCode, code, definitions, functions, name_of
from torchbp.explanation.render.step_summary import fall
from torchbp.explanation.render.text import loss_line, reading
from torchbp.ops.expressions import Symbol

LESSONS = ("torchbp.ops.lessons.attention_head",)  # modules whose classes a cell can make, beside torch's
MOST = 20_000  # numbers that are given in the first cell
LAST = (
    "## Graded\n\n`torchbp.exercise` compares each of these arrays with the right one. Change a line above, such as a "
    "sign, and run the cells again: it names the mistake."
)


def notebook(explanation):
    """The text of the `.ipynb` file.

    Raises:
        ValueError: the network and its rows are too large to be written down in a cell.
    """
    given = {name: tensor.cpu().double().numpy() for name, tensor in explanation.step.given.items()}
    if (count := sum(array.size for array in given.values())) > MOST:
        raise ValueError(f"a notebook gives all numbers in a cell, at most {MOST:,}; here they are {count:,}")
    cells = [_markdown(_heading(explanation)), _code(_first(explanation, given))]
    stage = None
    for record in explanation.records:
        heading = f"## {STAGES[record.stage]}\n\n" if record.stage != stage else ""
        stage = record.stage
        why = sentence(record.reason, lambda q: f"${latex(q)}$")
        cells.append(_markdown(f"{heading}$$\n{equation_text(record, latex)}\n$$\n\n{why}"))
        cells.append(_code(_line(record), record.tensor.cpu().double().numpy()))
    cells.append(_markdown("\n\n".join([fall(explanation), *(f"- {words}" for words in explanation.observations)])))
    if (grading := _grading(explanation)) is not None:
        cells += [_markdown(LAST), _code(grading)]
    for place, cell in enumerate(cells):
        cell["id"] = f"cell-{place}"
    counted = (cell for cell in cells if cell["cell_type"] == "code")
    for count, cell in enumerate(counted, 1):
        for output in cell["outputs"]:
            cell["execution_count"] = output["execution_count"] = count
    metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    content = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def _heading(explanation):
    title = escaped(explanation.title or "One step of backpropagation")
    facts = f"- network: {explanation.chain.described()}\n- loss: {loss_line(explanation)}"
    if update := explanation.step.descent.described():
        facts += f"\n- update: {update}"
    together = [] if explanation.ensemble is None else ensemble_lines(explanation.ensemble)
    names = "`dZ1` in the code is ∂L/∂Z1, `W1_new` is W1 after the update, and `lr` is the learning rate α."
    head = "\n".join([f"# {title}", "", *together, facts])
    data = [line for name in (INPUT.name, TARGET.name) for line in given(explanation, name)]
    block = "\n".join(["```text", *data, "```"])
    return f"{head}\n- learning rate α = {explanation.lr:g}\n\n{reading(explanation)} {names}\n\n{block}"


def _first(explanation, given):
    """The imports, the functions and the numbers that are given."""
    symbols = explanation.step.symbols
    names = functions(side for record in explanation.records for side in record.sides[-1:])
    imports = ["import math", "", "import numpy as np"] if "erf" in names else ["import numpy as np"]
    numbers = [f"{name} = np.array({array.tolist()!r})" for name, array in given.items()]
    constants = {name: value for name, value in symbols.items() if not isinstance(value, torch.Tensor)}
    numbers += [f"{code(Symbol(name))} = {value!r}" for name, value in constants.items()]
    parts = ["\n".join(imports), *definitions(names), "\n".join(numbers)]
    return "\n\n".join(parts)


def _line(record):
    """The assignment that computes a record; where its equation has no code, of its numbers."""
    name = name_of(record.quantity)
    try:
        line = f"{name} = {code(record.sides[-1])}"
    except NoCode as error:
        line = f"{name} = np.array({record.tensor.tolist()!r})  # {error} has no code in NumPy: these are its numbers"
    return f"{line}\n{name}"


def _grading(explanation):
    """The cell that grades the arrays; None where the network, its loss or its update cannot be written down in a
    line."""
    modules = [step.module for step in explanation.chain.steps]
    step, criterion = explanation.step, explanation.step.criterion
    rules = [part.rule for part in explanation.chain.steps]
    random, tensors = explanation.chain.drawn, criterion.weights
    known = all(rule.torch_module or type(m).__module__ in LESSONS for rule, m in zip(rules, modules, strict=True))
    has_statistics = any(True for module in modules for _ in module.buffers())  # of a training, which no cell gives
    if random or tensors or has_statistics or not step.descent.is_plain or not known or not criterion.rule.torch_module:
        return None
    classes = [
        _constructed(module, rule.torch_module) if rule.torch_module else f"{type(module).__module__}.{module!r}"
        for module, rule in zip(modules, rules, strict=True)
    ]
    others = [f"import {name}" for name in LESSONS if any(type(module).__module__ == name for module in modules)]
    settings = {name: value for name, value in criterion.options.items() if value is not None}
    options = ", ".join(f"{name}={value!r}" for name, value in {**settings, "reduction": step.loss.reduction}.items())
    factor = "" if criterion.factor == 1 else f", factor={criterion.factor!r}"
    parameters = dict(zip(_keys(explanation), explanation.chain.start, strict=True))
    lines = [
        "import torch",
        "",
        "import torchbp",
        *others,
        "",
        "net = torch.nn.Sequential(",
        *(f"    {of}," for of in classes),
        ").double()",
        "net.load_state_dict({",
        *(f'    "{key}": torch.tensor({name}),' for key, name in parameters.items()),
        "})",
        f"loss = torch.nn.{criterion.rule.torch_module.__name__}({options})",
        f"exercise = torchbp.exercise(net, {_rows(explanation)}, y, loss, lr{factor})",
        "answers = {",
        *(f'    "{r.name}": {name_of(r.quantity)},' for r in explanation.records if r.stage != "again"),
        "}",
        "print(exercise.grade(answers))",
    ]
    return "\n".join(lines)


def _constructed(module, cls):
    """The code that makes a module of torch's class with the settings of this one. Its `repr` leaves out some of them,
    such as the ceil_mode of a pooling."""
    settings = []
    for name, parameter in inspect.signature(cls).parameters.items():
        value = getattr(module, name, parameter.default)
        if name == "bias":
            value = value is not None and value is not False
        if name not in ("device", "dtype") and value != parameter.default:
            settings.append(f"{name}={value!r}")
    return f"torch.nn.{cls.__name__}({', '.join(settings)})"


def _rows(explanation):
    """X as the network takes it."""
    shape = explanation.chain.row_shapes[INPUT.name]
    return INPUT.name if len(shape) == 1 else f"X.reshape{(-1, *shape)}"


def _keys(explanation):
    """The keys of the parameters in a Sequential of the network's layers."""
    steps = enumerate(explanation.chain.steps)
    return [f"{place}.{parameter.name}" for place, step in steps for parameter, _ in step.parameters]


def _markdown(text):
    return {"cell_type": "markdown", "metadata": {}, "source": text.splitlines(keepends=True)}


def _code(text, result=None):
    outputs = []
    if result is not None:
        shown = repr(np.asarray(result)) if result.ndim else repr(result.item())
        data = {"text/plain": shown.splitlines(keepends=True)}
        outputs.append({"output_type": "execute_result", "data": data, "metadata": {}})
    return {
        "cell_type": "code",
        "metadata": {},
        "execution_count": None,
        "source": text.splitlines(keepends=True),
        "outputs": outputs,
    }
