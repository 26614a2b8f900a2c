"""Training on two processes: the same weights as one, every row once, and a last line that resumes the run."""

import csv
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import warnings
from datetime import timedelta
from pathlib import Path
from unittest import mock

import pytest
import torch

from tests.training.pairs import Pair, free_port, torchrun_here
from torchbp.cli import main
from torchbp.training.cli.processes import group_to_wait_in, wait_for_all
from torchbp.training.data.batches import Batches

CONFIGS = Path(__file__).parent.parent.parent / "configs"
CANCER = ["-c", str(CONFIGS / "breast_cancer.yaml"), "--trainer.accelerator", "cpu"]
TWO = ["-c", str(CONFIGS / "ddp.yaml")]
TORCHBP = [sys.executable, "-m", "torchbp"]
RUN = Path("runs/breast_cancer/version_0")

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("in_an_empty_folder")]


@pytest.fixture
def alone(capsys, undrawn):
    """Runs a command in this process: stdout and stderr."""

    def alone(*arguments, status=0):
        # Lightning's launcher leaves its variables, and a command that inherits them would wait for processes of others
        with warnings.catch_warnings(), mock.patch.dict(os.environ):
            assert main(list(arguments)) == status
        return capsys.readouterr()

    return alone


def last(version):
    path = RUN.with_name(f"version_{version}") / "checkpoints/last.ckpt"
    return torch.load(path, weights_only=True)["state_dict"]


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_batches_hold_each_row_once(processes):
    for rows, size in ((341, 16), (4, 8), (7, 1)):
        parts = [list(Batches(rows, size, rank, processes, order=5)) for rank in range(processes)]
        alone = list(Batches(rows, size * processes, order=5))
        assert {len(part) for part in parts} == {len(alone)} == {len(Batches(rows, size, 0, processes))}
        for number, batch in enumerate(alone):
            pieces = [part[number] for part in parts]
            assert torch.equal(torch.cat(pieces).sort().values, batch.sort().values)
            shares = [Batches(rows, size, rank, processes).share(number) for rank in range(processes)]
            assert shares == [len(piece) * processes / len(batch) for piece in pieces]
        assert torch.equal(torch.cat(alone).sort().values, torch.arange(rows))


def test_two_processes_are_one_with_the_doubled_batch(alone, processes):
    fit = ["fit", *CANCER, "--trainer.precision", "64-true", "--trainer.max_epochs", "4", "--model.momentum", "0.5"]
    torchrun = processes.Process(target=torchrun_here, args=(Path.cwd(), [*fit, *TWO, "--data.batch_size", "16"]))
    torchrun.start()
    torchrun.join()
    assert torchrun.exitcode == 0
    assert [line.split()[0] for line in Path("0.out").read_text().splitlines()] == [
        "stopped",
        "best",
        "baseline",
        "page",
        "next",
    ]
    err = Path("0.err").read_text().splitlines()
    assert [line.split()[0] for line in err] == ["data", "network", *["epoch"] * 4]
    assert err[1] == "network  30-16-1, 513 parameters, on cpu × 2 processes"
    assert Path("1.out").read_text() == Path("1.err").read_text() == ""
    alone(*fit, "--data.batch_size", "32")
    for name, single in last(1).items():
        torch.testing.assert_close(last(0)[name], single, rtol=1e-9, atol=1e-9)
    two, one = (history(RUN.with_name(f"version_{version}")) for version in (0, 1))
    assert two.keys() == one.keys()
    assert two == pytest.approx(one, rel=1e-6)

    best = ["--ckpt_path", f"{RUN}/checkpoints/best.ckpt"]
    test = ["test", "-c", f"{RUN}/config.yaml", *best, "--trainer.devices"]
    tested = Pair(processes, [*test, "2"])
    assert tested.join() == [0, 0]
    assert tested.text(0, "out") == alone(*test, "1").out


OTHERS = {
    "digits": ["--model.class_weight", "balanced", "--model.label_smoothing", "0.1", "--model.clip", "0.5",
               "--checkpoint.monitor", "val/auroc", "--model.optimizer", "adamw"],
    "diabetes": ["--model.loss", "huber", "--model.schedule", "cosine", "--model.norm", "layer",
                 "--model.optimizer", "adam", "--stopping.monitor", "val/r2"],
}  # fmt: skip


@pytest.mark.parametrize("source", OTHERS)
def test_two_processes_are_one_for_each_task_and_optimizer(source, alone, processes):
    fit = ["fit", "--data.source", source, *OTHERS[source], "--trainer.accelerator", "cpu", "--trainer.max_epochs", "2"]
    fit += ["--trainer.precision", "64-true"]
    pair = Pair(processes, [*fit, *TWO, "--data.batch_size", "96"])
    assert pair.join() == [0, 0]
    alone(*fit, "--data.batch_size", "192")
    folders = [Path(f"runs/run/version_{version}") for version in (0, 1)]
    two, one = (torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"] for folder in folders)
    for name, single in one.items():
        torch.testing.assert_close(two[name], single, rtol=1e-9, atol=1e-9)
    two, one = map(history, folders)
    assert two.keys() == one.keys()
    assert two == pytest.approx(one, rel=1e-6)


@pytest.fixture
def of_two(monkeypatch):
    """Makes this process one of the two that torchrun starts."""

    def of_two(rank):
        for name, value in {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}.items():
            monkeypatch.setenv(name, str(value))
        for name, value in {
            "TORCHELASTIC_RUN_ID": "x",
            "GROUP_RANK": "0",
            "MASTER_ADDR": "x",
            "MASTER_PORT": "1",
        }.items():
            monkeypatch.setenv(name, value)

    return of_two


def test_the_first_process_predicts(alone, of_two):
    alone("fit", *CANCER, "--trainer.max_epochs", "1")
    predict = ["predict", "-c", f"{RUN}/config.yaml", "--ckpt_path", f"{RUN}/checkpoints/best.ckpt"]
    of_two(1)
    assert alone(*predict) == ("", "")
    assert not Path("predictions.csv").exists()
    of_two(0)
    assert alone(*predict) == ("wrote    predictions.csv: 569 rows\n", "")
    rows = list(csv.DictReader(Path("predictions.csv").read_text().splitlines()))
    assert [row["row"] for row in rows] == [str(number) for number in range(1, 570)]


def history(folder):
    rows = csv.DictReader((folder / "metrics.csv").read_text().splitlines())
    return {
        (row["epoch"], name): float(value)
        for row in rows
        for name, value in row.items()
        if value and name not in ("epoch", "step")
    }


def test_copies_that_know_nothing_of_each_other_are_refused(alone, of_two):
    of_two(0)
    assert alone("fit", *CANCER, status=2).err == (
        "torchbp: error: 2 processes were started, and each would fit for itself; add --trainer.strategy ddp "
        "--trainer.devices 2 --trainer.num_nodes 1\n"
    )
    of_two(1)
    assert alone("fit", *CANCER, status=2) == ("", "")  # the first one says it
    assert not list(Path().iterdir())


def test_a_process_without_a_row_of_the_last_batch(alone, processes):
    """341 training rows: 17 batches of 20, and one row that is left. A sweep, in which a network stops at once."""
    fit = ["fit", *CANCER, "--trainer.precision", "64-true", "--trainer.max_epochs", "2"]
    fit += ["--model.lr", "[0.1, 1.0, 1e30]", "--stopping.min_grad_norm", "0.15"]
    pair = Pair(processes, [*fit, *TWO, "--data.batch_size", "10"])
    assert pair.join() == [0, 0]
    _, one = alone(*fit, "--data.batch_size", "20")
    assert pair.text(0, "err").splitlines()[2:] == one.splitlines()[2:]  # losses and accuracies
    for name, single in last(1).items():
        torch.testing.assert_close(last(0)[name], single, rtol=1e-9, atol=1e-9, equal_nan=True)


ENDLESS = ["--trainer.max_epochs", "100000", "--stopping.min_grad_norm", "0", "--stopping.patience", "100000"]


@pytest.mark.exhaustive
def test_a_process_that_the_run_has_started_is_killed():
    status, out, err = started_process_killed(["fit", *CANCER, *TWO, *ENDLESS])
    assert status == 1
    assert check_lost(out, err, 0)


def test_a_run_that_one_process_ends_goes_on_by_the_line_that_it_prints(processes):
    """Killed, a process leaves the other one alone; after a signal to one of them both stop before the same step."""
    statuses, out, err = ended_by(processes, ["fit", *CANCER, *TWO, *ENDLESS], 0, signal.SIGKILL)
    assert statuses == [-signal.SIGKILL, 1]
    assert err[0].startswith("data     breast_cancer: 569 rows")
    arguments = check_lost(out, err, 1)
    statuses, out, err = ended_by(processes, arguments, 1, signal.SIGTERM)
    assert statuses == [128 + signal.SIGTERM] * 2
    assert "Traceback" not in "".join(err)
    assert [line.split()[0] for line in out] == ["stopped", "run", "resume"]
    assert {line.split()[0] for line in err} == {"data", "network", "epoch"}
    assert resumed_arguments(out[-1])
    assert [path.name for path in RUN.parent.iterdir()] == ["version_0"]


def check_lost(out, err, left):
    """What a run prints whose process number `left` is left. Returns the arguments that resume it."""
    assert "Traceback" not in "".join(err)
    assert out == []
    resume, error = err[-2:]
    assert error.startswith(f"torchbp: error: process {left} of 2 has lost the others: ")
    return resumed_arguments(resume)


def resumed_arguments(line):
    return shlex.split(re.fullmatch(r"resume   (?:.* )?torchbp (fit .*)\n", line)[1])


def ended_by(processes, arguments, victim, number):
    """Statuses, and the lines of stdout and stderr, of a pair after an epoch, where one was sent a signal."""
    pair = Pair(processes, arguments)
    while "\nepoch" not in pair.text(0, "err"):
        assert not pair.has_ended()
        time.sleep(0.01)
    os.kill(pair.processes[victim].pid, number)
    statuses = pair.join()
    return statuses, *((pair.text(0, stream) + pair.text(1, stream)).splitlines(True) for stream in ("out", "err"))


def started_process_killed(arguments):
    """Status, and the lines of stdout and stderr, of a run that starts its second process, which is killed."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*TORCHBP, *arguments], **streams, text=True) as process:
        err = []
        for line in process.stderr:
            err.append(line)
            if line.startswith("epoch"):
                break
        assert err[0].startswith("data     breast_cancer: 569 rows")
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(child), signal.SIGKILL)
        err += process.stderr.readlines()  # to its end: both processes have ended
        return process.wait(), process.stdout.readlines(), err


def wait_in_turn(rank, port):
    """Process 1 comes late, when the group of the run would have given up."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2, timeout=timedelta(seconds=1))
    group = group_to_wait_in()
    time.sleep(1.6 * rank)
    wait_for_all(group)
    torch.distributed.destroy_process_group()


def test_a_process_waits_for_another_one_longer_than_the_group_of_the_run(processes):
    port = free_port()
    both = [processes.Process(target=wait_in_turn, args=(rank, port)) for rank in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
