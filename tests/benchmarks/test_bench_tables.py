"""`torchbp bench tables`: what it makes of a table, and of scores."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV

from torchbp.benchmarks.commands import tables
from torchbp.benchmarks.helpers import real_tables
from torchbp.benchmarks.helpers.real_tables import (
    CLASSES,
    NUMBER,
    read_table,
    split,
    table_files,
    table_models,
    table_records,
    table_scores,
)
from torchbp.benchmarks.helpers.real_tables.table_models import ABLATION, MODELS, PEER, library_models, of_library
from torchbp.benchmarks.helpers.real_tables.table_records import TableRecords, key_of
from torchbp.benchmarks.helpers.real_tables.table_summaries import counted_loss, paired, summaries
from torchbp.cli import main

DUMMIES = {
    PEER: {CLASSES: lambda seed: DummyClassifier(), NUMBER: lambda seed: DummyRegressor()},
    "linear": {CLASSES: lambda seed: LogisticRegression(), NUMBER: lambda seed: RidgeCV()},
}


@pytest.fixture
def folder(tmp_path):
    rng, size = np.random.default_rng(0), 60
    frame = pd.DataFrame({"": range(size), "class": ["1st", "2nd", None] * 20, "age": rng.normal(size=size)})
    frame.loc[:5, "age"] = None
    frame["survived"] = np.where(frame["age"] > 0, "yes", "no")
    frame.loc[59, "survived"] = "perhaps"
    frame.to_csv(tmp_path / "titanic.csv", index=False)
    numbers = pd.DataFrame(rng.normal(size=(size, 9)))
    numbers[7], numbers[8] = "a name", 3 * numbers[0]
    numbers.to_csv(tmp_path / "autompg.csv.gz", index=False, header=False)
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    return tmp_path


def test_a_table_becomes_numbers(folder):
    assert list(table_files(folder)) == ["autompg", "titanic"]
    table = read_table("titanic", folder / "titanic.csv")
    assert list(table.features) == ["class", "age"]
    parts = split(table, 0)
    assert set(parts.y) == set(parts.y_test) == {0, 1}  # the class of one row is left out
    assert (len(parts.y), len(parts.y_test)) == (47, 12)
    one_hot, age, blank = parts.x[:, :3], parts.x[:, 3], parts.x[:, 4]
    assert (one_hot.sum(1) == 1).all()
    assert set(blank) == {0, 1}
    assert (age[blank == 1] == np.median(age[blank == 0])).all()
    for ours, again in zip(parts, split(table, 0), strict=True):
        assert (ours == again).all()
    assert (split(table, 1).x != parts.x).any()
    assert len(split(table, 0, most_rows=30).y) == 24


def test_a_table_without_header_and_a_number_to_predict(folder):
    table = read_table("autompg", folder / "autompg.csv.gz")
    assert table.kind == NUMBER
    assert list(table.features) == list("0123456")
    parts = split(table, 0)
    np.testing.assert_allclose(parts.y, 3 * parts.x[:, 0])


def test_every_table_of_scikit_learn_is_read():
    for name, (_, kind) in real_tables.OF_SKLEARN.items():
        parts = split(read_table(name), 0, most_rows=200)
        assert parts.x.shape[1] == parts.x_test.shape[1]
        assert (len(set(parts.y)) < 11) == (kind == CLASSES)


def test_the_command_prints_means_and_a_summary(folder, monkeypatch, capsys):
    monkeypatch.setattr(table_models, "MODELS", {PEER: DUMMIES[PEER]})
    monkeypatch.setattr(table_models, "PACK", {"linear": DUMMIES["linear"]})
    file = folder / "a.json"
    arguments = ["bench", "tables", str(folder), "--seeds", "2", "--only", "titanic", "autompg", "--json", str(file)]
    arguments.append("--pack")
    assert main(arguments) == 0
    records = json.loads(file.read_text())["results"]
    names = [(r["network"], r["seed"], r["variant"]) for r in records]
    assert names == [(name, seed, variant) for name in ("autompg", "titanic") for seed in (0, 1) for variant in DUMMIES]
    for record in records:
        if record["variant"] == PEER:
            assert record["loss"] == pytest.approx(record["trivial"])
        elif record["network"] == "autompg":
            assert record["score"] > 0.99
    out = capsys.readouterr().out
    assert "log-loss, accuracy and seconds of the processor, means over the seeds" in out
    assert "RMSE / deviation, R² and seconds of the processor, means over the seeds" in out
    *_, table, pairs = out.split("┏")
    (peer, linear), (pair,) = (
        [line.split("│")[2:-1] for line in of.splitlines() if "│" in line] for of in (table, pairs)
    )
    assert [float(cell) for cell in linear[:2]] == [1, 0]  # rank
    assert [float(cell) for cell in peer[:5]] == [2, 0, 1, 0, 0]
    assert float(pair[0]) == pytest.approx(1 / float(linear[2]), rel=0.01)
    assert [int(cell) for cell in pair[2:5]] == [0, 2, 4]
    assert f"{PEER} beside each other one" in out
    assert out.endswith("at most 5000 rows of a table, 2 seeds, one thread\n")


def test_a_bench_that_was_killed_goes_on(folder, monkeypatch, capsys):
    """What is in the file is not measured again; the line that it was writing is cut off."""
    monkeypatch.setattr(table_models, "MODELS", DUMMIES)
    file, scored, fits = folder / "records.jsonl", tables.scored, []

    def killed(model, parts, kind):
        fits.append(len(parts.y))
        if len(fits) == 8:  # each model is trained twice to warm up
            raise KeyboardInterrupt
        return scored(model, parts, kind)

    monkeypatch.setattr(tables, "scored", killed)
    arguments = ["bench", "tables", str(folder), "--only", "autompg", "--records", str(file), "--seeds"]
    assert main([*arguments, "3"]) == 130
    first = file.read_text().splitlines()
    assert len(first) == 3
    file.write_text("\n".join(first) + "\n" + first[0][:40])
    capsys.readouterr()
    monkeypatch.setattr(tables, "scored", lambda *of: fits.append(0) or scored(*of))
    fits.clear()
    assert main([*arguments, "3"]) == 0
    assert len(fits) == 3 + 4  # the other half, and both models to warm up
    lines = file.read_text().splitlines()
    assert lines[:3] == first
    assert len(lines) == 6
    shown = capsys.readouterr().out
    for seeds, measured in (("3", 0), ("4", 2 + 4)):
        fits.clear()
        assert main([*arguments, seeds]) == 0
        assert len(fits) == measured
        assert (capsys.readouterr().out == shown) == (not measured)


def test_a_record_is_of_its_rows_options_and_versions(monkeypatch):
    parts, others = (split(read_table("iris"), seed) for seed in (0, 1))
    key = key_of("ours", MODELS["torchbp's MLP"][CLASSES](0), parts)
    assert key == key_of("ours", MODELS["torchbp's MLP"][CLASSES](0), split(read_table("iris"), 0))
    different = {
        key,
        key_of("theirs", MODELS["torchbp's MLP"][CLASSES](0), parts),
        key_of("ours", MODELS["torchbp's MLP"][CLASSES](1), parts),
        key_of("ours", MODELS["torchbp's MLP"][CLASSES](0).set_params(tol=0), parts),
        key_of("ours", MODELS["torchbp's MLP"][CLASSES](0), others),
        key_of("ours", MODELS["torchbp's MLP"][CLASSES](0), parts._replace(y_test=parts.y_test[::-1])),
    }
    monkeypatch.setattr(table_records, "source_digest", lambda: b"of another source")
    different.add(key_of("ours", MODELS["torchbp's MLP"][CLASSES](0), parts))
    monkeypatch.setattr(table_records, "installed_version", lambda name: "0.1")
    different.add(key_of("ours", MODELS["torchbp's MLP"][CLASSES](0), parts))
    assert len(different) == 8
    theirs = key_of("", MODELS[PEER][CLASSES](0), parts)
    monkeypatch.setattr(table_records, "source_digest", lambda: b"of a third source")
    assert theirs == key_of("", MODELS[PEER][CLASSES](0), parts)
    monkeypatch.setattr(table_scores, "__file__", table_records.__file__)  # another source of what is measured
    assert theirs != key_of("", MODELS[PEER][CLASSES](0), parts)


def test_a_file_of_something_else_is_not_appended_to(tmp_path, capsys):
    for number, text in enumerate(["a,b\n", "3\n", "[]\n", "{}\n"]):
        file = tmp_path / str(number)
        file.write_text(text)
        with pytest.raises(ValueError, match=f"line 1 of .*{number} is no record of bench tables; name another file"):
            TableRecords(file)
        assert file.read_text() == text
    assert main(["bench", "tables", "--records", str(file)]) != 0
    assert "argument --records: line 1 of" in capsys.readouterr().err
    assert main(["bench", "tables", "--records", str(tmp_path / "no" / "file")]) != 0
    assert "cannot be written: No such file or directory" in capsys.readouterr().err


def record(name, seed, variant, loss, s=1.0, task=NUMBER, rows=100):
    found = {"network": name, "seed": seed, "variant": variant, "task": task, "loss": loss, "trivial": 1.0}
    return found | {"score": 0.5, "rows": rows, "s": s}


RECORDS = [
    record("a", 0, PEER, 0.5, 1.0), record("a", 0, "other", 0.25, 3.0), record("a", 0, "bad", 1.5),
    record("a", 1, PEER, 0.4, 1.0), record("a", 1, "other", 0.7, 1.0), record("a", 1, "bad", 1.5),
    record("b", 0, PEER, 0.5, 1.0), record("b", 0, "other", 0.5, 10.0), record("b", 0, "bad", 1.5),
    record("b", 1, PEER, 0.5, 1.0), record("b", 1, "other", 0.5, 10.0), record("b", 1, "bad", 1.5),
]  # fmt: skip


def test_summary():
    found = summaries(RECORDS, PEER)
    ours = found["other"]
    assert ours["normalised"] == pytest.approx((1 + 0.5 + 1 + 1) / 4)
    assert (ours["rank"], ours["rank_error"]) == (1.5, 0)  # of a (1 + 2)/2, of b equal to that of the peer
    logs = math.log(0.25 / 0.5) / 2 + math.log(0.7 / 0.4) / 2, 0.0  # of a and of b
    assert ours["loss_ratio"] == pytest.approx(math.exp(sum(logs) / 2))
    assert ours["loss_ratio_error"] == pytest.approx(ours["loss_ratio"] * abs(logs[0]) / 2)
    assert ours["ratio"] == 24 / 4
    assert (found["bad"]["normalised"], found["bad"]["rank"]) == (0, 3)
    assert np.isnan(ours[CLASSES])


def test_pairs():
    few = [of for of in RECORDS if (of["variant"], of["seed"]) != ("bad", 1)]
    found = paired(few, "other")
    assert list(found) == [PEER, "bad"]
    logs = (math.log(0.25 / 0.5) + math.log(0.7 / 0.4)) / 2, 0.0
    assert found[PEER]["loss_ratio"] == pytest.approx(math.exp(sum(logs) / 2))
    assert found[PEER] | {"lower": 1, "tables": 2, "splits": 4, "ratio": 24 / 4} == found[PEER]
    assert found["bad"] | {"lower": 2, "tables": 2, "splits": 2, "ratio": 13 / 2} == found["bad"]


def test_how_sure_a_model_is_of_rows_that_are_all_right_decides_nothing():
    sure, mild = (record("a", 0, name, loss, task=CLASSES) for name, loss in ((PEER, 1e-6), ("mild", 0.009)))
    assert counted_loss(sure) == counted_loss(mild) == 1 / 100
    assert counted_loss(record("a", 0, PEER, 0.02, task=CLASSES)) == 0.02
    assert counted_loss(record("a", 0, PEER, 1e-6)) == 1e-6
    assert [of["rank"] for of in summaries([sure, mild], PEER).values()] == [1.5, 1.5]


def test_models_that_are_named_are_measured_alone(folder, monkeypatch, capsys):
    monkeypatch.setattr(table_models, "MODELS", DUMMIES)
    arguments = ["bench", "tables", str(folder), "--only", "autompg", "--seeds", "1", "--models"]
    assert main([*arguments, "linear"]) == 0
    out = capsys.readouterr().out
    assert "│ linear" in out
    assert PEER not in out
    assert main([*arguments, "quadratic"]) != 0
    assert f"argument --models: quadratic is not one of {PEER}, linear," in capsys.readouterr().err
    monkeypatch.setattr(table_models, "installed_version", lambda package: None)
    assert main([*arguments, "TabM"]) == 0
    assert "not installed: LightGBM (lightgbm)" in capsys.readouterr().out


def test_folders_without_tables(tmp_path, capsys):
    assert main(["bench", "tables", str(tmp_path)]) != 0
    error = capsys.readouterr().err
    assert "has none of the tables Fair, Mroz," in error
    assert error.count("\n") == 1
    assert main(["bench", "tables", "--only", "chairs"]) != 0
    assert "argument --only: chairs is not one of Fair, Mroz," in capsys.readouterr().err


def test_the_models_are_made_with_their_defaults():
    for kinds in [*MODELS.values(), *ABLATION.values()]:
        for make in kinds.values():
            assert make(3).get_params().get("random_state", 3) == 3
    assert MODELS["torchbp's MLP"][CLASSES](3).get_params() == {
        **MODELS["torchbp's MLP"][NUMBER](0).get_params(),
        "random_state": 3,
    }


def test_each_part_of_the_pack_is_changed_in_the_ablation():
    x, y = load_iris(return_X_y=True)
    small = {"members": 4, "folds": 2, "max_iter": 1}
    found = {}
    for name, kinds in ABLATION.items():
        model = kinds[CLASSES](0)
        assert model.members == {"8 members": 8, "16 members": 16, "32 members": 32, "8 folds": 24}.get(name, 12)
        found[name] = model.set_params(**small).fit(x, y)
    assert {len(of_one.hidden_layer_sizes) for of_one in found["one depth"].configurations_} == {2}
    assert {of_one.hidden_layer_sizes[0] for of_one in found["64 units"].configurations_} == {64}
    assert [of_one.share for of_one in found["no choice"].configurations_] == [0.5, 0.5]


def test_models_of_other_libraries_take_part_where_they_are_installed(monkeypatch):
    """A module of the standard library stands for one of them."""
    stand_in = of_library("sklearn.dummy", "DummyClassifier", "DummyRegressor", strategy="prior")
    packages = {"scikit-learn": {"dummy": stand_in}, "nowhere": {"A": {}, "B": {}}}
    monkeypatch.setattr(table_models, "OF_LIBRARIES", packages)
    models, missing = library_models()
    assert list(models) == ["dummy"]
    assert models["dummy"][CLASSES](3).get_params() == {"constant": None, "random_state": 3, "strategy": "prior"}
    assert missing == "not installed: A and B (nowhere)"
