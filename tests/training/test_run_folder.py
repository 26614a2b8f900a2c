"""The folder of a run: one process writes to it at a time; and a full disk, whose message names the file."""

import multiprocessing
import os
import re
import resource
import sys
from pathlib import Path

import pytest
import torch

from tests.training.pairs import run_here
from torchbp.cli import main
from torchbp.training.checkpoints.run_lock import RunLock
from torchbp.training.cli import running
from torchbp.training.errors import SettingError

CONFIG = str(Path(__file__).parents[2] / "configs/breast_cancer.yaml")
FIT = ["fit", "-c", CONFIG, "--trainer.max_epochs", "2"]
RUN = Path("runs/breast_cancer/version_0")

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "undrawn")


def locked_here(folder, ready):
    lock = RunLock(folder)
    ready.send(True)
    ready.recv()
    lock.release()


@pytest.fixture
def holder():
    """Locks a folder in another process, which is killed at the end."""
    started = []

    def hold(folder):
        ours, theirs = multiprocessing.get_context("fork").Pipe()
        process = multiprocessing.get_context("fork").Process(target=locked_here, args=(folder, theirs))
        process.start()
        ours.recv()
        started.append(process)
        return process

    yield hold
    for process in started:
        process.kill()
        process.join()


@pytest.mark.parametrize("how", ["the same version", "resume"])
def test_a_second_process_is_refused_until_the_first_is_killed(how, holder, capsys):
    arguments = [*FIT, "--trainer.logger.init_args.version", "0"]
    if how == "resume":
        assert main(FIT) == 0
        arguments = [*FIT, "--trainer.max_epochs", "3", "--ckpt_path", str(RUN / "checkpoints/last.ckpt")]
    process = holder(RUN)
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    capsys.readouterr()
    assert main(arguments) == 2
    assert re.fullmatch(
        r"torchbp: error: another process trains in \S*runs/breast_cancer/version_0; .*\n", capsys.readouterr().err
    )
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before
    process.kill()  # −9: it can release nothing itself
    process.join()
    assert main(arguments) == 0


def test_a_run_that_another_one_has_overtaken_gets_the_next_number(holder, capsys, monkeypatch):
    """Both have counted the runs at the same time."""
    train = running._train
    lock = running.lock_run

    def overtaken(loggers, numbered):
        holder(RUN)
        return lock(loggers, numbered)

    monkeypatch.setattr(running, "lock_run", overtaken)
    monkeypatch.setattr(running, "_train", train)
    assert main(FIT) == 0
    assert (RUN.with_name("version_1") / "metrics.csv").exists()
    assert list(RUN.iterdir()) == []


def test_a_released_folder_is_free_and_is_removed_if_it_is_empty():
    lock = RunLock("a/b")
    with pytest.raises(SettingError, match="another process trains in a/b"):
        RunLock("a/b")
    lock.release()
    assert not Path("a").exists()
    lock = RunLock("a/b")
    Path("a/file").touch()
    lock.release()
    assert [path.name for path in Path().rglob("*")] == ["a", "file"]


def with_small_files(folder, arguments, size):
    """The command as the whole of this process, which can write no file of more bytes."""
    sys.modules["tensorboard"] = None  # its one file has a line for each number
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    run_here(folder, arguments, {}, "run")


# the size of the longest file that can be written; the file that is too long; how much of the run there is
DISKS = [(3_000, "checkpoints/last.ckpt", 0), (30_000, "metrics.csv|version_0", 1)]


@pytest.mark.parametrize(("size", "file", "epochs"), DISKS)
def test_a_full_disk_names_the_file_and_the_run_can_be_resumed(size, file, epochs, processes, capsys):
    fit = [*FIT, "--trainer.max_epochs", "200", "--stopping.min_grad_norm", "0", "--stopping.patience", "200"]
    fit += [
        "--checkpoint.every_seconds",
        "0",
        "--data.batch_size",
        "341",
        "--model.hidden",
        "[2, 2, 2, 2]",
    ]  # a step and a long line for each epoch
    process = processes.Process(target=with_small_files, args=(os.getcwd(), fit, size))
    process.start()
    process.join()
    assert process.exitcode == 1
    what = rf"runs/breast_cancer/version_0\S*({file}) cannot be written: File too large"
    err = Path("run.err").read_text()
    assert re.fullmatch(rf"torchbp: error: {what}", re.sub("/version_0 ", "/version_0version_0 ", err.splitlines()[-1]))
    assert "Traceback" not in err
    out = Path("run.out").read_text().splitlines()
    assert [line.split()[0] for line in out] == ["stopped", "run", "resume"][: 2 + epochs]
    assert not list(RUN.rglob("*.part"))
    if epochs:
        soon = ["--stopping.patience", "1", "--stopping.min_delta", "10"]
        assert main([*fit, "--ckpt_path", str(RUN / "checkpoints/last.ckpt"), *soon]) == 0


def test_a_page_that_cannot_be_written_costs_no_closing_line(capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torchbp.training.cli.run_page.write_page", full)
    assert main(FIT) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in out] == ["stopped", "best", "baseline", "run", "watch", "next"]
    assert out[4] == "watch    the page cannot be written: No space left on device"


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("9.0", "was written by torchbp 9.0, and has the setting 'rotation', which torchbp .* does not know; install"),
        (None, "is a checkpoint of another program: .*rotation"),
        (7, "is a checkpoint of another program: .*rotation"),
    ],
)
def test_a_setting_of_a_newer_torchbp_is_called_that(version, message, trained_run, capsys):
    checkpoint = torch.load(trained_run / "checkpoints/best.ckpt", weights_only=True)
    assert isinstance(checkpoint["torchbp_version"], str)
    checkpoint["hyper_parameters"]["rotation"] = 3
    checkpoint["torchbp_version"] = version
    torch.save(checkpoint, "newer.ckpt")
    assert main(["predict", "-c", CONFIG, "--ckpt_path", "newer.ckpt"]) == 1
    assert re.fullmatch(f"torchbp: error: newer.ckpt {message}.*\n", capsys.readouterr().err)
