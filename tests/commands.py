"""The torchbp command in the process of the tests."""

import contextlib
import logging
import multiprocessing
import sys
import warnings

import pytest

# what a run imports, and each process of the tests would import again
IMPORTED = [
    "torchbp.training.cli.command",
    "tests.training.pairs",
    "torchbp.training.report.figures",
    "torch.utils.tensorboard",
]
LOGGERS = ("pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.seed", "lightning_fabric")


@contextlib.contextmanager
def command_in(folder):
    """Run the command in this folder. Afterwards everything that it changes in the process is as before: the working
    folder, sys.argv, the filters of warnings and the levels of loggers."""
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["torchbp"])
        yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@contextlib.contextmanager
def without_pictures():
    """The page of a run is written without its pictures: drawing them takes longer than a short run. Whether they are
    right, tests/training/test_report.py tests; that a run draws them, the first run of tests/cli/test_runs.py."""
    from torchbp.training.report import figures

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "drawn", lambda plot: "")
        patch.setattr(figures, "png", lambda plots: b"")
        yield


def importing_processes():
    """Where processes come from that have imported the command: a new interpreter takes longer than a run."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    return context
