"""The step as a program that the page runs by itself: the numbers that are given, and the tree of each record.

    W1, b1, …, X, y            given
    Z1 = X W1ᵀ + b1            a tree for each record, in their order
    W1′ = W1 − α dL/dW1        the next step begins with W1′ in the place of W1

The page evaluates the trees in float64. A node or a function that it does not know, and a network of many numbers, have
no program.
"""

import math
from dataclasses import replace

from torchbp.explanation.derivation.descent import T
from torchbp.explanation.notation import equations
from torchbp.explanation.notation.equations import ALPHA
from torchbp.explanation.notation.quantities import INPUT, LOSS, TARGET, Quantity, d
from torchbp.explanation.render.html.exercise import exercise
from torchbp.explanation.render.plain_text import plain
from torchbp.ops.expressions import Call, Expression, Number
from torchbp.ops.places import Contraction
from torchbp.ops.rules import Activation

MOST_NUMBERS = 3000  # of X, y and the parameters together: about 60 kB, and a step of at most some milliseconds
MOST_PRODUCTS = 5000  # of all convolutions, for each row: about 60 kB too
NODES = (
    "Beside",
    "Call",
    "Collect",
    "Contraction",
    "FirstLargest",
    "Folded",
    "Gather",
    "Indicator",
    "MatrixProduct",
    "Negative",
    "Power",
    "Product",
    "Quotient",
    "Sum",
    "SumOfRow",
    "SumOver",
    "Transpose",
)
FUNCTIONS = ("σ", "tanh", "exp", "ln", "sin", "cos", "erf", "sqrt", "softplus", "max", "abs", "sgn", "min")


class NoProgramError(Exception):
    """Why the page does not compute the step, a sentence."""


def program(explanation):
    """What the script computes the step from.

    given: X, y, the parameters, the loss's weights and what the optimizer remembers, whole. constants: N, K and others
        that no formula computes.
    trees: the last side of each record, by its name, in their order. computed: by name, the tree that a record's
        numbers are computed by, where the equation rounds. places: what the trees of convolutions have in common.
    slopes: the slope of each activation, by its output. rate: α.
    counters: those of the given that count the steps. drawn: of each mask of a dropout, which is drawn anew in each
        step, the share of zeros, and how many neighbours are alike.
    next: what is given in the next step, by name: W1′ for W1. unchanged: W1 for W1′ where W1 is frozen.
    gradients: dL/dW1 for W1, of what learns. inputs: those of X and y that may be changed by hand.
    mistakes, gaps, says: what is said of wrong answers about a record, and what is asked of its equation.

    Raises:
        NoProgramError: the page cannot compute it.
    """
    step, values = explanation.step, explanation.values
    results = {record.quantity: record for record in explanation.records}
    computed = _computed(explanation)
    used = {name for record in explanation.records for name in record.sides[-1].symbols()}
    used |= {name for tree in computed.values() for name in tree.symbols()} | {TARGET.name}
    unchanged = {f"{name}′": name for name in explanation.chain.start if f"{name}′" not in explanation.by_name}
    given = [name for name in values if name in used and name not in explanation.by_name and name not in unchanged]
    count = sum(values[name].numel() for name in given)
    if count > MOST_NUMBERS:
        raise NoProgramError(
            f"The page trains networks of up to {MOST_NUMBERS:,} numbers, with their inputs and targets; these are "
            f"{count:,}."
        )
    forward = [record.sides[-1] for record in results.values() if record.stage == "forward"]
    if (products := sum(map(equations.products, forward))) > MOST_PRODUCTS:
        raise NoProgramError(
            f"The page trains convolutions of up to {MOST_PRODUCTS:,} products for each row; these have {products:,}."
        )
    constants = {name: float(value) for name, value in step.symbols.items() if isinstance(value, int | float)}
    counters = {T.name: constants.pop(T.name)} if T.name in constants else {}
    updates = [q for q in results if isinstance(q, Quantity) and q.prime and replace(q, prime=False).name in given]
    fixed = step.criterion.rule.target != "elements"
    tree_of = Trees()
    return {
        "given": {name: _rows_of(values[name]).tolist() for name in given} | counters,
        "counters": list(counters),
        "drawn": {s.drawn.name: _drawn(s, explanation) for s in explanation.chain.steps if _is_mask(s)},
        "constants": {name: value for name, value in constants.items() if name != ALPHA.name},
        "rate": explanation.lr,
        "rate_name": ALPHA.name,
        "trees": {quantity.name: tree_of(record.sides[-1]) for quantity, record in results.items()},
        "computed": {name: tree_of(tree) for name, tree in computed.items()},
        "slopes": {name: tree_of(tree) for name, tree in _slopes(explanation).items()},
        "next": {replace(q, prime=False).name: q.name for q in updates},
        "unchanged": unchanged,
        "gradients": {q.name: d(q).name for q in step.learnt},
        "inputs": [INPUT.name] if fixed else [INPUT.name, TARGET.name],
        "answer": step.criterion.answer.name,
        **exercise(explanation, tree_of),
        "places": tree_of.places,
    }


def _rows_of(tensor):
    """A tensor of at most two dimensions: of a kernel a row for each channel that it gives."""
    return tensor.flatten(1) if tensor.dim() > 2 else tensor


def _is_mask(step):
    return step.drawn is not None and "p" in step.options


def _drawn(step, explanation):
    """The share of zeros in a mask of a dropout, and how many neighbours are alike: those of a channel may be."""
    shapes = explanation.chain.row_shapes
    return [step.options["p"], math.prod(shapes[step.takes.name]) // math.prod(shapes[step.drawn.name])]


def _computed(explanation):
    """The trees that the numbers of the loss and of its derivatives are computed by, where the rule says another one
    than the equation: near 0 and 1 the equation rounds."""
    criterion, found = explanation.step.criterion, {}
    if criterion.rule.equation_computed:
        for quantity in (LOSS, LOSS.after()):
            tree = criterion.tree("equation", quantity.prime, computed=True)
            found[quantity.name] = equations.reduced(tree, criterion.count_symbol())
    if criterion.rule.slope_computed:
        found[d(criterion.answer).name] = criterion.over_count(criterion.tree("slope", computed=True))
    if criterion.rule.error_computed:
        found[d(criterion.output).name] = criterion.divided(criterion.tree("error", computed=True))
    return {name: tree for name, tree in found.items() if name in explanation.by_name}


def _slopes(explanation):
    """∂A/∂Z of each activation by the name of A, of the answers of the loss too, as expressions."""
    found = {
        step.gives.name: step.rule.tree("slope", **step.options).replace(equations.nodes(step))
        for step in explanation.chain.steps
        if step.is_activation
    }
    criterion = explanation.step.criterion
    if isinstance(criterion.rule.answers, Activation):
        nodes = {"A": criterion.answer, "Z": criterion.output}
        found[criterion.answer.name] = criterion.rule.answers.tree("slope").replace(nodes)
    return found


class Trees:
    """Makes the page's tree of an expression: a node is [its kind, its fields]; a quantity is its name, and a number
    itself.

    places: the columns of the tables of places of all contractions. That of dW is the one of Z in another order, and so
        each column is sent once, and the tree of a contraction has their numbers.
    """

    def __init__(self):
        self.places, self._tables = [], {}

    def __call__(self, value):
        if isinstance(value, tuple):
            return list(map(self, value))
        if not isinstance(value, Expression):
            return value
        if isinstance(value, Number):
            return value.value
        if not value.children() and hasattr(value, "name"):
            return value.name
        kind = type(value).__name__
        if kind not in NODES:
            raise NoProgramError(f"The page does not compute {plain(value)}, which is in an equation of this network.")
        if isinstance(value, Contraction):
            return [
                kind,
                self(value.left),
                self(value.right),
                self._columns(value.places),
                *self((value.shape, value.rows)),
            ]
        if isinstance(value, Call):
            if value.function.name not in FUNCTIONS:
                raise NoProgramError(f"The page does not compute the function {value.function.name} of this network.")
            return [kind, value.function.name, self(value.arguments)]
        return [kind, *(self(getattr(value, name)) for name in value.__dataclass_fields__)]

    def _columns(self, table):
        """The numbers of a table's columns among the places."""
        found = []
        for column in zip(*table, strict=True):
            if column not in self._tables:
                self._tables[column] = len(self.places)
                self.places.append(column)
            found.append(self._tables[column])
        return found
