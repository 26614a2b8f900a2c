import pytest

from torchbp.engine.native import build, program
from torchbp.engine.native.calls import compiled
from torchbp.engine.native.program import Program


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("programs")


@pytest.fixture
def native(folder, request, monkeypatch):
    """For a test of programs in C: they are used even where the engine's own steps are faster.

    Without the mark `optimised` the compiler takes less time for them, and they are slower.
    """
    if request.node.get_closest_marker("optimised") is None:
        monkeypatch.setattr(program, "OF_MATRICES", ("-O0",))
        monkeypatch.setattr(program, "OF_LANES", ("-O0",))
    try:
        build.compiler()
    except build.CannotBuild as why:
        pytest.skip(str(why))
    monkeypatch.setenv("TORCHBP_CACHE_DIR", str(folder))
    monkeypatch.setattr(compiled, "PROGRAMS", {})
    monkeypatch.setattr(Program, "is_faster", lambda program, steps, call=0: True)
