"""A run that was interrupted and resumed ends as an uninterrupted one: the same weights, bit for bit."""

import csv
import functools
import itertools
import os
import pkgutil
import random
import re
import shlex
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from tests.commands import command_in
from tests.training.kills import fit_here, killed_in_writing
from tests.training.trainers import network, quiet_trainer
from torchbp.cli import main

CONFIG = Path(__file__).parent.parent.parent / "configs/breast_cancer.yaml"
FIT = [
    "fit", "-c", str(CONFIG), "--model.momentum", "0.9", "--model.hidden", "[8, 4]", "--trainer.max_epochs", "12",
    "--trainer.accelerator", "cpu", "--stopping.min_grad_norm", "1e-9", "--stopping.patience", "15",
    "--stopping.min_delta", "0.02", "--checkpoint.monitor", "val/accuracy", "--checkpoint.every_seconds", "0",
]  # fmt: skip
LAST = Path("runs/breast_cancer/version_0/checkpoints/last.ckpt")

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "undrawn")


@pytest.fixture(autouse=True)
def no_page(request):
    if "the page" not in request.node.name:
        request.getfixturevalue("without_page")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    with command_in(folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr("torchbp.training.cli.run_page.write_page", lambda *_: None)
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
    a, b = as_first(content(path)), as_first(content(other))
    assert a.keys() == b.keys()
    for name, value in a.items():
        if isinstance(value, torch.Tensor):
            same = value.dtype == b[name].dtype and torch.allclose(value, b[name], rtol=0, atol=0, equal_nan=True)
        else:
            same = value == b[name]
        assert same, f"{name}: {value} and {b[name]}"


def as_first(flat):
    """As if the run were version_0."""
    return {
        name.replace("version_1", "version_0"): value.replace("version_1", "version_0")
        if isinstance(value, str)
        else value
        for name, value in flat.items()
    }


def assert_as_uninterrupted(uninterrupted):
    assert_same(LAST, uninterrupted / LAST)
    assert_same(LAST.with_name("best.ckpt"), uninterrupted / LAST.with_name("best.ckpt"))
    ours, theirs = (losses(folder / LAST.parent.parent / "metrics.csv") for folder in (Path(), uninterrupted))
    assert ours == theirs
    assert [path.name for path in Path("runs/breast_cancer").iterdir()] == ["version_0"]  # it went on in its folder
    assert not list(LAST.parent.glob(".*"))


def losses(path):
    """Epoch: the losses, and the gradient of layer 1."""
    found = {}
    for row in csv.DictReader(path.read_text().splitlines()):
        for name in ("train/loss", "val/loss", "dz_rms/1"):
            if row[name]:
                assert (row["epoch"], name) not in found, "an epoch was written twice"
                found[row["epoch"], name] = row[name]
    return found


def resume():
    assert main([*FIT, "--ckpt_path", str(LAST)]) == 0


@pytest.mark.parametrize("moment", [0, *(pytest.param(n, marks=pytest.mark.exhaustive) for n in range(1, 10))])
def test_kill_9_at_a_random_moment(moment, uninterrupted, processes, capsys):
    delay = random.Random(moment).uniform(0, 0.6)
    process = processes.Process(target=fit_here, args=(os.getcwd(), FIT))
    process.start()
    while not LAST.exists():
        assert process.is_alive()
        time.sleep(0.01)
    time.sleep(delay)
    process.kill()
    process.join()
    resume()
    assert_as_uninterrupted(uninterrupted)


MORE = [pytest.param(*which, marks=pytest.mark.exhaustive) for which in [(6, 0), (7, 0), (0, 8)]]


@pytest.mark.parametrize(("save", "replace"), [(3, 0), (0, 5), *MORE])
def test_killed_while_a_checkpoint_is_written(save, replace, uninterrupted, processes, capsys):
    killed_in_writing(processes, FIT, save=save, replace=replace)
    assert list(LAST.parent.glob(".*.part"))
    resume()
    assert_as_uninterrupted(uninterrupted)


def test_killed_before_there_is_a_checkpoint(processes, capsys):
    """The line says how to start again, and that command works."""
    killed_in_writing(processes, FIT, save=1)
    run = LAST.parent.parent
    assert main(["fit", "--ckpt_path", str(run)]) == 1
    assert f"{run} has no checkpoint; start that run again: torchbp fit -c {run}/config.yaml" in capsys.readouterr().err
    assert main(["fit", "-c", f"{run}/config.yaml", "--trainer.max_epochs", "1"]) == 0


MOMENTS = {  # where a signal comes, how often that is passed before, and the signal
    "the first step": ("torchbp.training.Network.training_step", 0, signal.SIGTERM),
    "a step": ("torchbp.training.Network.training_step", 37, signal.SIGINT),
    "validation": ("torchbp.training.Network.validation_step", 3, signal.SIGTERM),
    "a logger's queue": ("queue.Queue._put", 60, signal.SIGINT),  # of TensorBoard: its lock is held
    "writing a checkpoint": ("torch.save", 5, signal.SIGTERM),
    "the end of the last epoch": ("torchbp.training.UntilMinimum.on_train_epoch_end", 11, signal.SIGINT),
    "the page": ("torchbp.training.cli.run_page.describe_hardest", 0, signal.SIGTERM),
}


def signal_at(monkeypatch, target, passed, number):
    """Send this process a signal at the end of a call of `target`, after so many calls."""
    owner, name = target.rsplit(".", 1)
    owner = pkgutil.resolve_name(owner)
    function, calls = getattr(owner, name), itertools.count()

    @functools.wraps(function)  # Lightning looks at the names of the arguments
    def wrapped(*arguments, **named):
        found = function(*arguments, **named)
        if next(calls) == passed:
            os.kill(os.getpid(), number)
        return found

    monkeypatch.setattr(owner, name, wrapped)


RARE = "validation", "writing a checkpoint", "the end of the last epoch"
BY_NAME = [pytest.param(name, marks=pytest.mark.exhaustive if name in RARE else ()) for name in MOMENTS]


@pytest.mark.parametrize("moment", BY_NAME)
def test_a_signal_ends_the_run_between_two_steps(moment, uninterrupted, capsys, monkeypatch):
    target, passed, number = MOMENTS[moment]
    with monkeypatch.context() as patch:
        signal_at(patch, target, passed, number)
        assert main(FIT) == 128 + number
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == ["stopped", "run", "resume"]
    assert re.search(r"after \d+ epochs?: it was interrupted", lines[0])
    assert "Traceback" not in err
    resuming = shlex.split(lines[-1])
    assert resuming[-3:] == ["fit", "--ckpt_path", str(LAST.parent.parent)]  # the run's config.yaml has all settings
    assert main(resuming[-3:]) == 0
    assert_as_uninterrupted(uninterrupted)


def test_an_epoch_is_finished_if_its_checkpoint_waits(uninterrupted, capsys, monkeypatch):
    """The files are of the start; the step is the sixth one of the third epoch, of eleven."""
    with monkeypatch.context() as patch:
        signal_at(patch, "torchbp.training.Network.training_step", 27, signal.SIGINT)
        assert main([*FIT, "--checkpoint.every_seconds", "1000", "--trainer.min_epochs", "9"]) == 130
    assert content(LAST)["/global_step"] == 33
    resume()
    assert_as_uninterrupted(uninterrupted)


def test_a_long_epoch_is_not_finished(capsys, monkeypatch):
    monkeypatch.setattr("torchbp.training.callbacks.interruption.GRACE", 0)
    signal_at(monkeypatch, "torchbp.training.Network.training_step", 27, signal.SIGINT)
    assert main([*FIT, "--checkpoint.every_seconds", "1000"]) == 130
    assert content(LAST)["/global_step"] == 0


def test_another_precision(uninterrupted, capsys):
    fit = [*FIT, "--trainer.precision", "64-true"]
    assert main(fit) == 0
    assert main([*fit, "--trainer.max_epochs", "4"]) == 0
    half = str(LAST).replace("version_0", "version_1")
    assert main([*fit, "--ckpt_path", half]) == 0
    for name in ("last.ckpt", "best.ckpt"):
        a, b = content(LAST.with_name(name)), content(Path(half).with_name(name))
        for key in ("/state_dict/net.0.weight", "/optimizer_states/0/state/0/momentum_buffer"):
            assert torch.equal(a[key], b[key])
            assert a[key].dtype == torch.float64


def test_a_run_that_was_moved_or_is_elsewhere(uninterrupted, capsys, monkeypatch):
    assert main([*FIT, "--trainer.max_epochs", "6"]) == 0
    Path("runs/breast_cancer").rename("runs/moved")
    Path("sub").mkdir()
    monkeypatch.chdir("sub")
    last = Path("../runs/moved/version_0/checkpoints/last.ckpt")
    capsys.readouterr()
    assert main([*FIT, "--ckpt_path", str(last)]) == 0
    assert "runs/moved/version_0/checkpoints/best.ckpt\n" in capsys.readouterr().out
    assert [path.name for path in Path().iterdir()] == []
    for name in ("last.ckpt", "best.ckpt"):
        ours, theirs = content(last.with_name(name)), content((uninterrupted / LAST).with_name(name))
        assert torch.equal(ours["/state_dict/net.0.weight"], theirs["/state_dict/net.0.weight"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--trainer.max_epochs", "5"], "the checkpoint has done 12 epochs, more than trainer.max_epochs=5"),
        (["--data.batch_size", "7"], "the checkpoint has 32 rows a step, but this command has 7"),
        (["--model.lr", "0.1"], "the checkpoint has lr=0.5, but this command has 0.1"),
    ],
    ids=str,
)
def test_a_refused_resume_changes_nothing(flags, message, uninterrupted, capsys):
    shutil.copytree(uninterrupted / "runs", "runs")
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert main([*FIT, "--ckpt_path", str(LAST), *flags]) == 2
    assert message in capsys.readouterr().err
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


def test_a_checkpoint_names_nothing_that_is_deleted(uninterrupted, capsys):
    shutil.copytree(uninterrupted / "runs", "runs")
    Path("victim").mkdir()
    Path("victim/file").write_text("mine")
    state = torch.load(LAST, weights_only=True)
    (checkpoint,) = (value for name, value in state["callbacks"].items() if "BestAndLast" in name)
    victim = f"{LAST.parent}/../../../../victim"
    score = torch.tensor(-9.0)
    checkpoint |= {
        "best_model_path": victim, "kth_best_model_path": victim, "last_model_path": victim,
        "best_k_models": {victim: score}, "best_model_score": score, "kth_value": score,
    }  # fmt: skip
    torch.save(state, LAST)
    assert main([*FIT, "--ckpt_path", str(LAST), "--trainer.max_epochs", "14"]) == 0
    assert "victim" not in capsys.readouterr().out
    assert Path("victim/file").read_text() == "mine"


DAMAGES = {
    "callbacks": [5, None], "loops": [5, {}], "optimizer_states": [[3], 3], "lr_schedulers": [3], "random_state": ["x"],
    "pytorch-lightning_version": ["x.y", 5], "TabularData": [5, {}], "datamodule_hyper_parameters": [5], "epoch": ["1"],
}  # fmt: skip


OF_PARTS = [
    pytest.param(part, value, marks=pytest.mark.exhaustive if place else ())
    for part, values in DAMAGES.items()
    for place, value in enumerate(values)
]


@pytest.mark.parametrize(("part", "value"), OF_PARTS, ids=str)
def test_a_damaged_part_is_named(part, value, uninterrupted, capsys):
    shutil.copytree(uninterrupted / "runs", "runs")
    state = torch.load(LAST, weights_only=True)
    state[part] = value
    torch.save(state, LAST)
    assert main([*FIT, "--ckpt_path", str(LAST)]) in (1, 2)
    err = capsys.readouterr().err
    assert err.splitlines()[-1].startswith("torchbp: error: ")
    assert "Traceback" not in err
    del state[part]
    torch.save(state, LAST)
    assert main([*FIT, "--ckpt_path", str(LAST)]) == 1
    assert f"last.ckpt cannot be resumed: its part {part!r} is missing or damaged" in capsys.readouterr().err


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


SEVERAL = [
    ["--model.engine", "explicit"],
    ["--model.engine", "explicit", "--model.lr", "[0.001, 1, 3, 1e30]", "--model.members", "2"],
    ["--model.engine", "autograd", "--model.members", "3", "--model.momentum", "0"],
]
WITH_MARKS = [*SEVERAL[:2], pytest.param(SEVERAL[2], marks=pytest.mark.exhaustive)]


@pytest.mark.parametrize("settings", WITH_MARKS, ids=" ".join)
def test_the_engine_and_ensembles_go_on(settings, capsys):
    """At the middle some members have stopped, and some have diverged."""
    fit = [*FIT, *settings, "--stopping.min_grad_norm", "0.05", "--stopping.patience", "7"]
    assert main(fit) == 0
    assert main([*fit, "--trainer.max_epochs", "9"]) == 0
    half = Path(str(LAST).replace("version_0", "version_1"))
    if "1e30" in str(settings):
        (why,) = (value for name, value in content(half).items() if name.endswith("/why"))
        assert {0, 2, 3} <= set(why.tolist())
    assert main([*fit, "--ckpt_path", str(half)]) == 0
    assert_same(half, LAST)
    assert_same(half.with_name("best.ckpt"), LAST.with_name("best.ckpt"))
    assert losses(LAST.parent.parent / "metrics.csv") == losses(half.parent.parent / "metrics.csv")


def test_a_killed_sweep_goes_on(processes, capsys):
    fit = [*FIT, *SEVERAL[1]]
    assert main(fit) == 0
    killed_in_writing(processes, fit, save=7)
    half = Path(str(LAST).replace("version_0", "version_1"))
    assert main([*fit, "--ckpt_path", str(half)]) == 0
    assert_same(half, LAST)
    assert_same(half.with_name("best.ckpt"), LAST.with_name("best.ckpt"))


def test_files_that_are_written_seldom_are_the_same(uninterrupted, capsys):
    assert main([*FIT, "--checkpoint.every_seconds", "1000"]) == 0
    assert_as_uninterrupted(uninterrupted)


def test_a_run_that_is_killed_between_two_files_goes_on_from_the_first(uninterrupted, processes, capsys):
    seldom = [*FIT, "--checkpoint.every_seconds", "1000"]
    killed_in_writing(processes, seldom, save=2)  # best.ckpt, at the end
    assert content(LAST)["/epoch"] == 0
    resume()
    assert_as_uninterrupted(uninterrupted)


@pytest.mark.parametrize("name", ["why", "best", "waited", "epochs"])
def test_a_damaged_rule_of_stopping_is_refused(name, uninterrupted, capsys):
    shutil.copytree(uninterrupted / "runs", "runs")
    state = torch.load(LAST, weights_only=True)
    (rule,) = (value for key, value in state["callbacks"].items() if "UntilMinimum" in key)
    rule[name] = torch.zeros(3)
    torch.save(state, LAST)
    assert main([*FIT, "--ckpt_path", str(LAST)]) == 1
    assert f"{name} of UntilMinimum is damaged" in capsys.readouterr().err


def test_another_number_of_batches_at_once_is_refused(uninterrupted, capsys):
    fit = [*FIT, "--model.engine", "explicit", "--trainer.max_epochs", "2"]
    assert main(fit) == 0
    assert main([*fit, "--ckpt_path", str(LAST), "--data.batches_at_once", "3"]) == 2
    assert "the checkpoint has data.batches_at_once=64, but this command has 3; use the same" in capsys.readouterr().err


def test_random_numbers_go_on(tmp_path):
    import pytorch_lightning as pl

    from torchbp.training import TabularData

    class Draw(pl.Callback):
        def __init__(self):
            self.drawn = []

        def on_train_batch_start(self, *_):
            self.drawn.append(torch.rand(()).item())

    def fit(epochs, path=None):
        torch.manual_seed(3)
        data, draw = TabularData("digits", batch_size=512), Draw()
        trainer = quiet_trainer(max_epochs=epochs, callbacks=[draw])
        trainer.fit(network(data), data, ckpt_path=path, weights_only=True)
        trainer.save_checkpoint(tmp_path / f"{epochs}.ckpt")
        return draw.drawn

    whole, first = fit(4), fit(2)
    assert first + fit(4, tmp_path / "2.ckpt") == whole
