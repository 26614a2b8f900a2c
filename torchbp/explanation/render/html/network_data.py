"""What the page draws of the network: its strongest units, and their numbers, as plain lists for its script."""

import math

import torch

from torchbp.explanation.equations import d
from torchbp.ops.rules import activation
from torchbp.printing import printable

WHOLE, STRONGEST, ROWS = 10, 8, 8  # units of a layer that is drawn whole, of a larger one; rows


def network(explanation):
    """Columns of units, from X to the output, and every tensor of theirs, cut to the units that are drawn."""
    values, steps = explanation.values, explanation.chain.steps
    columns = columns_of(explanation)
    tensors, slopes = {"L": number(values["L"]), "L′": number(values["L′"])}, {}
    last = columns[-1]["units"]
    tensors["y"] = cut(values["y"], last)
    for below, column in zip([None, *columns], columns, strict=False):
        units = column["units"]
        for name in column["values"]:
            for key in (name, name + "′", d(name)):
                if key in values:
                    tensors[key] = cut(values[key], units)
        if below is None:
            continue
        for name, across in ((column["weight"], below["units"]), (column["bias"], None)):
            for key in (name, name + "′", d(name)):
                if key in values:
                    tensor = values[key][units]
                    tensors[key] = lists(tensor if across is None else tensor[:, across])
    for step in steps:
        if step.kind != "linear":
            slopes[step.gives] = slope(step.kind, values[step.gives], columns[step.number]["units"])
    if explanation.derivation.logits:
        slopes[explanation.derivation.answer] = slope("sigmoid", values[explanation.derivation.answer], last)
    return {
        "columns": columns,
        "rows": min(len(values["X"]), ROWS),
        "count": len(values["X"]),
        "tensors": tensors,
        "slopes": slopes,
        "fused": explanation.derivation.logits,
        "steps": [[r.name, r.stage, r.number] for r in explanation.records],
    }


def columns_of(explanation):
    chain, values = explanation.chain, explanation.values
    features, outputs = (list(map(printable, names)) for names in (explanation.features, explanation.outputs))
    first = values[d("W1")].abs().sum(0)
    columns = [column("X", strongest(first, values["X"].abs().sum(0)), len(first), features)]
    for step in chain.steps:
        if step.kind == "linear":
            dz = values[d(step.gives)].abs().sum(0)
            units = strongest(dz, values[step.gives].abs().sum(0))
            columns.append(column(step.gives, units, len(dz), ()))
            named = printable(step.layer.rpartition(".")[2])
            columns[-1] |= {"weight": step.weight, "bias": step.bias, "layer": "" if named.isdigit() else named}
        else:
            columns[-1]["values"].append(step.gives)
    if explanation.derivation.logits:
        columns[-1]["values"].append(explanation.derivation.answer)
    columns[-1]["labels"] = [outputs[i] if i < len(outputs) else "" for i in columns[-1]["units"]]
    return columns


def column(name, units, count, names):
    labels = [names[i] if i < len(names) else "" for i in units]
    return {"values": [name], "units": units, "count": count, "labels": labels}


def strongest(gradient, value):
    """All units of a small layer; of a large one those that learn most, or where none does, those of largest value."""
    if len(gradient) <= WHOLE:
        return list(range(len(gradient)))
    by = gradient if gradient.any() else value
    return sorted(by.argsort(descending=True)[:STRONGEST].tolist())


def slope(kind, a, units):
    return cut(activation(kind).backward(torch.ones_like(a), a), units)


def cut(tensor, units):
    return lists(tensor[:ROWS][:, units])


def lists(tensor):
    numbers = tensor.tolist()
    return [[number(n) for n in row] if isinstance(row, list) else number(row) for row in numbers]


def number(value):
    """Nine digits, which no number rounds to inf by; what is not finite is null."""
    value = float(value)
    return float(f"{value:.9g}") if math.isfinite(value) else None
