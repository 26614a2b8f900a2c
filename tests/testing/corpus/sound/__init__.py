"""What is sound, however odd it looks: the auditor accuses none of it."""

from tests.testing.corpus.sound import (
    autograd_tools,
    custom,
    functions,
    layers,
    operations,
    solvers_and_quantisers,
    torch_modules,
)

ROOMS = (autograd_tools, custom, functions, layers, operations, solvers_and_quantisers, torch_modules)
SOUND = [entry for room in ROOMS for entry in room.SOUND]
