"""The compiler, and the folder of what it has made."""

import os
import stat
import time

import pytest
import torch

import torchbp
from tests.networks import mlp, rows
from torchbp.engine.native import build
from torchbp.engine.native.calls import compiled


@pytest.fixture
def own_folder(native, tmp_path, monkeypatch):
    folder = tmp_path / "a folder"
    monkeypatch.setenv("TORCHBP_CACHE_DIR", str(folder))
    return folder


@pytest.fixture
def compilations(monkeypatch):
    """The calls of the compiler."""
    calls, make = [], build.make
    monkeypatch.setattr(build, "make", lambda *args: (calls.append(args), make(*args)))
    return calls


def steps():
    """Weights after steps, by a program where one can be made, as in a process that has made none before."""
    compiled.PROGRAMS.clear()
    model = mlp((3, 4, 2))
    torch.manual_seed(1)
    torchbp.SGD(model, lr=0.5, compile=True).backprop_steps(*rows(4, 8))
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def without_program():
    model = mlp((3, 4, 2))
    torch.manual_seed(1)
    torchbp.SGD(model, lr=0.5, compile=False).backprop_steps(*rows(4, 8))
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_the_folder_does_not_grow_without_bound(own_folder, monkeypatch):
    """The libraries that were used longest ago are removed."""
    steps()
    (library,) = own_folder.glob("*.so")
    size = library.stat().st_size
    for number in range(1, 6):  # made and used so many hours ago
        for suffix in (".so", ".sha256"):
            path = own_folder / f"{number}{suffix}"
            path.write_bytes(b" " * (size if suffix == ".so" else 64))
            os.utime(path, (time.time() - 3600 * number,) * 2)
    os.utime(library, (time.time() - 3600 * 9,) * 2)
    monkeypatch.setattr(build, "LARGEST_FOLDER", 4 * size)
    steps()  # a use of the first one, which is the youngest then
    torchbp.SGD(mlp((3, 5, 2)), compile=True).backprop_steps(*rows(4, 8))
    left = {path.stem for path in own_folder.glob("*.so")}
    assert {"1", library.stem} < left
    assert not {"3", "4", "5"} & left
    assert {path.stem for path in own_folder.glob("*.sha256")} == left
    assert sum(path.stat().st_size for path in own_folder.glob("*.so")) <= 4 * size


def test_what_was_compiled_is_used_again(own_folder, compilations):
    expected = without_program()
    torch.testing.assert_close(steps(), expected)
    torch.testing.assert_close(steps(), expected)
    assert len(compilations) == 1
    assert stat.S_IMODE(own_folder.stat().st_mode) == 0o700
    assert sorted(path.suffix for path in own_folder.iterdir()) == [".sha256", ".so"]


@pytest.mark.parametrize("name", ["*.so", "*.sha256"])
@pytest.mark.parametrize("content", [None, b"", b"another program"], ids=["gone", "empty", "another"])
def test_a_library_that_is_not_whole_is_made_anew(name, content, own_folder, compilations):
    expected = steps()
    (path,) = own_folder.glob(name)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    torch.testing.assert_close(steps(), expected)
    assert len(compilations) == 2


def test_a_compiler_that_was_killed_leaves_nothing_to_load(own_folder, monkeypatch):
    run = build.subprocess.run

    def killed(command, **options):
        done = run(command, **options)
        if "-o" in command:
            raise KeyboardInterrupt
        return done

    build.compiler()
    monkeypatch.setattr(build.subprocess, "run", killed)
    with pytest.raises(KeyboardInterrupt):
        steps()
    assert not list(own_folder.iterdir())


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="there are no owners of folders here")
@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_a_folder_that_others_may_write_to_is_refused(mode, own_folder):
    own_folder.mkdir()
    own_folder.chmod(mode)
    with pytest.warns(UserWarning, match=r"a folder may be written to by others; remove it, or name another"):
        found = steps()
    torch.testing.assert_close(found, without_program())
    assert not list(own_folder.iterdir())


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="there are no owners of files here")
@pytest.mark.parametrize("name", ["*.so", "*.sha256"])
def test_a_library_that_others_may_write_to_is_not_loaded(name, own_folder, compilations):
    steps()
    (path,) = own_folder.glob(name)
    path.chmod(0o777)
    steps()
    assert len(compilations) == 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o700


@pytest.mark.parametrize("text", [" ", "'gcc"])
def test_a_compiler_that_is_no_command(text, own_folder, monkeypatch):
    build.compiler.cache_clear()
    monkeypatch.setenv("CC", text)
    try:
        if text.strip():
            with pytest.warns(UserWarning, match="CC=.* is no command: No closing quotation"):
                steps()
        else:
            steps()
            assert list(own_folder.glob("*.so"))
    finally:
        build.compiler.cache_clear()


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="there are no owners of folders here")
def test_a_folder_of_somebody_else_is_refused(own_folder, monkeypatch):
    own_folder.mkdir(mode=0o700)
    monkeypatch.setattr(os, "getuid", lambda: own_folder.stat().st_uid + 1)
    with pytest.warns(UserWarning, match="may be written to by others"):
        steps()


def test_a_folder_that_cannot_be_made(own_folder):
    own_folder.write_text("a file")
    with pytest.warns(UserWarning, match=r"the folder of compiled programs .*a folder cannot be made: File exists"):
        steps()


def test_without_a_compiler_the_engine_makes_the_steps(own_folder, monkeypatch):
    build.compiler.cache_clear()
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    try:
        with pytest.warns(UserWarning, match="there is no C compiler on the PATH; install gcc or clang") as warned:
            found = steps()
        assert len(warned) == 1
    finally:
        build.compiler.cache_clear()
    torch.testing.assert_close(found, without_program())


def test_a_compiler_that_fails_is_quoted(own_folder, monkeypatch):
    monkeypatch.setattr(build, "OF_MATRICES", ("-O3", "--no-such-option"))
    monkeypatch.setattr("torchbp.engine.native.program.OF_MATRICES", ("--no-such-option",))
    with pytest.warns(UserWarning, match="steps are not compiled, since .* failed: .*no-such-option"):
        steps()


def test_a_disk_that_is_full(own_folder, monkeypatch):
    def full(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(build.tempfile, "TemporaryDirectory", full)
    with pytest.warns(
        UserWarning, match=r"a folder is no place for a library \(No space left on device\); name another"
    ):
        found = steps()
    torch.testing.assert_close(found, without_program())


def test_a_folder_of_which_nothing_may_be_executed(own_folder, monkeypatch):
    def refused(path):
        raise OSError(f"{path}: failed to map segment from shared object")

    monkeypatch.setattr(build.ctypes, "CDLL", refused)
    with pytest.warns(UserWarning, match="failed to map segment from shared object"):
        steps()


def test_a_user_without_a_home(native, monkeypatch):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    for variable in ("TORCHBP_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(build.Path, "home", nowhere)
    with pytest.warns(UserWarning, match="no folder for caches; name one in TORCHBP_CACHE_DIR"):
        steps()
