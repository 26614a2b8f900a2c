"""Forward mode, vmap, the compiler, checkpoints, and registered operators."""

from tests.testing.corpus.transforms import backward_twice, batched_backward, compiled, custom_ops, repeated, rules

ROOMS = (backward_twice, batched_backward, compiled, custom_ops, repeated, rules)
DEFECTS = [entry for room in ROOMS for entry in room.DEFECTS]
