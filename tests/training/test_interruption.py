"""Signals: their handlers, and commands that they end. Runs that are resumed afterwards: test_resume.py."""

import os
import pkgutil
import signal
from pathlib import Path

import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer

from torchbp.cli import main
from torchbp.training.callbacks import interruption
from torchbp.training.callbacks.interruption import SIGNALS, Interruption

CONFIG = str(Path(__file__).parent.parent.parent / "configs/breast_cancer.yaml")

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
    with Interruption() as heard, heard.between_steps():
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
        assert [signal.getsignal(number) for number in SIGNALS] == [heard.handle] * 2


def signal_in(monkeypatch, target, number, error=None):
    """`target` sends a signal first; what that raises is raised as `error`, as a library may do."""
    module, name = target.rsplit(".", 1)
    function = getattr(pkgutil.resolve_name(module), name)

    def with_signal(*arguments, **named):
        try:
            os.kill(os.getpid(), number)
        except KeyboardInterrupt:
            raise error or KeyboardInterrupt from None
        return function(*arguments, **named)

    monkeypatch.setattr(target, with_signal)


@pytest.mark.parametrize("error", [None, ImportError("initialization failed")], ids=str)
@pytest.mark.parametrize("command", ["fit", "test"])
def test_before_the_first_step_it_is_one_line(command, error, checkpoint, monkeypatch, capsys):
    signal_in(monkeypatch, "torchbp.training.data.tabular.load_table", signal.SIGINT, error)
    trained = [] if command == "fit" else ["--ckpt_path", checkpoint]
    assert main([command, "-c", CONFIG, *trained]) == 130
    assert capsys.readouterr() == ("", "torchbp: interrupted before the first step\n")
    assert list(Path().iterdir()) == []


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
    monkeypatch.setattr("torchbp.training.data.sources.ROWS_AT_ONCE", 10)
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
