"""Formulas that are wrong, or wrong elsewhere than at the inputs given."""

from tests.testing.corpus.formulas import branches, extremes, other_calls, second_order, values

DEFECTS = [*branches.DEFECTS, *extremes.DEFECTS, *other_calls.DEFECTS, *second_order.DEFECTS, *values.DEFECTS]
