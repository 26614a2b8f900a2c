import pytest

from torchbp.engine.native import build, compiled
from torchbp.engine.native.program import Program


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("programs")


@pytest.fixture
def native(folder, monkeypatch):
    """For a test of programs in C: they are used even where the engine's own steps are faster."""
    try:
        build.compiler()
    except build.CannotBuild as why:
        pytest.skip(str(why))
    monkeypatch.setenv("TORCHBP_CACHE_DIR", str(folder))
    monkeypatch.setattr(compiled, "PROGRAMS", {})
    monkeypatch.setattr(Program, "is_faster", lambda program, steps, call=0: True)
