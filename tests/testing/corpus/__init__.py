"""Functions and modules with one defect each that plain gradcheck lets through, their sound twins, and sound ones.

To add one, write it beside its like, and add an entry to the list at the end of the file.
"""

from tests.testing.corpus import (
    custom_ops,
    dtypes,
    elsewhere,
    extremes,
    hidden,
    layouts,
    linearity,
    memory,
    modules,
    second_order,
    shapes,
    side_effects,
    sound,
    transforms,
    unseen,
    values,
)
from tests.testing.corpus.reported import calls, losses, magnitudes

TOPICS = [
    values,
    second_order,
    linearity,
    layouts,
    side_effects,
    memory,
    extremes,
    shapes,
    dtypes,
    transforms,
    modules,
    custom_ops,
    elsewhere,
    unseen,
    hidden,
    losses,
    magnitudes,
    calls,
]
DEFECTS = [entry for topic in TOPICS for entry in topic.DEFECTS]
SOUND = sound.SOUND
