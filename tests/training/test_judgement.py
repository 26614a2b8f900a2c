"""What a person needs to judge a run: the baseline, losses at the end, importance of columns, plots of the answers."""

import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import accuracy_score, log_loss, mean_squared_error

from torchbp.cli import main
from torchbp.training import Network, TabularData
from torchbp.training.cli.importance import column_importance, loss_of
from torchbp.training.cli.judgement import baseline_scores, baseline_troubles, loss_troubles
from torchbp.training.report.answer_plots import calibration_plot, precision_plot, regression_plots

CONFIG = str(Path(__file__).parents[2] / "configs/breast_cancer.yaml")


def made_for(source):
    data = TabularData(source)
    model = Network(data.in_features, data.classes, data.columns, task=data.task)
    model.fit_statistics(*data.rows("train"))
    return model.eval(), data


@pytest.mark.parametrize("source", ["breast_cancer", "digits"])
def test_the_baseline_of_classes_is_scikit_learns_dummy(source):
    model, data = made_for(source)
    (x, y, *_), (val_x, val_y, *_) = data.rows("train"), data.rows("val")
    dummy = DummyClassifier(strategy="prior").fit(x, y.ravel())
    found = baseline_scores(model, data)
    labels = val_y.ravel().numpy()
    assert found["loss"] == pytest.approx(log_loss(labels, dummy.predict_proba(val_x), labels=dummy.classes_), rel=1e-5)
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, dummy.predict(val_x)), abs=0.01)


@pytest.mark.parametrize("source", ["breast_cancer", "digits"])
def test_the_baseline_of_weighted_classes_has_the_accuracy_of_the_largest_one(source):
    data = TabularData(source)
    weight = {data.classes[0]: 9.0}  # the class that the best loss then answers with is not the largest
    model = Network(data.in_features, data.classes, data.columns, task=data.task, class_weight=weight)
    model.fit_statistics(*data.rows("train"))
    (_, y, *_), (_, val_y, *_) = data.rows("train"), data.rows("val")
    largest = y.flatten().mode().values
    found = baseline_scores(model.eval(), data)
    assert found["accuracy"] == pytest.approx(float((val_y.flatten() == largest).float().mean()), abs=0.01)
    assert found["loss"] < model.task.constant_loss(val_y) * 1.1


def test_the_baseline_of_numbers_is_scikit_learns_dummy():
    model, data = made_for("diabetes")
    (x, y, *_), (val_x, val_y, *_) = data.rows("train"), data.rows("val")
    expected = mean_squared_error(val_y, DummyRegressor().fit(x, y).predict(val_x)) ** 0.5
    assert baseline_scores(model, data)["rmse"] == pytest.approx(expected, rel=1e-4)


# of a run on the table titanic: the loss goes up and down around its minimum
WAVERS = np.array([4553, 4550, 4630, 4492, 4595, 4577, 4516, 4568, 4604, 4535, 4561, 4538, 4592, 4584]) / 1e4
FALLS, RISES = np.linspace(1, 0.2, 30), np.concatenate([np.linspace(1, 0.4, 10), np.linspace(0.41, 0.8, 20)])


@pytest.mark.parametrize(
    ("train", "val", "reached", "message"),
    [
        (FALLS, FALLS, True, "val/loss was still falling when max_epochs 30 was reached"),
        (FALLS, None, True, "train/loss was still falling when max_epochs 30 was reached"),
        (FALLS, FALLS, False, None),
        (FALLS, RISES, True, "val/loss has risen since epoch 10, from 0.4000 to 0.8000"),
        (FALLS, RISES, False, "it overfits"),
        (FALLS[:14], WAVERS, False, None),
        (RISES, RISES, True, None),  # the training loss rises too
        (np.full(30, 0.5), np.full(30, 0.5), True, None),
        (FALLS[:3], FALLS[:3], True, None),
    ],
)
def test_losses_at_the_end(train, val, reached, message):
    columns = {"train/loss": train, **({} if val is None else {"val/loss": val})}
    found = loss_troubles(pd.DataFrame({"epoch": range(len(train)), **columns}), reached)
    assert len(found) == (message is not None)
    assert message is None or message in found[0]


@pytest.mark.parametrize("members", [None, 3])
def test_the_column_that_matters_is_the_most_important(members):
    data = TabularData(
        pd.DataFrame({"noise": np.arange(40.0) % 7, "colour": list("ab") * 20, "y": list("pq") * 20}), "y"
    )
    model = Network(data.in_features, data.classes, data.columns, members=members, hidden=[])
    with torch.no_grad():
        for parameter in model.net.parameters():
            parameter.zero_()
        model.net[0].weight[..., -1] = 9.0  # of colour=b
    x, y = data.rows("train")
    model.scaling.fit(x)
    assert column_importance(model.eval(), x, y, networks=10**9) == []  # it would take too long
    found = column_importance(model, x, y)
    assert [name for name, *_ in found] == ["colour", "noise"]
    assert sum(count for _, count, _ in found) == data.in_features
    assert found[0][2] > 0.5
    assert found[1][2] == pytest.approx(0, abs=1e-6)
    assert loss_of(model, x, y, None, torch.arange(40)) < 0.1


def test_plots_of_answers():
    rng = np.random.default_rng(0)
    p = rng.random((500, 1))
    truth = (rng.random((500, 1)) < p).astype(float)
    (curve,) = calibration_plot(["yes"], truth, p).curves
    np.testing.assert_allclose(curve.x, curve.y, atol=0.2)
    assert len(curve.x) == 10
    (curve,) = precision_plot(["yes"], truth, p).curves
    assert curve.y.min() == pytest.approx(truth.mean(), abs=0.1)
    assert precision_plot(["yes"], np.ones_like(truth), p) is None
    assert calibration_plot(["yes"], np.ones_like(truth), p) is None
    predicted, residuals = regression_plots(["t"], 3 * p, 3 * p + 1)
    np.testing.assert_allclose(residuals.curves[0].y, -1)
    assert predicted.line[0] == predicted.line[1]


@pytest.mark.usefixtures("in_an_empty_folder", "undrawn")
def test_the_page_gets_the_scores_of_the_test_rows(capsys):
    assert main(["fit", "-c", CONFIG, "--trainer.max_epochs", "2"]) == 0
    page = Path("runs/breast_cancer/version_0/report.html")
    text = page.read_text()
    assert "They are not known yet" in text
    assert "shuffled among them" in text
    assert "<h3>30 features</h3><p>mean radius, " in text
    assert main(["test", "--ckpt_path", "runs/breast_cancer/version_0"]) == 0
    accuracy = re.search(r"test/accuracy +(\S+)", capsys.readouterr().out)[1]
    assert f"<dt>test/accuracy</dt><dd>{accuracy}</dd>" in page.read_text()
    assert "They are not known yet" not in page.read_text()
    assert page.read_text().partition("<h2>Test rows")[0] == text.partition("<h2>Test rows")[0]


@pytest.mark.usefixtures("in_an_empty_folder", "undrawn")
def test_a_run_is_used_from_its_folder_alone_wherever_it_lies(capsys, monkeypatch, tmp_path_factory):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"name": [f"n{i}" for i in range(80)], "a": rng.normal(size=80), "b": list("uv") * 40})
    frame["y"] = np.where(frame.a > 0, "pos", "neg")
    frame.to_csv("t.csv", index=False)
    settings = ["--data.target", "y", "--data.id", "name", "--model.hidden", "[3]", "--trainer.max_epochs", "2"]
    assert main(["fit", "--data.source", "t.csv", *settings]) == 0
    capsys.readouterr()
    run = Path("runs/run/version_0").absolute()

    def all_commands():
        for command in ("test", "validate", "predict", "explain"):
            assert main([command, "--ckpt_path", str(run)]) == 0, capsys.readouterr().err
        answers = pd.read_csv("predictions.csv")
        Path("predictions.csv").unlink()
        return answers, capsys.readouterr().out

    here = all_commands()
    assert list(here[0]) == ["name", "P(pos)", "class"]
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    there = all_commands()
    assert here[1] == there[1]
    pd.testing.assert_frame_equal(here[0], there[0])
    # another file, with labels and without the names of rows
    other = frame.assign(a=rng.normal(size=80))[["b", "a", "y"]]
    other.to_csv("other.csv", index=False)
    assert main(["test", "--ckpt_path", str(run), "--data.source", "other.csv"]) == 0
    out, err = capsys.readouterr()
    assert "all 80 rows are scored" in err
    network = Network.load_from_checkpoint(str(run / "checkpoints/best.ckpt"))
    expected = accuracy_score(other.y, network.task.predicted(network.answers(other)))
    assert float(re.search(r"test/accuracy +(\S+)", out)[1]) == pytest.approx(expected, abs=1e-4)
    assert main(["predict", "--ckpt_path", str(run), "--data.source", "other.csv"]) == 0
    assert next(io.StringIO(Path("predictions.csv").read_text())) == "row,P(pos),class\n"


@pytest.mark.usefixtures("in_an_empty_folder", "undrawn")
def test_the_next_command_of_a_run_without_test_rows_names_a_file(capsys):
    assert main(["fit", "-c", CONFIG, "--trainer.max_epochs", "1", "--data.test_fraction", "0"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.endswith("test --ckpt_path runs/breast_cancer/version_0 --data.test_source FILE")


@pytest.mark.usefixtures("in_an_empty_folder", "without_page")
@pytest.mark.parametrize("recipe", [["--recipe", "pack", "--model.members", "3"], ["--model.lr", "0.1"]], ids=str)
def test_a_network_that_is_no_better_than_one_answer_is_told(recipe, capsys, monkeypatch):
    monkeypatch.setattr("torchbp.training.cli.run_page.write_pack_page", lambda *_: None)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(100, 9)), columns=list("abcdefghi"))
    for noise, told in ((True, True), (False, False)):
        frame["y"] = np.where((rng.normal(size=100) if noise else frame.a) > 0, "pos", "neg")
        frame.to_csv("t.csv", index=False)
        fit = ["fit", "--data.source", "t.csv", "--data.target", "y", *recipe]
        assert main(fit) == 0
        watch = re.findall("^watch +(.*)$", capsys.readouterr().out, re.MULTILINE)
        assert any("that of one answer for all rows" in line for line in watch) == told
    assert baseline_troubles(0.5, {"loss": 0.5})
    assert not baseline_troubles(0.49, {"loss": 0.5})
    assert baseline_troubles(float("nan"), {"loss": 0.5})
    assert not baseline_troubles(0.5, {})
