"""`torchbp fit … --data.folds K`: a network for each part of the rows, its scores, and the answers to all rows."""

import re
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, mean_squared_error

from torchbp.training import Network
from torchbp.training.cli import folds

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "without_page")

FIT = ["fit", "--recipe", "mlp", "--data.source", "t.csv", "--trainer.max_epochs", 3, "--data.batch_size", 16]
MEAN = r"^test/(\w+) +(\S+) ± (\S+)$"
FOLD = r"^fold (\d) +(.*)$"


@pytest.fixture(autouse=True)
def table(in_an_empty_folder):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=90), "b": rng.normal(size=90)})
    frame["ill"] = np.where(frame.a + 0.3 * frame.b > 0, "yes", "no")
    frame["dose"] = (20_000 + 3 * frame.a - frame.b).round(2)
    frame.to_csv("t.csv", index=False)
    return frame


def scores(out):
    """{metric: (mean, deviation)}, and {metric: [score of each part]}."""
    parts = [dict(re.findall(r"test/(\w+) (\S+)", line)) for _, line in re.findall(FOLD, out, re.MULTILINE)]
    each = {name: [float(part[name]) for part in parts] for name in parts[0]}
    return {name: (float(mean), float(std)) for name, mean, std in re.findall(MEAN, out, re.MULTILINE)}, each


def test_classes(run, table):
    status, out, err = run(*FIT, "--data.target", "ill", "--data.ignore", "[dose]", "--data.folds", 3)
    assert status == 0, err
    assert [line.split()[0] for line in err.splitlines() if not line.startswith("epoch")] == [
        "fold", "task", "data", "columns", "classes", "network", *["fold", "data", "network"] * 2
    ]  # fmt: skip
    means, each = scores(out)
    assert {"loss", "accuracy"} <= set(means) == set(each)
    for name, values in each.items():
        assert len(values) == 3
        assert means[name] == pytest.approx((np.mean(values), np.std(values, ddof=1)), abs=2e-4)
    rows = pd.read_csv("runs/run/version_0/out_of_fold.csv")
    assert rows.row.tolist() == list(range(1, 91))
    assert rows.fold.value_counts().tolist() == [30, 30, 30]
    assert rows.label.tolist() == table.ill.tolist()
    accuracies = [accuracy_score(part.label, part["class"]) for _, part in rows.groupby("fold")]
    assert accuracies == pytest.approx(each["accuracy"], abs=1e-4)
    network = Network.load_from_checkpoint("runs/run/version_0/fold_2/checkpoints/best.ckpt")
    part = rows[rows.fold == 2]
    expected = network.answers(table.loc[part.row - 1, ["a", "b"]])
    np.testing.assert_allclose(part["P(yes)"], expected[:, 0], rtol=1e-4)
    # a part is a run, that is scored on its test rows
    status, tested, err = run("test", "--ckpt_path", "runs/run/version_0/fold_2")
    assert (status, err) == (0, "")
    assert float(re.search(r"test/accuracy +(\S+)", tested)[1]) == each["accuracy"][1]


def test_numbers(run, table):
    status, out, err = run(*FIT, "--data.target", "dose", "--data.ignore", "[ill]", "--data.folds", 2)
    assert status == 0, err
    _, each = scores(out)
    rows = pd.read_csv("runs/run/version_0/out_of_fold.csv")
    assert rows.label.tolist() == table.dose.tolist()  # every digit of them
    errors = [mean_squared_error(part.label, part.dose) ** 0.5 for _, part in rows.groupby("fold")]
    assert errors == pytest.approx(each["rmse"], rel=1e-3)


def test_several_targets_have_a_column_each(run, table):
    several = ["--trainer.max_epochs", 1, "--data.folds", 2, "--data.ignore", "[ill]"]
    assert run(*FIT, *several, "--data.target", "[b, dose]")[0] == 0
    rows = pd.read_csv("runs/run/version_0/out_of_fold.csv")
    assert list(rows) == ["row", "fold", "label(b)", "label(dose)", "b", "dose"]
    np.testing.assert_allclose(rows[["label(b)", "label(dose)"]], table[["b", "dose"]], rtol=1e-6)
    labels = table.assign(ill=(table.ill == "yes").astype(int), odd=np.arange(90) % 2)
    labels.to_csv("t.csv", index=False)
    assert run(*FIT, *several[:4], "--data.target", "[ill, odd]")[0] == 0
    rows = pd.read_csv("runs/run/version_1/out_of_fold.csv")
    np.testing.assert_array_equal(rows[["label(ill)", "label(odd)"]], labels[["ill", "odd"]])
    assert list(rows)[4:] == ["P(ill)", "P(odd)", "ill", "odd"]


def test_one_fold_is_one_run(run):
    status, out, _ = run(*FIT, "--data.target", "ill", "--data.folds", 3, "--data.fold", 2)
    assert status == 0
    assert out.startswith("stopped")
    assert Path("runs/run/version_0/metrics.csv").exists()


def same_runs(folder, other):
    """Whether the best networks of the three parts are the same, bit for bit."""
    for fold in ("fold_1", "fold_2", "fold_3"):
        paths = (where / fold / "checkpoints/best.ckpt" for where in (folder, other))
        one, two = (torch.load(path, weights_only=True)["state_dict"] for path in paths)
        assert one.keys() == two.keys()
        assert all(torch.equal(one[name], two[name]) for name in one)
    return (folder / "out_of_fold.csv").read_text() == (other / "out_of_fold.csv").read_text()


def test_a_signal_ends_all_of_them_and_they_go_on_together(run, monkeypatch):
    fit = [*FIT, "--data.target", "ill", "--data.folds", 3, "--trainer.max_epochs", 2, "--checkpoint.every_seconds", 0]
    assert run(*fit)[0] == 0
    whole, half = Path("runs/run/version_0"), Path("runs/run/version_1")
    start = Network.on_train_epoch_start

    def interrupt(network):
        start(network)
        if network.trainer.datamodule.hparams.fold == 2 and network.current_epoch == 1:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Network, "on_train_epoch_start", interrupt)
        status, out, _ = run(*fit)
    assert status == 130
    assert [line.split()[0] for line in out.splitlines()] == ["fold", "stopped", "run", "folds", "resume"]
    assert out.endswith("fit --ckpt_path runs/run/version_1\n")
    assert not (half / "out_of_fold.csv").exists()
    assert not (half / "fold_3").exists()
    (half / "fold_3").mkdir()
    (half / "fold_3/config.yaml").write_text("of a run that was killed before its first checkpoint")
    first = (half / "fold_1/checkpoints/best.ckpt").read_bytes()
    status, out, err = run("fit", "--ckpt_path", half)
    assert status == 0, err
    assert re.findall(r"^epoch +(\d)", err, re.MULTILINE) == ["2", "1", "2"]  # of the parts 2, 3
    assert (half / "fold_1/checkpoints/best.ckpt").read_bytes() == first
    assert same_runs(whole, half)
    means, _ = scores(out)
    assert {"loss", "accuracy"} <= means.keys()
    status, _, err = run("fit", "--ckpt_path", half, "--model.lr", 0.5)
    assert status == 2
    assert "lr" in err.splitlines()[-1]
    status, _, err = run("fit", "--ckpt_path", half / "fold_2", "--data.fold", "null")
    assert status == 2
    assert "last.ckpt is no folder with runs fold_1, fold_2, …" in err


def test_an_error_in_a_part_says_how_to_go_on(run, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "out")

    answers = folds._answers
    monkeypatch.setattr(folds, "_answers", lambda command, fold: full() if fold == 2 else answers(command, fold))
    status, out, err = run(*FIT, "--data.target", "ill", "--data.folds", 2, "--trainer.max_epochs", 1)
    assert status == 1
    assert [line.split()[0] for line in out.splitlines()][-2:] == ["folds", "resume"]
    assert err.splitlines()[-1] == "torchbp: error: out: No space left on device"


def test_a_folder_that_exists_is_refused_and_stays(run):
    notes = Path("runs/run/mine/fold_1/notes.txt")
    notes.parent.mkdir(parents=True)
    notes.write_text("of a person")
    version = ["--trainer.logger.init_args.version", "mine"]
    status, out, err = run(*FIT, "--data.target", "ill", "--data.folds", 2, *version)
    assert (status, out) == (2, "")
    assert "mine exists; leave the logger's version out, or resume it with --ckpt_path" in err
    assert notes.read_text() == "of a person"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ("--data.folds 1", 2, "data.folds=1"),
        ("--data.folds 3 --data.fold 4", 2, "data.fold=4 must lie between 1 and data.folds=3"),
        ("--data.fold 2", 2, "data.fold=2 needs data.folds"),
        ("--data.folds 3 --trainer.logger false", 2, "data.folds needs the folder of a CSVLogger"),
        ("--data.folds 3 --trainer.fast_dev_run true", 2, "data.folds needs the folder of a CSVLogger"),
        ("--data.folds 3 --data.source -", 2, "data.folds reads the rows for each part, and stdin can be read once"),
        ("--data.folds 99", 1, "too few rows to split: 90 rows; add rows, or change data.folds"),
    ],
)
def test_odd_settings(arguments, status, message, run):
    got, out, err = run(*FIT, "--data.target", "ill", *arguments.split())
    assert (got, out) == (status, "")
    assert re.search(f"torchbp: error: .*{message}.*\n$", err), err
