"""What the command does before and after any of its commands: names, status, interruption, missing packages."""

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from torchbp._imports import MissingPackageError, extra_needed
from torchbp.cli import COMMANDS, main


def test_without_a_command_the_help_is_shown_and_the_status_is_2(capsys):
    assert main([]) == 2
    alone = capsys.readouterr().out
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == alone
    assert all(f"\n  {name} " in alone for name in COMMANDS)


def test_the_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("torchbp 0.")


@pytest.mark.parametrize(
    ("name", "remedy"), [("fti", "did you mean fit?"), ("optimise", f"there are {', '.join(COMMANDS)}")]
)
def test_an_unknown_command(name, remedy, capsys):
    assert main([name]) == 2
    assert capsys.readouterr() == ("", f"torchbp: error: there is no command '{name}'; {remedy}\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_in_any_command_is_one_line(command, monkeypatch, capsys):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("torchbp.cli.importlib.import_module", lambda module: SimpleNamespace(main=interrupted))
    assert main([command]) == 130
    assert capsys.readouterr() == ("", "torchbp: interrupted\n")


@pytest.mark.processes
@pytest.mark.parametrize("error", ["KeyboardInterrupt", "ImportError('of a library that was interrupted')"])
def test_ctrl_c_while_a_library_is_imported_is_one_line(error, tmp_path):
    """A library may print the interruption, or turn it into an error of its own."""
    (tmp_path / "torch.py").write_text(
        "import os, signal\n"
        "try:\n    os.kill(os.getpid(), signal.SIGINT)\n"
        f"except KeyboardInterrupt:\n    raise {error} from None\n"
    )
    program = "import signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    program += "from torchbp.cli import main\nsys.exit(main(['bench', 'step']))"
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "torchbp: interrupted\n")


def test_the_handler_of_the_caller_is_back_afterwards(capsys):
    before = signal.getsignal(signal.SIGINT)
    assert main(["configs"]) == 0
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.processes
def test_a_reader_that_has_seen_enough_gets_no_traceback():
    program = "import sys; from torchbp.cli import main; sys.exit([main(['--help']) for _ in range(99)][-1])"
    done = subprocess.run(f'{sys.executable} -c "{program}" | head -1', shell=True, capture_output=True, text=True)
    assert (len(done.stdout.splitlines()), done.stderr) == (1, "")


def test_a_module_of_ours_that_is_missing_is_a_defect_and_no_advice():
    with pytest.raises(ModuleNotFoundError) as caught, extra_needed("train", "fit"):
        import torchbp.no_such_module  # noqa: F401
    assert not isinstance(caught.value, MissingPackageError)
