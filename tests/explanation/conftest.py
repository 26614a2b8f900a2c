"""Rules that are registered for one test."""

import pytest

from torchbp.ops.registry import implements, register, unregister


@pytest.fixture
def registered():
    """Registers a rule, and the class of its module if there is one, until the end of the test."""
    found = []

    def add(rule, module=None):
        found.append(register(rule))
        return implements(rule)(module) if module else None

    yield add
    for rule in found:
        unregister(rule)
