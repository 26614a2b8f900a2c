"""What is deliberate, or odd, and sound: the auditor accuses none of it."""

from tests.testing.corpus.patterns import custom, layers, operations

SOUND = [*custom.SOUND, *layers.SOUND, *operations.SOUND]
