"""The ways from the loss to one number of the network: the chain rule, factor by factor, in one row.

    ∂L/∂Z1[n,i] = Σ over the ways   ∂L/∂Z3[n,k] · W3[k,j] · ∂A2/∂Z2[n,j] · W2[j,i] · ∂A1/∂Z1[n,i]

Of all ways the largest are listed; they are found without going through all of them: a way of the largest product to
a unit goes on from one of the largest to a unit above it.
"""

import re
from dataclasses import dataclass

import torch

from torchbp.explanation.notation import equations
from torchbp.explanation.notation.quantities import INPUT, Quantity, d

MOST = 5  # ways that are listed
SAME = 1e-9  # of the largest number, what is equal up to rounding; times 1 for float64


@dataclass(frozen=True)
class Way:
    """One way from the answers to a number. factors: (name, value) of each, the first one ∂L by an answer. units: the
    unit of each quantity on the way, from 0, the answers' first. value: the product."""

    factors: tuple
    units: tuple
    value: float


@dataclass(frozen=True)
class Element:
    """A number that is followed: its quantity, its place, and the step of the chain that it belongs to; None of X."""

    quantity: Quantity
    place: tuple
    step: object

    @property
    def is_parameter(self):
        return self.step is not None and self.quantity != self.step.gives


def element_of(explanation, text):
    """The element of a name such as W1[2,3], b1[2], A1[1,3] or X[1,2].

    Raises:
        ValueError: there is none of this name, or no such place in it.
    """
    chain, found = explanation.chain, re.fullmatch(r"\s*([^\s\[\]]+)\s*\[(\s*\d+\s*(?:,\s*\d+\s*)*)\]\s*", str(text))
    known = {INPUT.name: (INPUT, None)}
    for step in chain.steps:
        known |= {q.name: (q, step) for q in (*(q for _, q in step.parameters), step.gives)}
    if found is None or found[1] not in known:
        raise ValueError(
            f"{str(text)!r} is no number of this network; write a name and a place, such as "
            f"{next(iter(chain.start))}[{','.join('1' * next(iter(chain.start.values())).dim())}]; the names are "
            f"{', '.join(known)}"
        )
    quantity, step = known[found[1]]
    shape = tuple(explanation.values[quantity.name].shape)
    numbers = [int(number) for number in found[2].split(",")]
    if len(numbers) != len(shape) or not all(1 <= n <= size for n, size in zip(numbers, shape, strict=True)):
        last = ",".join(map(str, shape))
        raise ValueError(f"{found[0].strip()}: the places of {quantity.name} go to {quantity.name}[{last}], from 1")
    return Element(quantity, tuple(number - 1 for number in numbers), step)


def shares(explanation, element):
    """What each row adds to the gradient of an element of a parameter, a number for each row."""
    rows = range(len(explanation.values[INPUT.name]))
    return [_gradient_of_row(explanation, element.quantity, row)[element.place].item() for row in rows]


def _gradient_of_row(explanation, quantity, row):
    """What a row adds to the gradient of a parameter."""
    record, values = explanation[d(quantity).name], explanation.step.symbols
    tree = record.sides[-1]
    above = [name for name in tree.symbols() if name in explanation.by_name and explanation[name].by is not None]
    masked = {name: torch.zeros_like(values[name]).index_copy_(0, *_row(values[name], row)) for name in above}
    return tree.evaluate(values.new_child(masked)).expand(record.tensor.shape)


def _row(tensor, row):
    index = torch.tensor([row], device=tensor.device)
    return index, tensor[row : row + 1]


def ways(explanation, quantity, row, unit):
    """(the largest ways to a unit of a quantity in a row, how many there are that are not 0), or None where rows mix on
    the way, as in a batch norm: then one row has not all ways."""
    chain, values = explanation.chain, explanation.values
    output = chain.output
    start = values[d(output).name][row].tolist()
    name = f"{d(output).name}[{row + 1},{{}}]"
    best = {k: [Way(((name.format(k + 1), value),), (k,), value)] for k, value in enumerate(start) if value}
    count = torch.tensor([float(value != 0) for value in start], dtype=torch.float64)
    for step in reversed(chain.steps):
        if step.gives == quantity:
            break
        jacobian = _jacobian(explanation, step, row)
        if not _rows_are_alone(values, step, row, jacobian):
            return None
        best, count = _one_step_down(step, jacobian, best, count, row)
    return best.get(unit, []), int(count[unit].item())


def _one_step_down(step, jacobian, best, count, row):
    """The largest ways to each unit of what a step takes."""
    found, name = {}, _name_of_factor(step)
    for source, column in enumerate(jacobian.T.tolist()):
        longer = [
            (way.value * factor, factor, unit, way)
            for unit, factor in enumerate(column)
            if factor
            for way in best.get(unit, ())
        ]
        if longer:
            largest = sorted(longer, key=lambda of: -abs(of[0]))[:MOST]
            found[source] = [
                Way((*way.factors, (name(unit, source, row), factor)), (*way.units, source), value)
                for value, factor, unit, way in largest
            ]
    return found, (jacobian != 0).double().T @ count


def _name_of_factor(step):
    """How the factor from a unit of what a step takes to one of what it gives is called."""
    for parameter, quantity in step.parameters:
        if is_weight(step, parameter):
            return lambda unit, source, row: f"{quantity.name}[{unit + 1},{source + 1}]"
    gives, takes = step.gives.name, step.takes.name
    if step.is_activation:
        return lambda unit, source, row: f"d{gives}/d{takes}[{row + 1},{source + 1}]"
    return lambda unit, source, row: f"d{gives}[{row + 1},{unit + 1}]/d{takes}[{row + 1},{source + 1}]"


def is_weight(step, parameter):
    """Whether a parameter is a matrix of weights, each of which multiplies one number of what the layer takes."""
    factor = equations.local_factor(step.gradient_tree(parameter).replace(equations.nodes(step)), d(step.gives).name)
    return factor == step.takes and len(step.about["shapes"][parameter.symbol]) == 2


def _jacobian(explanation, step, row):
    """∂(what a step gives)/∂(what it takes) of a row, (units, units)."""
    chain, values = explanation.chain, explanation.values
    taken = values[step.takes.name].double()
    if step.is_activation:
        a, z = (values[q.name][row : row + 1].double() for q in (step.gives, step.takes))
        return step.derivative(a, z)[0].diag()
    parameters = {name: tensor.double() for name, tensor in chain.start.items()}
    drawn = chain.drawn[step.drawn.name].double() if step.drawn else None

    def of_row(numbers):
        rows = torch.cat([taken[:row], numbers.unsqueeze(0), taken[row + 1 :]])
        rows = rows if drawn is not None else chain.in_row_shape(rows, step.takes)
        return step.reference(rows, parameters, drawn).flatten(1)[row]

    with torch.enable_grad():
        return torch.autograd.functional.jacobian(of_row, taken[row])


def _rows_are_alone(values, step, row, jacobian):
    """Whether the gradient of a row of what a step takes comes from that row alone."""
    above, below = (values[d(q).name][row].double() for q in (step.gives, step.takes))
    expected = above @ jacobian
    bound = SAME if values[step.gives.name].dtype == torch.float64 else 1e-3
    return bool(((expected - below).abs() <= bound * (above.abs() @ jacobian.abs() + below.abs())).all())


def largest_of_each_row(explanation):
    """For each row (share, its name) of the weight that it changes most."""
    values, best = explanation.values, [(0.0, "")] * len(explanation.values[INPUT.name])
    for step in explanation.chain.layers:
        for parameter, quantity in step.parameters:
            if quantity not in explanation.step.learnt or not _multiplies(explanation, step, quantity):
                continue
            dz, x, is_matrix = values[d(step.gives).name], values[step.takes.name], is_weight(step, parameter)
            for row in range(len(dz)):
                if is_matrix:
                    place = int(dz[row].abs().argmax()), int(x[row].abs().argmax())
                    share = (dz[row, place[0]] * x[row, place[1]]).item()
                else:
                    found = _gradient_of_row(explanation, quantity, row)
                    place = tuple(int(at) for at in torch.unravel_index(found.abs().argmax(), found.shape))
                    share = found[place].item()
                if abs(share) > abs(best[row][0]):
                    best[row] = share, f"{quantity.name}[{','.join(str(at + 1) for at in place)}]"
    return best


def _multiplies(explanation, step, quantity):
    """Whether a parameter is a matrix or a kernel of weights, which multiply what the layer takes."""
    tree = explanation[d(quantity).name].sides[-1]
    return explanation.values[quantity.name].dim() > 1 and step.takes.name in tree.symbols()
