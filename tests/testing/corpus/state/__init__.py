"""What a call leaves behind: in arguments, in memory, in global state."""

from tests.testing.corpus.state import global_state, memory, written

DEFECTS = [*global_state.DEFECTS, *memory.DEFECTS, *written.DEFECTS]
