"""Forward mode, vmap, the compiler, checkpoints, and registered operators."""

from tests.testing.corpus.transforms import compiled, custom_ops, repeated, rules

DEFECTS = [*compiled.DEFECTS, *custom_ops.DEFECTS, *repeated.DEFECTS, *rules.DEFECTS]
