import pytest

from torchbp.cli import main


@pytest.fixture
def run(capsys):
    """Calls the command in this process: its exit status, and what it printed on stdout and stderr."""

    def run(*arguments):
        status = main([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def checkpoint(trained_run):
    return trained_run / "checkpoints/best.ckpt"
