"""Defects of kinds 2 to 12 that were written without a look at the checks."""

from tests.testing.corpus.unseen import (
    caches,
    calls,
    dtypes_and_state,
    low_precision,
    numbers_and_sizes,
    rules,
    sizes_and_aliases,
)

ROOMS = (calls, low_precision, numbers_and_sizes, sizes_and_aliases, dtypes_and_state, caches, rules)
DEFECTS = [entry for room in ROOMS for entry in room.DEFECTS]
