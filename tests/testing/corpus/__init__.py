"""Functions and modules with one defect each that plain gradcheck lets through, their sound twins, and sound ones.

To add one, write it beside its like, and add an entry to the list at the end of the file.
"""

from tests.testing.corpus import calls, formulas, hidden, modules, reports, sound, state, transforms, unseen

DEFECTS = [
    entry for room in (formulas, calls, state, transforms, modules, hidden, unseen, reports) for entry in room.DEFECTS
]
SOUND = sound.SOUND
