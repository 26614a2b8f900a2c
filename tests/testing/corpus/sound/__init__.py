"""What is sound, however odd it looks: the auditor accuses none of it."""

from tests.testing.corpus.sound import autograd_tools, custom, functions, layers, operations, torch_modules

SOUND = [*autograd_tools.SOUND, *custom.SOUND, *functions.SOUND, *layers.SOUND, *operations.SOUND, *torch_modules.SOUND]
