import pytest

from torchbp.testing import forked_process


@pytest.fixture
def in_this_process(monkeypatch):
    """For sound code, which ends no process: a forked one takes as long as the checks that run in it."""
    monkeypatch.setattr(forked_process, "is_possible", lambda: False)
