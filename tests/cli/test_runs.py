"""The command as a user types it: scores, files, closing lines, and every error in one line with its exit status."""

import csv
import os
import pty
import re
import shlex
import sys
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits

from tests.training.pairs import run_here
from torchbp.training import Network, TabularData
from torchbp.training.callbacks.progress import is_due

CONFIGS = Path(__file__).parents[2] / "configs"
CANCER = str(CONFIGS / "breast_cancer.yaml")

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "undrawn")


@pytest.fixture(autouse=True)
def no_page(request):
    if request.node.name != "test_a_sweep_prints_its_table_and_goes_by_the_best":  # which looks at the page
        request.getfixturevalue("without_page")


def scores(text):
    return {name: float(value) for name, value in re.findall(r"^(\S+/\S+) +(\S+)$", text, re.MULTILINE)}


def fit_and_test(run, config, *arguments):
    status, out, _ = run("fit", "-c", config, *arguments)
    assert status == 0
    command = re.search(r"^next +(.*)$", out, re.MULTILINE)[1]
    status, tested, err = run(*shlex.split(command)[1:])
    assert (status, err) == (0, "")
    return scores(tested), out


def test_the_regression_of_the_configs(run):
    tested, out = fit_and_test(run, CONFIGS / "diabetes.yaml")
    assert list(tested) == ["test/loss", "test/rmse", "test/mae", "test/r2"]
    assert 40 < tested["test/mae"] < tested["test/rmse"] < 70
    assert tested["test/r2"] > 0.25
    assert "val/rmse has not fallen in 20 validations" in out or "max_epochs" in out
    best = re.search(r"\S+best.ckpt$", out, re.MULTILINE)[0]
    assert run("predict", "--ckpt_path", best, "--data.source", "diabetes")[0] == 0
    written = [float(row["progression"]) for row in csv.DictReader(Path("predictions.csv").read_text().splitlines())]
    answers = Network.load_from_checkpoint(best).answers(TabularData("diabetes").table.features)
    torch.testing.assert_close(torch.tensor(written), answers[:, 0].double().float(), rtol=1e-4, atol=1e-2)


def test_a_sweep_of_a_regression_is_a_table(run):
    settings = ["--model.lr", "[0.001, 0.01]", "--model.members", 2, "--model.engine", "explicit"]
    status, out, err = run("fit", "--data.source", "diabetes", *settings, "--trainer.max_epochs", 4)
    assert status == 0
    assert "10-64-64-1, 4929 parameters each, 2 values of lr × 2 members" in err
    assert re.search(r"^lr +val/loss +of members +rmse +epochs +stopped by$", out, re.MULTILINE)
    assert re.search(r"^members +val/rmse \d+\.\d+ ± \d+\.\d+ of one alone, spread of the answers \d+\.\d+$", out, re.M)
    best = re.search(r"\S+best.ckpt$", out, re.MULTILINE)[0]
    assert run("predict", "--ckpt_path", best, "--data.source", "diabetes")[0] == 0
    rows = list(csv.DictReader(Path("predictions.csv").read_text().splitlines()))
    assert list(rows[0]) == ["row", "progression", "spread(progression)"]


def test_breast_cancer_over_three_seeds(run, without_page):
    accuracies = [
        fit_and_test(run, CANCER, "--model.engine", "explicit", "--seed_everything", seed, "--data.seed", seed)[0][
            "test/accuracy"
        ]
        for seed in range(3)
    ]
    assert sum(accuracies) / 3 >= 0.96
    assert min(accuracies) >= 0.93


@pytest.mark.processes
def test_a_first_run_prints_only_what_a_person_needs(run, processes):
    """Through a real process, as a pipe sees it; and the line it ends with can be pasted."""
    fit = ["fit", "-c", CANCER, "--stopping.min_grad_norm", "0.05", "--model.engine", "explicit"]
    process = processes.Process(target=run_here, args=(Path.cwd(), fit, {}, "first"))
    process.start()
    process.join()
    assert process.exitcode == 0
    err, out = (Path(f"first.{stream}").read_text() for stream in ("err", "out"))
    header, errs = err.splitlines()[:2], err.splitlines()[2:]
    assert header == [
        "data     breast_cancer: 569 rows × 30 features, 2 classes; rows: 341 train, 114 val, 114 test",
        f"network  30-16-1, 513 parameters, on {'cuda:0' if torch.cuda.is_available() else 'cpu'}",
    ]
    assert 2 <= len(errs) <= 21
    assert all(re.fullmatch(r"epoch +\d+  train/loss \S+  val/accuracy \S+  val/loss \S+", line) for line in errs)
    assert [line.split()[0] for line in out.splitlines()] == ["stopped", "best", "baseline", "page", "next"]
    folder = Path("runs/breast_cancer/version_0")
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert {name for name in files if not name.startswith("events.out.tfevents")} == {
        "config.yaml",
        "hparams.yaml",
        "metrics.csv",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "report.html",
        "curves.png",
        "gradients.png",
    }

    command = shlex.split(out.split("next     ")[1])
    assert command[0] == "torchbp"
    status, tested, err = run(*command[1:])
    assert (status, err) == (0, "")
    assert list(scores(tested)) == ["test/loss", "test/accuracy", "test/f1", "test/auroc"]
    assert [p.name for p in Path("runs/breast_cancer").iterdir()] == ["version_0"]


HEADERS = {
    "breast_cancer": [
        "data     breast_cancer: 569 rows × 30 features, 2 classes; rows: 341 train, 114 val, 114 test",
        "network  30-16-1, 513 parameters, on cpu",
    ],
    "digits": [
        "data     digits: 1797 rows × 64 features, 10 classes; rows: 1077 train, 360 val, 360 test",
        "network  64-64-10, 4810 parameters, on cpu",
    ],
    "xor": [
        "data     xor: 4 rows × 2 features, 2 classes; rows: 4 train, 4 val, 4 test",
        "network  2-4-1, 17 parameters, on cpu",
    ],
}


@pytest.mark.parametrize("name", HEADERS)
def test_every_line_of_stderr(name, run):
    config = ["-c", CONFIGS / f"{name}.yaml", "--trainer.accelerator", "cpu"]
    status, out, err = run("fit", *config, "--trainer.max_epochs", 2)
    assert status == 0
    lines = [re.sub(r"\d+\.\d{4}", "#", line) for line in err.splitlines()]
    epochs = [f"epoch    {epoch}  train/loss #  val/accuracy #  val/loss #" for epoch in (1, 2)]
    assert lines == [*HEADERS[name], *epochs]
    best = re.search(r"\S+best.ckpt$", out, re.MULTILINE)[0]
    for command in ("test", "validate", "predict"):
        status, out, err = run(command, *config, "--ckpt_path", best)
        assert (status, err) == (0, "")
        assert out


def test_an_ensemble_reports_its_members(run):
    tested, out = fit_and_test(run, CANCER, "-c", CONFIGS / "ensemble.yaml", "--trainer.max_epochs", 15)
    assert [line.split()[0] for line in out.splitlines()] == ["stopped", "members", "best", "baseline", "page", "next"]
    assert re.search(r"^members  val/accuracy \d\.\d+ ± \d\.\d+ of one alone, spread of P \d\.\d+$", out, re.MULTILINE)
    names = ["loss", "accuracy", "f1", "auroc", "spread", "member_accuracy", "member_accuracy_std"]
    assert list(tested) == [f"test/{name}" for name in names]
    assert tested["test/accuracy"] >= 0.95
    assert 0 < tested["test/spread"] < 0.1
    best = re.search(r"\S+best.ckpt$", out, re.MULTILINE)[0]
    assert run("predict", "-c", CANCER, "-c", CONFIGS / "ensemble.yaml", "--ckpt_path", best)[0] == 0
    rows = list(csv.DictReader(Path("predictions.csv").read_text().splitlines()))
    assert list(rows[0]) == ["row", "P(benign)", "spread(benign)", "class"]
    x = TabularData("breast_cancer").table.features
    written = [torch.tensor([[float(row[name])] for row in rows]) for name in ("P(benign)", "spread(benign)")]
    expected = Network.load_from_checkpoint(best).predict_proba(x, spread=True)
    torch.testing.assert_close(written, list(expected), rtol=1e-4, atol=1e-6)
    table = list(csv.DictReader(Path("runs/ensemble/version_0/metrics.csv").read_text().splitlines()))
    assert sum(bool(row["val/spread"]) for row in table) == 15


def test_a_sweep_prints_its_table_and_goes_by_the_best(run):
    grid = ["--model.lr", "[0.05, 0.5, 5, 1e30]", "--model.members", 3, "--trainer.max_epochs", 15]
    status, out, err = run("fit", "-c", CANCER, "-c", CONFIGS / "sweep.yaml", *grid)
    assert status == 0
    assert "network  30-16-1, 513 parameters each, 4 values of lr × 3 members, on" in err
    lines = out.splitlines()
    assert re.split("  +", lines[1]) == ["lr", "val/loss", "of members", "accuracy", "epochs", "stopped by"]
    table = [re.split("  +", line) for line in lines[2:6]]
    assert [row[0] for row in table] == ["0.05", "0.5", "5", "1e+30"]
    assert table[0][4:] == ["15", "3 descending"]
    assert table[3][1:] == ["–", "–", "–", "1", "3 diverged"]
    assert max(map(len, lines[1:6])) <= 80
    best = min(table[:3], key=lambda row: float(row[1]))
    assert re.fullmatch(rf"best lr  {best[0]}, whose members together had val/loss {best[1]} at epoch \d+", lines[6])
    assert f"best     val/loss {best[1]}  " in out
    assert "watch    3 members have diverged, and are left out: number 9, 10, 11. A smaller lr helps" in lines
    path = re.search(r"\S+best.ckpt$", out, re.MULTILINE)[0]
    model = Network.load_from_checkpoint(path)
    chosen = model.chosen.view(4, 3)
    assert chosen[[row[0] for row in table].index(best[0])].all()
    assert chosen.sum() == 3
    status, validated, _ = run("validate", "-c", "runs/sweep/version_0/config.yaml", "--ckpt_path", path)
    assert f"{scores(validated)['val/loss']:.4f}" == best[1]
    page = Path("runs/sweep/version_0/report.html").read_text()
    assert "<h2>Sweep</h2>" in page
    assert f"<td>{table[0][2]}</td>" in page


def test_a_sweep_whose_members_all_diverge_is_a_failure(run):
    sweep = ["-c", CANCER, "-c", CONFIGS / "sweep.yaml"]
    status, out, _ = run("fit", *sweep, "--model.lr", "[1e30, 1e31]", "--model.members", 1)
    assert status == 1
    assert "all members have stopped: 2 diverged" in out
    assert "next" not in out


def test_validate(run, checkpoint):
    status, out, err = run("validate", "-c", CANCER, "--ckpt_path", checkpoint)
    assert (status, err, list(scores(out))) == (0, "", ["val/loss", "val/accuracy", "val/f1", "val/auroc"])


def test_predict_writes_every_row(run, checkpoint):
    status, out, err = run("predict", "-c", CANCER, "--ckpt_path", checkpoint)
    assert (status, out, err) == (0, "wrote    predictions.csv: 569 rows\n", "")
    rows = list(csv.DictReader(Path("predictions.csv").read_text().splitlines()))
    assert list(rows[0]) == ["row", "P(benign)", "class"]
    probabilities = Network.load_from_checkpoint(checkpoint, map_location="cpu").predict_proba(
        TabularData("breast_cancer").table.features
    )
    written = torch.tensor([float(row["P(benign)"]) for row in rows])
    torch.testing.assert_close(written, probabilities[:, 0].detach(), rtol=1e-5, atol=1e-7)
    assert [row["class"] for row in rows] == ["benign" if p >= 0.5 else "malignant" for p in written]
    assert [row["row"] for row in rows] == [str(i) for i in range(1, 570)]


def test_predict_replaces_a_file_only_when_asked(run, checkpoint):
    Path("p.csv").write_text("mine")
    arguments = ["predict", "-c", CANCER, "--ckpt_path", checkpoint, "--output", "p.csv"]
    status, _, err = run(*arguments)
    assert (status, Path("p.csv").read_text()) == (2, "mine")
    assert "p.csv exists" in err
    assert run(*arguments, "--overwrite", "true")[0] == 0
    assert Path("p.csv").read_text().startswith("row,")
    assert [p.name for p in Path().iterdir()] == ["p.csv"]


def test_a_flag_beats_a_file_wherever_it_stands(run):
    status, _, err = run("fit", "--trainer.max_epochs", 1, "--model.hidden", "[3]", "-c", CANCER)
    assert status == 0
    assert "network  30-3-1" in err
    assert "epoch    2" not in err


def test_another_order_of_columns_is_refused(run):
    rows = [f"{i * i % 11},{-i % 7},{'no' if i % 2 else 'yes'}" for i in range(40)]
    Path("ab.csv").write_text("\n".join(["a,b,ill", *rows]))
    arguments = ["--data.target", "ill", "--trainer.max_epochs", 1]
    assert run("fit", "--data.source", "ab.csv", *arguments)[0] == 0
    path = "runs/run/version_0/checkpoints/last.ckpt"
    Path("ab.csv").write_text("\n".join(["b,a,ill", *rows]))
    status, _, err = run("fit", "--data.source", "ab.csv", *arguments, "--ckpt_path", path)
    assert status == 2
    assert "the checkpoint has the column 'a' where this command has the column 'b'" in err


def test_predict_names_the_most_probable_of_many_classes(run):
    assert run("fit", "-c", CONFIGS / "digits.yaml", "--trainer.max_epochs", 2)[0] == 0
    path = "runs/digits/version_0/checkpoints/best.ckpt"
    assert run("predict", "-c", CONFIGS / "digits.yaml", "--ckpt_path", path)[0] == 0
    rows = list(csv.DictReader(Path("predictions.csv").read_text().splitlines()))
    assert list(rows[0]) == ["row", *(f"P({digit})" for digit in range(10)), "class"]
    right = 0
    for row, label in zip(rows, load_digits().target, strict=True):
        assert row["class"] == str(max(range(10), key=lambda digit, row=row: float(row[f"P({digit})"])))
        right += row["class"] == str(label)
    assert right > 0.8 * len(rows)


def test_the_closing_figures_are_those_of_the_best_checkpoint(run, monkeypatch):
    start = Network.on_validation_epoch_start

    def spoil(model):
        start(model)
        if model.trainer.state.fn == "fit" and model.current_epoch == 2:
            model.net[-1].bias.data.add_(9)

    monkeypatch.setattr(Network, "on_validation_epoch_start", spoil)
    _, out, _ = run("fit", "-c", CANCER, "--trainer.max_epochs", 3)
    rows = csv.DictReader(Path("runs/breast_cancer/version_0/metrics.csv").read_text().splitlines())
    losses = [float(row["val/loss"]) for row in rows if row["val/loss"]]
    assert losses[-1] > min(losses) * 1.01  # the last is not the best here
    assert re.search(rf"^best +val/loss {min(losses):.4f}  ", out, re.MULTILINE)


def test_the_best_checkpoint_has_the_highest_accuracy(run):
    asked = ["--checkpoint.monitor", "val/accuracy"]
    _, out, _ = run("fit", "-c", CANCER, "--trainer.max_epochs", 9, *asked)
    rows = csv.DictReader(Path("runs/breast_cancer/version_0/metrics.csv").read_text().splitlines())
    accuracies = [float(row["val/accuracy"]) for row in rows if row["val/accuracy"]]
    assert min(accuracies) < max(accuracies)
    assert re.search(rf"^best .* val/accuracy {max(accuracies):.4f}  ", out, re.MULTILINE)


def test_the_next_command_can_be_pasted_whatever_the_run_is_called(run):
    tested, _ = fit_and_test(run, CANCER, "--trainer.max_epochs", 1, "--trainer.logger.init_args.name", "Anna's 1st")
    assert "test/accuracy" in tested


def test_a_checkpoint_made_in_python_is_tested(run):
    from pytorch_lightning import Trainer

    data = TabularData("xor")
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(max_epochs=1, enable_checkpointing=False, accelerator="cpu", **quiet)
    trainer.fit(Network(data.in_features, data.classes, data.columns, data.task), data)
    trainer.save_checkpoint("python.ckpt", weights_only=False)
    status, out, err = run("test", "--data.source", "xor", "--ckpt_path", "python.ckpt")
    assert (status, err) == (0, "")
    assert "test/accuracy" in out


def test_a_diverged_run_is_a_failure(run):
    status, out, _ = run("fit", "-c", CANCER, "--model.lr", "1e30")
    assert status == 1
    assert "no longer a finite number" in out
    assert "next" not in out


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed", "bf16-true"])
def test_other_precisions(precision, run):
    status, _, _ = run("fit", "-c", CANCER, "--trainer.max_epochs", 2, "--trainer.precision", precision)
    assert status == 0
    path = "runs/breast_cancer/version_0/checkpoints/best.ckpt"
    status, out, _ = run("predict", "-c", CANCER, "--ckpt_path", path, "--trainer.precision", precision)
    assert (status, out) == (0, "wrote    predictions.csv: 569 rows\n")


def test_a_terminal_shows_a_bar(run, monkeypatch):
    terminal, end = pty.openpty()
    with open(end, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        status, _, _ = run("fit", "-c", CANCER, "--trainer.max_epochs", 3)
    os.set_blocking(terminal, False)
    shown = os.read(terminal, 2**16)
    os.close(terminal)
    assert status == 0
    assert b"3/3" in shown
    assert b"train/loss" in shown
    assert b"epoch    1" not in shown


def test_resume_goes_on(run, checkpoint):
    last = checkpoint.with_name("last.ckpt")
    status, out, err = run(
        "fit", "-c", CANCER, "--trainer.max_epochs", 3, "--ckpt_path", last,
        "--stopping.min_delta", 10.0, "--stopping.patience", 1,
    )  # fmt: skip
    assert status == 0
    assert "has not fallen by 10 in 1 epochs" in out  # the patience of this command, not the checkpoint's
    assert [line.split()[1] for line in err.splitlines() if line.startswith("epoch")] == ["3"]


def test_the_latest_best_checkpoint_is_named(run):
    for epochs in (1, 2):
        assert run("fit", "-c", CANCER, "--trainer.max_epochs", epochs)[0] == 0
    for command in ("test", "validate", "predict"):
        status, _, err = run(command, "-c", CANCER)
        assert status == 2
        assert err.endswith(f"{command} needs a trained network: add --ckpt_path "
                            "runs/breast_cancer/version_1/checkpoints/best.ckpt\n")  # fmt: skip


def test_a_run_is_never_written_over(run):
    arguments = ["fit", "-c", CANCER, "--trainer.max_epochs", 1, "--trainer.logger.init_args.version", 5]
    assert run(*arguments)[0] == 0
    before = {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()}
    status, _, err = run(*arguments)
    assert status == 2
    assert "runs/breast_cancer/version_5 exists; leave the logger's version out" in err
    assert {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()} == before


def test_fit_without_a_run_folder_is_refused(run):
    Path("config.yaml").write_text("mine")
    for logger in ("false", "true"):
        status, out, err = run("fit", "-c", CANCER, "--trainer.logger", logger, "--trainer.max_epochs", 1)
        assert (status, out) == (2, "")
        assert "a run needs a logger with a folder" in err
    assert Path("config.yaml").read_text() == "mine"
    assert [path.name for path in Path().iterdir()] == ["config.yaml"]


def test_a_log_without_an_end_has_few_lines():
    assert [epoch for epoch in range(1, 1001) if is_due(epoch, -1)] == [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]
    assert [epoch for epoch in range(1, 8) if is_due(epoch, 7)] == list(range(1, 8))
    assert sum(is_due(epoch, 1234) for epoch in range(1, 1235)) <= 21


def test_a_best_epoch_after_which_nothing_is_left_to_train(run):
    fit = ["fit", "-c", CANCER, "--trainer.max_epochs", 1]
    assert run(*fit)[0] == 0
    status, out, err = run(*fit, "--ckpt_path", "runs/breast_cancer/version_0/checkpoints/best.ckpt")
    assert status == 0, err
    assert out.startswith("stopped  after 1 epoch: max_epochs 1 is reached\n")
    assert "version_1/checkpoints" not in out  # it has no checkpoint
