"""What the page's script draws and says of the network: its strongest units, their numbers and their lines.

The script composes no name and computes no line: it gets them here.
"""

import math

from torchbp.explanation.notation import equations
from torchbp.explanation.notation.quantities import INPUT, LOSS, TARGET, Derivative, d
from torchbp.explanation.render.html.unit_lines import Lines
from torchbp.explanation.render.plain_text import partial
from torchbp.ops.expressions import Number
from torchbp.ops.rules import Activation
from torchbp.printing import printable

WHOLE, STRONGEST, ROWS = 10, 8, 8  # units of a layer that is drawn whole, of a larger one; rows


class Column:
    """The units of one layer, as they are drawn: of X, or of a layer and the activations after it.

    quantities: its outputs, from Z to the answers. units: which of them are drawn.
    step: the layer, None of X. weight: the quantity of its parameter that multiplies the input, and bias: that of the
        one that is added to each unit; None where there is none.
    """

    def __init__(self, explanation, step, quantities):
        self.step, self.quantities, self.weight, self.bias = step, quantities, None, None
        values = explanation.values
        first = quantities[0]
        learning = values[d(first).name].abs().sum(0) if d(first).name in values else values[first.name][0] * 0
        self.units, self.count = _strongest(learning, values[first.name].abs().sum(0)), len(learning)
        for parameter, quantity in step.parameters if step else ():
            equation = step.gradient_tree(parameter).replace(equations.nodes(step))
            factor = equations.local_factor(equation, d(step.gives).name)
            if self.weight is None and factor == step.takes:
                self.weight = quantity
            if factor == Number(1) and values[quantity.name].shape == (self.count,):
                self.bias = quantity

    @property
    def output(self):
        return self.quantities[-1]


def network(explanation, with_lines):
    """Columns of units, from X to the output, and every tensor of theirs, cut to the units that are drawn; and, if the
    script has no program to write them by, the lines of units and weights."""
    values, step = explanation.values, explanation.step
    columns = _columns_of(explanation)
    shown = {}  # the tensors of the page, by quantity
    for quantity in (LOSS, LOSS.after()):
        shown[quantity] = rounded(values[quantity.name])
    shown[TARGET] = _cut(values[TARGET.name], columns[-1].units)
    slopes = {}
    for below, column in zip([None, *columns], columns, strict=False):
        for quantity in column.quantities:
            shown |= {q: _cut(values[q.name], column.units) for q in _versions(quantity) if q.name in values}
        for _, quantity in column.step.parameters if column.step else ():
            for q in (quantity, *_versions(quantity)):
                if q.name in values:
                    shown[q] = _lists(_cut_parameter(values[q.name], column, below))
    for s in explanation.chain.steps:
        if s.is_activation:
            slopes[s.gives.name] = _cut(
                s.derivative(values[s.gives.name], values[s.takes.name]), columns[s.number].units
            )
    if isinstance(step.criterion.rule.answers, Activation):
        a, z = values[step.criterion.answer.name], values[explanation.chain.output.name]
        slopes[step.criterion.answer.name] = _cut(step.criterion.rule.answers.derivative(a, z), columns[-1].units)
    lines = Lines(explanation) if with_lines else None
    names = [record.quantity for record in explanation.records] + [
        q for s in explanation.chain.layers for _, q in s.parameters
    ]
    return {
        "columns": [_data_of(explanation, columns, place, lines) for place in range(len(columns))],
        "features": list(map(printable, explanation.features)) if columns[0].count > len(columns[0].units) else None,
        "rows": min(len(values[INPUT.name]), ROWS),
        "count": len(values[INPUT.name]),
        "tensors": {quantity.name: tensor for quantity, tensor in shown.items()},
        "names": {q.name: partial(q) for q in dict.fromkeys([*shown, *names]) if partial(q) != q.name},
        "vectors": [q.name for q in dict.fromkeys(names) if values[q.name].dim() == 1],
        "shapes": {q.name: tuple(values[q.name].shape) for q in dict.fromkeys(names) if values[q.name].dim() > 2},
        "norms": [d(s.gives).name for s in explanation.chain.steps[explanation.chain.first :] if s.is_layer],
        "domain": step.criterion.rule.domain,
        "slopes": slopes,
        "steps": [_shown_by(explanation, columns, record) for record in explanation.records],
        "losses": [LOSS.name, LOSS.after().name],
        "target": TARGET.name,
    }


def _versions(quantity):
    """A quantity, itself after the update, and its derivative."""
    return quantity, quantity.after(), d(quantity)


def _columns_of(explanation):
    chain, quantities = explanation.chain, [[INPUT]]
    for step in chain.steps:
        if step.is_layer:
            quantities.append([])
        quantities[-1].append(step.gives)
    if explanation.step.criterion.rule.answers:
        quantities[-1].append(explanation.step.criterion.answer)
    columns = [Column(explanation, step, q) for step, q in zip([None, *chain.layers], quantities, strict=True)]
    first = chain.steps[chain.first]
    weight = next((column.weight for column in columns if column.step is first), None)
    is_matrix = weight is not None and explanation.values[weight.name].dim() == 2
    if is_matrix and first.takes.number in (None, 0):  # the inputs that most is learned from
        learning = explanation.values[d(weight).name].abs().sum(0)
        columns[0].units = _strongest(learning, explanation.values[INPUT.name].abs().sum(0))
    return columns


def _data_of(explanation, columns, place, lines):
    """A column for the script."""
    column, below = columns[place], columns[place - 1] if place else None
    names = explanation.outputs if place == len(columns) - 1 else explanation.features if not place else ()
    labels = [printable(names[unit]) if unit < len(names) else "" for unit in column.units]
    named = printable(column.step.layer.rpartition(".")[2]) if column.step else ""
    values = explanation.values
    rows = min(len(values[INPUT.name]), ROWS)
    return {
        "units": column.units,
        "count": column.count,
        "labels": labels,
        "layer": "" if named.isdigit() else named,
        "kind": column.step.rule.name.replace("_", " ") if column.step else "",
        "output": column.output.name,
        # in the order in which a pass comes to them
        "forward": [q.name for q in column.quantities] + [q.after().name for q in column.quantities if column.step],
        "backward": [d(q).name for q in reversed(column.quantities) if d(q).name in explanation.values],
        "weight": _weight_of(column, below, explanation),
        "bias": [q.name for q in (column.bias, column.bias.after()) if q.name in values] if column.bias else [],
        "factors": _factors_of(column, explanation),
        "lines": [[lines.of_unit(column, row, unit) for unit in column.units] for row in range(rows)]
        if lines and place
        else [],
        "sums": lines.of_weights(column, below) if lines else [],
    }


def _weight_of(column, below, explanation):
    """The parameter whose elements are drawn as edges: one between each two units, or one for each unit."""
    if column.weight is None:
        return None
    weight, local = column.weight, Derivative(column.step.gives, column.weight)
    shown = [q.name for q in (d(weight), weight.after()) if q.name in explanation.values]
    return {
        "name": weight.name,
        "later": shown,
        "gradient": d(weight).name,
        "matrix": explanation.values[weight.name].dim() == 2,
        "local": f"{partial(local)} = {partial(below.output)}",
    }


def _factors_of(column, explanation):
    """The factors of ∂L/∂Z: ∂L/∂A of the column's output, then the slope of each activation; and of a loss that takes
    logits whether that product may round."""
    first, last = column.quantities[0], column.output
    if column.step is None or d(first).name not in explanation.values:
        return None
    steps = {step.gives: step for step in explanation.chain.steps}
    rules = [steps[a].rule if a in steps else explanation.step.criterion.rule.answers for a in column.quantities[1:]]
    if not all(isinstance(rule, Activation) for rule in rules):  # others have no factor for each element
        return None
    pairs = zip(reversed(column.quantities), reversed(column.quantities[:-1]), strict=False)
    slopes = [{"name": partial(Derivative(a, z)), "slope": a.name} for a, z in pairs]
    fused = column.output == explanation.step.criterion.answer and explanation.step.criterion.rule.answers is not None
    return {"first": d(last).name, "slopes": slopes, "result": d(first).name, "fused": fused}


def _shown_by(explanation, columns, record):
    """Of a record, what the drawing lights up: the units of columns, and the weights before columns."""
    quantity = record.by or record.quantity
    units, weights = [], []
    for place, column in enumerate(columns):
        outputs = {q for of in column.quantities for q in (of, of.after())}
        parameters = [q for _, q in column.step.parameters] if column.step else []
        if quantity in outputs:
            units.append(place)
            weights += [place] if column.step and quantity in (column.step.gives, column.step.gives.after()) else []
        elif quantity == column.weight or (column.weight and quantity == column.weight.after()):
            weights.append(place)
        elif any(quantity in (q, q.after()) for q in parameters):
            units.append(place)
        if record.chain and column.step and record.chain[-1].of == column.step.gives and record.by == column.step.takes:
            weights.append(place)
    if record.by:  # the derivative of a layer's output lights its units alone
        weights = [place for place in weights if columns[place].step.gives != record.by]
    shown = {
        "name": record.name,
        "stage": record.stage,
        "number": record.number,
        "units": units,
        "weights": weights,
        "derivative": record.by is not None,
        "has_rows": record.has_rows,
        "subject": _subject(explanation, columns, record),
    }
    return {key: value for key, value in shown.items() if value}  # the page knows what is not there


def _subject(explanation, columns, record):
    """Whose number a record's element is: of a unit in a "row", of a unit alone in a "vector", or of a "weight" between
    two columns; None of others."""
    quantity = record.by or record.quantity
    for place, column in enumerate(columns):
        if any(quantity in (q, q.after()) for q in column.quantities):
            return {"column": place, "kind": "row"}
        if column.weight and quantity in (column.weight, column.weight.after()):
            return {"column": place, "kind": "weight"}
        parameters = [q for _, q in column.step.parameters] if column.step else []
        if any(quantity in (q, q.after()) for q in parameters):
            return {"column": place, "kind": "vector"} if record.tensor.shape == (column.count,) else None
    return None


def _strongest(gradient, value):
    """All units of a small layer; of a large one those that learn most, or where none does, those of largest value."""
    if len(gradient) <= WHOLE:
        return list(range(len(gradient)))
    by = gradient if gradient.any() else value
    return sorted(by.argsort(descending=True)[:STRONGEST].tolist())


def _cut(tensor, units):
    return _lists(tensor[:ROWS][:, units])


def _cut_parameter(tensor, column, below):
    """The part of a parameter that belongs to the units that are drawn; of another width, all of it."""
    if len(tensor) != column.count:
        return tensor
    tensor = tensor[column.units]
    return tensor[:, below.units] if tensor.dim() == 2 and tensor.shape[1] == below.count else tensor


def _lists(tensor):
    return _rounded_lists(tensor.tolist())


def _rounded_lists(numbers):
    return list(map(_rounded_lists, numbers)) if isinstance(numbers, list) else rounded(numbers)


def rounded(value, digits=7):
    """A number in so many digits, six or seven: no number rounds to inf by them. What is not finite is null."""
    value = float(value)
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None
