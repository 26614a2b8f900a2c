"""What the page asks about the equations, and what it says of wrong answers."""

import torch

from torchbp.explanation.grading.gaps import Hidden, gaps, known_shapes
from torchbp.explanation.grading.mistakes import ROUNDING, wrong_values
from torchbp.explanation.notation.records import sentence
from torchbp.explanation.render.plain_text import partial
from torchbp.ops.expressions import Negative

MOST_MISTAKES = 8  # in a side of an equation
SAME = 1e-5  # of two numbers, a share by which they differ as rounding does
RARE = ", and not multiplied"  # how a mistake ends that few people make


def exercise(explanation, tree_of):
    """mistakes, gaps: lists by a record's name. says: sentences, which they name by their numbers. `tree_of` makes the
    page's tree of an expression."""
    asked = [record for record in explanation.records if record.stage != "again"]  # which is by the same equations
    symbols, says = explanation.step.symbols, {}
    first = {}  # of what has the same equation: b2′ that of b1′
    for record in asked:
        first.setdefault(record.quantity.letter if record.stage == "update" else record.name, record.name)

    def number(mistake):
        return says.setdefault(_says(mistake), len(says))

    return {
        "mistakes": {record.name: _mistakes(record, symbols, tree_of, number) for record in asked},
        "gaps": {
            record.name: _gaps(explanation, asked[:place], record, tree_of, number)
            for place, record in enumerate(asked)
            if record.name in first.values()
        },
        "says": list(says),
    }


def _mistakes(record, symbols, tree_of, number):
    """[the number of a sentence, where in the tree of the record, what stands there] of the usual mistakes in its
    equation; each gives another number than those before it, and than the right one with the other sign. What stands
    there has, for a node of the record's tree, its number."""
    right = record.sides[-1]
    tensor = record.tensor.double()
    found, values, tree = [], [tensor, -tensor], tree_of(right)  # the page knows a wrong sign by itself
    nodes = _nodes(tree)
    for side in reversed(record.sides):
        count = 0
        for mistake, value in wrong_values(side, {}, symbols, record.tensor.shape):
            if mistake.parts[-1] == RARE or _is_among(values, value):
                continue
            values.append(value)
            path, part = _difference(tree, tree_of(mistake.tree))
            found.append([number(mistake), path, _by_number(part, nodes)])
            count += 1
            if count == MOST_MISTAKES:
                break
    return found


def _is_among(values, value):
    """Whether one of the values is this one, but for rounding."""
    rows = torch.stack(values).reshape(len(values), -1)
    bounds = SAME * rows.abs() + ROUNDING * rows.abs().amax(1, keepdim=True)
    return bool(((value.reshape(1, -1) - rows).abs() <= bounds).all(1).any())


def _nodes(tree):
    """The nodes of a tree with something under them, each before those."""
    return [tree, *(node for part in tree for node in _nodes(part))] if isinstance(tree, list) else []


def _by_number(part, nodes):
    if part in nodes:
        return f"§{nodes.index(part)}"
    return [_by_number(inside, nodes) for inside in part] if isinstance(part, list) else part


def _says(mistake):
    """A mistake in a sentence, which begins with a capital letter, but not a symbol."""
    says, begins = sentence(mistake.parts, partial), mistake.parts[0]
    if isinstance(begins, str) and begins.startswith(("it ", "the ")):
        says = says[:1].upper() + says[1:]
    return f"{says}."


def _is_told(mistake, part):
    """Whether the page finds by itself what is wrong: the sign, or a quantity in the place of another one."""
    return mistake.tree == Negative(part) or " stands where " in mistake.parts


def _gaps(explanation, before, record, tree_of, number):
    """[where in the tree of the record, the equation with the gap, the text of what belongs there, the wrong ones] of
    each gap; a wrong one is a text, and the number of what is said of it, unless the page finds that by itself."""
    right = record.sides[-1]
    return [
        [
            _path_to(Hidden.name, tree_of(gap.tree)),
            f"{partial(record.quantity)} = {partial(gap.tree)}",
            partial(gap.part),
            [[partial(m.tree), *([] if _is_told(m, gap.part) else [number(m)])] for m in gap.wrong],
        ]
        for gap in gaps(right, known_shapes(explanation, before), explanation.step.symbols)
    ]


def _path_to(wanted, tree):
    """The indices that lead to a leaf of a tree; None where it is not there."""
    if tree == wanted:
        return []
    for place, part in enumerate(tree) if isinstance(tree, list) else ():
        if (path := _path_to(wanted, part)) is not None:
            return [place, *path]
    return None


def _difference(right, wrong):
    """(path, tree): the wrong tree is the right one with `tree` at the place that the path leads to, by indices."""
    if isinstance(right, list) and isinstance(wrong, list) and len(right) == len(wrong):
        places = [i for i, (a, b) in enumerate(zip(right, wrong, strict=True)) if a != b]
        if (len(places) == 1 and places[0] > 0) or (places == [0] and isinstance(right[0], list)):
            path, tree = _difference(right[places[0]], wrong[places[0]])
            return [places[0], *path], tree
    return [], wrong
