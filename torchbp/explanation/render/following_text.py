"""One number of the network as text for a terminal: the ways from the loss to it, factor by factor."""

import textwrap

from torchbp.explanation.derivation.following import element_of, largest_of_each_row, shares, ways
from torchbp.explanation.notation import equations
from torchbp.explanation.notation.numbers import formatted
from torchbp.explanation.notation.numeric_examples import example, named
from torchbp.explanation.notation.quantities import INPUT, LOSS, d
from torchbp.explanation.render.numbers_given import shortened
from torchbp.printing import printable

WIDTH, ROWS = 80, 8


def following(explanation, text, row=None):
    """The text. row: in which row the ways are shown, from 1; None is the one that adds most.

    Raises:
        ValueError: no such number, or no such row.
    """
    element = element_of(explanation, text)
    name, count = named(element.quantity.name, element.place), len(explanation.values[INPUT.name])
    if row is not None and not (type(row) is int and 1 <= row <= count):
        raise ValueError(f"row={row!r}: there are the rows 1 to {count}")
    value = explanation.values[element.quantity.name][element.place].item()
    lines = [_ruled(f"Follow {name}"), *_wrapped(f"{name} = {formatted(value)}{_what(explanation, element)}.")]
    if not element.is_parameter:
        if row is not None and row != element.place[0] + 1:
            raise ValueError(f"row={row}: {name} is of row {element.place[0] + 1}")
        return "\n".join([*lines, *_ways(explanation, element.quantity, *element.place)])
    of_rows = shares(explanation, element)
    row = max(range(count), key=lambda n: abs(of_rows[n])) if row is None else row - 1
    return "\n".join([*lines, *_of_parameter(explanation, element, of_rows, row)])


def _of_parameter(explanation, element, of_rows, row):
    """The ways to the unit that a parameter's element belongs to, what it multiplies, and the sum over the rows."""
    step, gradient = element.step, d(element.quantity)
    unit = _unit_of(explanation, element)
    lines = []
    if unit is not None:
        lines += _ways(explanation, step.gives, row, unit)
    total = explanation[gradient.name].tensor[element.place].item()
    lines += ["", *_wrapped(f"{_title(explanation, element)}, and the rows add up:")]
    shown = sorted(sorted(range(len(of_rows)), key=lambda n: -abs(of_rows[n]))[:ROWS])
    for n in shown:
        lines += _wrapped(f"row {n + 1}: {_product(explanation, element, n, unit)}{formatted(of_rows[n])}", "   ")
    if len(shown) < len(of_rows):
        rest = sum(of_rows) - sum(of_rows[n] for n in shown)
        lines.append(f"   {len(of_rows) - len(shown)} more rows: {formatted(rest)}")
    lines += _wrapped(f"{named(gradient.name, element.place)} = {formatted(total)}", "   ")
    if element.quantity in explanation.step.learnt:
        lines += ["", *_wrapped(_line(explanation, element.quantity.after(), element.place))]
    return lines


def _title(explanation, element):
    """What stands in a row's share."""
    step = element.step
    if _factor(step, element.quantity) == step.takes:
        above, below = d(step.gives).name, step.takes.name
        return f"Each row's share is {above} times the number of {below} that the weight multiplies"
    return f"Each row has a share, by {explanation[d(element.quantity).name].equation}"


def _factor(step, quantity):
    """What multiplies ∂L/∂Z in the gradient of a parameter, or None."""
    parameter = next(p for p, q in step.parameters if q == quantity)
    return equations.local_factor(step.gradient_tree(parameter).replace(equations.nodes(step)), d(step.gives).name)


def _unit_of(explanation, element):
    """The unit of its layer that a parameter's element belongs to: of the rows of a matrix, or of a vector."""
    place, step = element.place, element.step
    shape = explanation.values[element.quantity.name].shape
    units = explanation.values[step.gives.name].shape[-1]
    factor = _factor(step, element.quantity)
    return place[0] if factor is not None and shape[0] == units and len(shape) <= 2 else None


def _product(explanation, element, row, unit):
    """A row's share as a product of two numbers, where it is one."""
    step, values = element.step, explanation.values
    if unit is None or _factor(step, element.quantity) != step.takes:
        return ""
    source = element.place[-1]
    names = named(d(step.gives).name, (row, unit)), named(step.takes.name, (row, source))
    numbers = values[d(step.gives).name][row, unit], values[step.takes.name][row, source]
    return f"{' · '.join(names)} = {'·'.join(map(_in_product, numbers))} = "


def _in_product(number):
    text = formatted(number)
    return f"({text})" if text.startswith("−") else text


def _ways(explanation, quantity, row, unit):
    """The lines of ∂L by a unit in a row, and of the ways to it."""
    output, goal = explanation.chain.output, named(d(quantity).name, (row, unit))
    lines = ["", *_wrapped(f"In row {row + 1}, from the loss, L = {formatted(explanation.values[LOSS.name])}, down:")]
    found = ways(explanation, quantity, row, unit)
    first = [(row, k) for k in sorted({way.units[0] for way in found[0]})] if found else []
    for place in first:
        lines += _wrapped(_line(explanation, d(output), place), "   ")
    if found is None:
        words = "The rows mix on the way, so the ways of this row alone are not all. By the equation:"
        return [*lines, *_wrapped(words), *_wrapped(_line(explanation, d(quantity), (row, unit)), "   ")]
    if quantity == output:
        return lines
    largest, count = found
    if not largest:
        return [*lines, *_wrapped(f"Every way to {goal} has a factor of 0, so it is 0.", "   ")]
    total = explanation.values[d(quantity).name][row, unit].item()
    which = "leads one way" if count == 1 else f"lead {count:,} ways, which add up"
    which += f"; the {len(largest)} largest are" if count > len(largest) else ""
    lines += ["", *_wrapped(f"To {named(quantity.name, (row, unit))} {which}:")]
    for way in largest:
        names, numbers = zip(*way.factors, strict=True)
        product = "·".join(map(_in_product, numbers))
        lines += _wrapped(f"{' · '.join(names)} = {product} = {formatted(way.value)}", "   ")
    if count > len(largest):
        rest = total - sum(way.value for way in largest)
        lines.append(f"   {count - len(largest):,} more: {formatted(rest)}")
    return [*lines, *_wrapped(f"{goal} = {formatted(total)}", "   ")]


def _line(explanation, quantity, place):
    """The equation of one element with its numbers."""
    record, step = explanation[quantity.name], explanation.step
    return example(quantity, record.sides[-1], place, record.tensor[place].item(), step.symbols, step.fixed).text()


def _what(explanation, element):
    """What a number is, in words."""
    place, step = element.place, element.step
    if element.quantity == INPUT:
        feature = explanation.features[place[1]] if explanation.features else ""
        return f", input {place[1] + 1}{f' ({printable(feature)})' if feature else ''} of row {place[0] + 1}"
    if not element.is_parameter:
        return f", unit {place[1] + 1} of layer {step.number} in row {place[0] + 1}"
    if len(place) == 2 and _factor(step, element.quantity) == step.takes:
        feature = feature_of(explanation, step, element.quantity, place)
        source = f"input {place[1] + 1}{f' ({feature})' if feature else ''}"
        return f", the weight from {source} to unit {place[0] + 1} of layer {step.number}"
    return f", of layer {step.number}"


def feature_of(explanation, step, weight, place):
    """The name of the input that an element of the step's weight multiplies; "" where it has none, or several, as a
    layer of vectors multiplies one of each, or where its columns are not the inputs, as those of waves."""
    names, shape = explanation.features, explanation.values[weight.name].shape
    if step.takes != INPUT or shape[1:] != (len(names),) or _factor(step, weight) != INPUT:
        return ""
    return printable(names[place[1]])


def rows_and_weights(explanation):
    """For a small batch, which weight each row changes most."""
    if len(explanation.values[INPUT.name]) > ROWS:
        return []
    found = largest_of_each_row(explanation)
    if not any(name for _, name in found):
        return []
    if len(found) == 1:
        ((share, name),) = found
        multiplies = f", which multiplies {feature}" if (feature := _feature_of_weight(explanation, name)) else ""
        return _wrapped(
            f"The weight that matters most for this row is {name}{multiplies}: its gradient is {formatted(share)}."
        )
    lines = ["Which weight matters most for each row: the largest share in a gradient"]
    for number, (share, name) in enumerate(found, 1):
        feature = _feature_of_weight(explanation, name)
        lines.append(f"  row {number}  {name or '–':<10} {formatted(share):>10}  {shortened(feature)}".rstrip())
    return lines


def _feature_of_weight(explanation, name):
    """The name of the input that the weight of a name such as W1[2,3] multiplies, or ""."""
    element = element_of(explanation, name) if name else None
    return feature_of(explanation, element.step, element.quantity, element.place) if element else ""


def _ruled(title):
    return f"── {title} {'─' * (WIDTH - len(title) - 4)}"


def _wrapped(text, first=""):
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=first + "  ", break_on_hyphens=False)
