"""Defects of kinds 2 to 12 that were written without a look at the checks."""

from tests.testing.corpus.unseen import calls, low_precision, numbers_and_sizes

DEFECTS = [entry for room in (calls, low_precision, numbers_and_sizes) for entry in room.DEFECTS]
