"""The fixture of every test of the auditor."""

import pytest

from torchbp.testing import forked_process


@pytest.fixture(autouse=True)
def in_this_process(request, monkeypatch):
    """No audit forks, but those of tests with the mark `processes`: a fork takes as long as some checks."""
    if not request.node.get_closest_marker("processes"):
        monkeypatch.setattr(forked_process, "is_possible", lambda: False)
