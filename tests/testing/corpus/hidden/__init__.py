"""What the given inputs hide: kinds 2 to 12."""

from tests.testing.corpus.hidden import (
    closures,
    compiled,
    constants,
    half,
    losses,
    memory_and_threads,
    numbers,
    overflow,
    precision,
    references,
    sizes,
    writes,
)

DEFECTS = [
    *closures.DEFECTS,
    *compiled.DEFECTS,
    *constants.DEFECTS,
    *half.DEFECTS,
    *losses.DEFECTS,
    *memory_and_threads.DEFECTS,
    *numbers.DEFECTS,
    *overflow.DEFECTS,
    *precision.DEFECTS,
    *references.DEFECTS,
    *sizes.DEFECTS,
    *writes.DEFECTS,
]
