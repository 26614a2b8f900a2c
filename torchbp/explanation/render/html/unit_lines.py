"""The equations of single units and weights with their numbers, of a network that the page has no program of."""

from torchbp.explanation.notation.numeric_examples import example
from torchbp.explanation.notation.quantities import INPUT, d
from torchbp.explanation.render.plain_text import partial


class Lines:
    """The equations of single units and weights, with their numbers."""

    def __init__(self, explanation):
        self.explanation, self.symbols = explanation, explanation.step.symbols
        self.records = {record.quantity: record for record in explanation.records}

    def line(self, quantity, place):
        """The quantity's equation at a place; "" where it is not shown."""
        record = self.records.get(quantity)
        if record is None:
            return ""
        value = record.tensor[place].item()
        return example(quantity, record.sides[-1], place, value, self.symbols, verified=False).text(partial)

    def of_unit(self, column, row, unit):
        """The lines of one unit of a column in one row, by the names of the quantities: its Z before and after the
        update, and ∂L/∂A; of the answers of a loss that takes logits ∂L/∂Z."""
        first, answers = column.quantities[0], self.explanation.step.criterion.rule.answers
        fused = answers and column.output == self.explanation.step.criterion.answer
        shown = first, first.after(), d(first) if fused else d(column.output)
        lines = {quantity.name: self.line(quantity, (row, unit)) for quantity in shown}
        return {name: line for name, line in lines.items() if line}

    def of_weights(self, column, below):
        """The gradient of each weight that is drawn as a sum over rows; [] of one row."""
        if column.weight is None or len(self.explanation.values[INPUT.name]) == 1:
            return []
        gradient = d(column.weight)
        if self.explanation.values[column.weight.name].dim() == 2:
            return [[self.line(gradient, (unit, number)) for number in below.units] for unit in column.units]
        return [self.line(gradient, (unit,)) for unit in column.units]
