"""Signals: their handlers, and commands that they end. Runs that are resumed afterwards: test_resume.py."""

import multiprocessing.reduction
import os
import pkgutil
import pty
import random
import signal
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from sklearn.datasets import load_breast_cancer

from tests.commands import without_pictures
from tests.training import signals
from tests.training.pairs import run_here
from torchbp.cli import main
from torchbp.training.callbacks import interruption
from torchbp.training.callbacks.interruption import SIGNALS, Interruption

CONFIG = str(Path(__file__).parent.parent.parent / "configs/breast_cancer.yaml")
FIT = ["fit", "-c", CONFIG]
SOON = ["--trainer.max_epochs", "100000", "--stopping.patience", "1", "--stopping.min_delta", "10"]  # ends in an epoch

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "undrawn")


@pytest.fixture
def checkpoint(trained_run):
    return str(trained_run / "checkpoints/best.ckpt")


@pytest.fixture
def clock(monkeypatch):
    """The time, as a list of one number, and the signals that were sent by `os.kill`."""
    now, sent = [0.0], []
    monkeypatch.setattr(interruption.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(interruption.os, "kill", lambda pid, number: sent.append((pid, number)))
    return now, sent


@pytest.mark.parametrize("number", SIGNALS)
def test_the_second_signal_ends_the_process_at_once(number, clock):
    now, sent = clock
    with Interruption() as heard:
        heard.setup(None, None, "fit")
        signal.raise_signal(number)
        now[0] = interruption.SAME_SIGNAL / 2
        signal.raise_signal(number)  # the same one, sent twice
        assert heard.number == number
        assert sent == []
        assert signal.getsignal(number) == heard.handle
        now[0] = interruption.SAME_SIGNAL * 1.01
        signal.raise_signal(number)
        assert sent == [(os.getpid(), number)]
        assert signal.getsignal(number) == signal.SIG_DFL


@pytest.mark.parametrize("number", SIGNALS)
def test_handlers_are_put_back_and_an_ignored_signal_stays_ignored(number):
    before = signal.getsignal(number)
    try:
        for handler in (signal.SIG_IGN, lambda *_: None):
            signal.signal(number, handler)
            with Interruption() as heard:
                assert (signal.getsignal(number) == signal.SIG_IGN) == (handler == signal.SIG_IGN)
                heard.on_train_start(None, None)
                assert (signal.getsignal(number) == signal.SIG_IGN) == (handler == signal.SIG_IGN)
            assert signal.getsignal(number) == handler
    finally:
        signal.signal(number, before)


def test_sigterm_is_the_systems_before_the_processes_have_met():
    with Interruption() as heard:
        before = signal.getsignal(signal.SIGTERM)
        assert before != heard.handle
        heard.setup(None, None, "fit")
        assert signal.getsignal(signal.SIGTERM) == heard.handle
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("hook", ["train", "validation", "test", "predict"])
def test_it_hears_again_what_lightning_has_taken(hook):
    with Interruption() as heard:
        signal.signal(signal.SIGTERM, lambda *_: None)
        getattr(heard, f"on_{hook}_start")(None, None)
        assert [signal.getsignal(number) for number in SIGNALS] == [heard.handle] * len(SIGNALS)


def signal_in(monkeypatch, target, number):
    """`target` sends a signal first."""
    module, name = target.rsplit(".", 1)
    function = getattr(pkgutil.resolve_name(module), name)

    def with_signal(*arguments, **named):
        os.kill(os.getpid(), number)
        return function(*arguments, **named)

    monkeypatch.setattr(target, with_signal)


def interrupted_in(target, folder, arguments):
    """The command as the whole of this process. A call of `target` sends it Ctrl-C, and takes an exception for an error
    of its own, as libraries do."""

    def call(*_, **__):
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except BaseException:
            raise ImportError("initialization failed") from None

    signal.signal(signal.SIGINT, signal.default_int_handler)
    module, name = target.rsplit(".", 1)
    setattr(pkgutil.resolve_name(module), name, call)
    run_here(folder, arguments, {}, "run")


@pytest.mark.parametrize("target", ["data.tabular.load_table", "cli.arguments.packaged"])
def test_before_the_first_step_it_is_one_line(target, processes):
    process = processes.Process(target=interrupted_in, args=(f"torchbp.training.{target}", Path.cwd(), FIT))
    process.start()
    process.join()
    assert process.exitcode == 130
    assert (Path("run.out").read_text(), Path("run.err").read_text()) == ("", "torchbp: interrupted\n")
    assert {path.name for path in Path().iterdir()} == {"run.out", "run.err"}


def test_a_handler_of_the_caller_is_called_before_the_first_step(monkeypatch):
    class Theirs(Exception):
        pass

    def handler(*_):
        raise Theirs

    before = signal.signal(signal.SIGINT, handler)
    try:
        signal_in(monkeypatch, "torchbp.training.cli.command.configs_first", signal.SIGINT)
        with pytest.raises(Theirs):
            main(["fit", "-c", CONFIG])
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


BEFORE_A_BATCH = {
    "validate": "torchbp.training.Network.on_validation_epoch_start",
    "test": "torchbp.training.Network.on_test_epoch_start",
    "predict": "torchbp.training.cli.predictions.encode",
}


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("command", BEFORE_A_BATCH)
def test_other_commands_end_between_two_batches(command, number, checkpoint, monkeypatch, capsys):
    signal_in(monkeypatch, BEFORE_A_BATCH[command], number)
    assert main([command, "-c", CONFIG, "--ckpt_path", checkpoint]) == 128 + number
    assert capsys.readouterr() == ("", "")
    assert list(Path().iterdir()) == []


def test_predict_leaves_no_half_file(checkpoint, monkeypatch, capsys):
    """The signal comes after the first of several pieces was written."""
    monkeypatch.setattr("torchbp.training.data.reading.files.ROWS_AT_ONCE", 10)
    x = pd.DataFrame(load_breast_cancer().data, columns=load_breast_cancer().feature_names)
    x.to_csv("x.csv", index=False)
    parts, write = [], pd.DataFrame.to_csv

    def write_and_signal(*arguments, **named):
        write(*arguments, **named)
        parts.extend(Path().glob(".p.csv.*"))
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(pd.DataFrame, "to_csv", write_and_signal)
    command = ["predict", "--ckpt_path", checkpoint, "--data.source", "x.csv", "--output", "p.csv"]
    assert main(command) == 128 + signal.SIGTERM
    assert capsys.readouterr() == ("", "")
    assert len(parts) == 1
    assert [path.name for path in Path().iterdir()] == ["x.csv"]


@pytest.mark.parametrize(
    ("engine", "tensorboard", "numbers"),
    [
        ("autograd", True, SIGNALS[1:2]),
        *(pytest.param(*kind, SIGNALS[:2], marks=pytest.mark.exhaustive) for kind in signals.KINDS[::3]),
    ],
)
def test_signals_at_random_moments(engine, tensorboard, numbers, processes):
    """More of them: python -m tests.training.signals 100."""
    whole, draw = Path.cwd() / "whole", random.Random(engine)
    whole.mkdir()
    seconds = signals.uninterrupted(processes, whole, engine, tensorboard)
    for number in numbers:
        folder = Path.cwd() / number.name
        folder.mkdir()
        signals.send(processes, folder, engine, tensorboard, number, draw.uniform(0, seconds))
        signals.assert_same_weights(folder, whole)


def at_a_terminal(folder, arguments, end):
    """The command as the whole of this process, which is the first of a terminal's session."""
    os.login_tty(end.detach())
    os.environ["TERM"] = "xterm"
    run_with_new_streams(folder, arguments)


def run_with_new_streams(folder, arguments):
    """The command, after the files behind its streams were replaced."""
    sys.stdout, sys.stderr = (open(fd, "w", buffering=1, closefd=False) for fd in (1, 2))  # noqa: SIM115
    os.chdir(folder)
    torch.set_num_threads(1)
    sys.argv = ["torchbp"]
    with without_pictures():
        sys.exit(main(arguments))


def test_a_closed_terminal_ends_the_run(processes, capsys):
    """It is gone: what is printed afterwards would be an error."""
    terminal, end = pty.openpty()
    endless = [*FIT, "--trainer.max_epochs", "-1", "--stopping.patience", "100000"]
    process = processes.Process(target=at_a_terminal, args=(Path.cwd(), endless, multiprocessing.reduction.DupFd(end)))
    process.start()
    os.close(end)
    shown = b""
    while b"train/loss" not in shown:
        shown += os.read(terminal, 2**16)
    os.close(terminal)
    process.join()
    assert process.exitcode == 128 + signal.SIGHUP
    last = Path("runs/breast_cancer/version_0/checkpoints/last.ckpt")
    assert main(["fit", "-c", CONFIG, "--ckpt_path", str(last), *SOON]) == 0


def into_a_pipe(folder, arguments, end, streams):
    """The command as the whole of this process; these of its streams go into a pipe."""
    for stream in streams:
        os.dup2(end.detach() if stream == streams[0] else streams[0], stream)
    run_with_new_streams(folder, arguments)


@pytest.mark.parametrize("streams", [[1], [2, 1]], ids=["stdout", "both"])
def test_a_reader_that_has_seen_enough_ends_the_run(streams, processes, capsys):
    """As of `torchbp fit … 2>&1 | head -1`; without 2>&1, after the last epoch."""
    reader, writer = os.pipe()
    few = [*FIT, "--stopping.patience", "100000", "--trainer.max_epochs", "9" if streams == [1] else "-1"]
    end = multiprocessing.reduction.DupFd(writer)
    process = processes.Process(target=into_a_pipe, args=(Path.cwd(), few, end, streams))
    process.start()
    os.close(writer)
    seen = b""
    while 2 in streams and b"train/loss" not in seen:
        seen += os.read(reader, 2**16)
    os.close(reader)
    process.join()
    assert process.exitcode == 128 + signal.SIGPIPE
    run = Path("runs/breast_cancer/version_0")
    assert (run / "report.html").exists() == (streams == [1])
    more = ["--trainer.max_epochs", "10"] if streams == [1] else SOON
    assert main(["fit", "-c", CONFIG, "--ckpt_path", str(run / "checkpoints/last.ckpt"), *more]) == 0
