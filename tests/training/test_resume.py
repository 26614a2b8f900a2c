"""A run that was cut off goes on as if nothing had happened: the same weights, bit for bit."""

import csv
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch

from torchbp.cli import main

CONFIG = Path(__file__).parent.parent.parent / "configs/breast_cancer.yaml"
FIT = [
    "fit", "-c", str(CONFIG), "--model.momentum", "0.9", "--model.hidden", "[8, 4]", "--trainer.max_epochs", "25",
    "--trainer.accelerator", "cpu", "--stopping.min_grad_norm", "1e-9", "--stopping.patience", "15",
    "--stopping.min_delta", "0.02", "--checkpoint.monitor", "val/accuracy",
]  # fmt: skip
LAST = Path("runs/breast_cancer/version_0/checkpoints/last.ckpt")


@pytest.fixture(autouse=True)
def in_this_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["torchbp"])
    with warnings.catch_warnings():
        yield


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["torchbp"])
        assert main(FIT) == 0
    return folder


def content(path):
    """What a checkpoint holds, as one flat dict of numbers and tensors."""
    flat = {}

    def put(name, value):
        if isinstance(value, dict):
            for key, inner in value.items():
                put(f"{name}/{key}", inner)
        elif isinstance(value, (list, tuple)):
            put(name, dict(enumerate(value)))
        else:
            flat[name] = value

    put("", torch.load(path, weights_only=True))
    return flat


def assert_same(path, other):
    a, b = content(path), content(other)
    assert a.keys() == b.keys()
    for name, value in a.items():
        same = torch.equal(value, b[name]) if isinstance(value, torch.Tensor) else value == b[name]
        assert same, f"{name}: {value} and {b[name]}"


def assert_as_uninterrupted(uninterrupted):
    assert_same(LAST, uninterrupted / LAST)
    assert_same(LAST.with_name("best.ckpt"), uninterrupted / LAST.with_name("best.ckpt"))
    ours, theirs = (losses(folder / LAST.parent.parent / "metrics.csv") for folder in (Path(), uninterrupted))
    assert ours == theirs
    assert [path.name for path in Path("runs/breast_cancer").iterdir()] == ["version_0"]  # it went on in its folder
    assert not list(LAST.parent.glob(".*"))


def losses(path):
    """Epoch: val/loss, and the gradient of layer 1."""
    found = {}
    for row in csv.DictReader(path.read_text().splitlines()):
        for name in ("val/loss", "dz_rms/1"):
            if row[name]:
                assert (row["epoch"], name) not in found, "an epoch was written twice"
                found[row["epoch"], name] = row[name]
    return found


def resume():
    assert main([*FIT, "--ckpt_path", str(LAST)]) == 0


def started(*program):
    process = subprocess.Popen(
        [sys.executable, *program, *FIT], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    while not LAST.exists():
        assert process.poll() is None
        time.sleep(0.01)
    return process


@pytest.mark.parametrize("moment", range(10))
def test_kill_9_at_a_random_moment(moment, uninterrupted, capsys):
    delay = random.Random(moment).uniform(0, 1.5)
    process = started("-m", "torchbp")
    time.sleep(delay)
    process.kill()
    process.communicate()
    resume()
    assert_as_uninterrupted(uninterrupted)


# the third file that is written: the first last.ckpt, best.ckpt, last.ckpt
KILL_ITSELF = """
import os, signal, sys, torch
from torchbp.cli import main
written, save, replace = [], torch.save, os.replace
def half(checkpoint, path):
    written.append(path)
    save(checkpoint, path)
    if len(written) == {save}:
        os.truncate(path, os.path.getsize(path) // 2)
        os.kill(os.getpid(), signal.SIGKILL)
def never(source, target):
    if len(written) == {replace}:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
torch.save, os.replace = half, never
sys.argv = ["torchbp"]
main({fit})
"""


@pytest.mark.parametrize(("save", "replace"), [(3, 0), (6, 0), (7, 0), (0, 5), (0, 8)])
def test_killed_while_a_checkpoint_is_written(save, replace, uninterrupted, capsys):
    code = KILL_ITSELF.format(save=save, replace=replace, fit=FIT)
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    assert list(LAST.parent.glob(".*.part"))
    resume()
    assert_as_uninterrupted(uninterrupted)


def test_sigterm_stops_cleanly_and_says_how_to_go_on(uninterrupted, capsys):
    process = started("-m", "torchbp")
    time.sleep(0.3)
    process.terminate()
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == ["stopped", "run", "resume"]
    assert lines[-1].endswith(f"--ckpt_path {LAST}")
    resume()
    assert_as_uninterrupted(uninterrupted)


def test_a_finished_run_stays_as_it_is(uninterrupted, capsys):
    shutil.copytree(uninterrupted / "runs", "runs")
    resume()
    assert "val/loss" not in capsys.readouterr().err  # no epoch was trained
    assert_as_uninterrupted(uninterrupted)


def test_an_older_checkpoint_starts_a_run_of_its_own(uninterrupted, capsys):
    shutil.copytree(uninterrupted / "runs", "runs")
    best = LAST.with_name("best.ckpt")
    before = {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()}
    assert main([*FIT, "--ckpt_path", str(best)]) == 0
    assert all(path.read_bytes() == data for path, data in before.items())
    assert torch.equal(
        content(str(LAST).replace("version_0", "version_1"))["/state_dict/net.0.weight"],
        content(LAST)["/state_dict/net.0.weight"],
    )


def test_random_numbers_go_on(tmp_path):
    import pytorch_lightning as pl

    from torchbp.training import Classifier, TabularData

    class Draw(pl.Callback):
        def __init__(self):
            self.drawn = []

        def on_train_batch_start(self, *_):
            self.drawn.append(torch.rand(()).item())

    def fit(epochs, path=None):
        torch.manual_seed(3)
        data, draw = TabularData("digits", batch_size=512), Draw()
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = pl.Trainer(
            max_epochs=epochs, callbacks=[draw], enable_checkpointing=False, accelerator="cpu", **quiet
        )
        trainer.fit(Classifier(data.in_features, data.classes), data, ckpt_path=path, weights_only=True)
        trainer.save_checkpoint(tmp_path / f"{epochs}.ckpt")
        return draw.drawn

    whole, first = fit(4), fit(2)
    assert first + fit(4, tmp_path / "2.ckpt") == whole
