"""A user's own table: texts, blanks, labels of any kind, several targets, a column of names, files without labels."""

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from tests.training.data.tables import table
from tests.training.trainers import ARTICLE_FLAGS
from torchbp.cli import main
from torchbp.training import Network, TabularData
from torchbp.training.errors import UserError

ONE = {"target": "ill", "id": "key", "ignore": ["note", "fever", "cough"], "categorical": ["code"]}

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


@pytest.fixture(autouse=True)
def no_page(request):
    if request.node.name != "test_several_targets":  # which looks at the page
        request.getfixturevalue("without_page")


def write(frame, name="a.csv"):
    frame.to_csv(name, index=False) if name.endswith("csv") else frame.to_parquet(name)
    return name


def fit(*arguments, status=0):
    assert (
        main(["fit", "--trainer.accelerator", "cpu", "--trainer.max_epochs", "5", *ARTICLE_FLAGS, *map(str, arguments)])
        == status
    )


def options(settings):
    return [part for name, value in settings.items() for part in (f"--data.{name}", str(value))]


def predicted(capsys, *arguments, status=0):
    capsys.readouterr()
    path = "runs/run/version_0/checkpoints/best.ckpt"
    assert main(["predict", "--ckpt_path", path, *arguments]) == status
    return capsys.readouterr().err


@pytest.mark.parametrize("name", ["b.csv", "b.parquet"])
def test_predict_takes_a_file_without_the_target_and_keeps_the_ids(name, capsys, monkeypatch):
    monkeypatch.setattr("torchbp.training.data.reading.files.ROWS_AT_ONCE", 7)
    fit("--data.source", write(table()), *options(ONE))
    new = table(40, seed=1)
    write(new[["colour", "key", "code", "height", "note"]], name)  # another order, a column more, no target
    config = ["-c", "runs/run/version_0/config.yaml"]
    assert predicted(capsys, *config, "--data.source", name, "--output", "p.csv") == ""
    assert predicted(capsys, *config, "--data.source", name, "--output", "p.parquet") == ""
    out = pd.read_csv("p.csv", dtype={"key": str})
    assert list(out) == ["key", "P(yes)", "class"]
    assert out.key.tolist() == new.key.tolist()
    model = Network.load_from_checkpoint("runs/run/version_0/checkpoints/best.ckpt")
    expected = model.predict_proba(new)[:, 0]
    torch.testing.assert_close(torch.tensor(out["P(yes)"], dtype=torch.float32), expected, rtol=1e-5, atol=1e-6)
    assert out["class"].tolist() == ["yes" if p >= 0.5 else "no" for p in expected]
    parquet = pd.read_parquet("p.parquet")
    assert list(parquet) == list(out)
    assert parquet["class"].tolist() == out["class"].tolist()
    # by the checkpoint alone: it knows the column of the ids; without that column rows are numbered
    assert predicted(capsys, "--data.source", name, "--output", "q.csv") == ""
    assert pd.read_csv("q.csv", dtype={"key": str}).key.tolist() == new.key.tolist()
    write(new[["colour", "code", "height"]], name)
    assert predicted(capsys, "--data.source", name, "--output", "r.csv") == ""
    assert pd.read_csv("r.csv").row.tolist() == list(range(1, 41))


def test_many_classes_of_a_file(capsys):
    fit("--data.source", write(table(90)), "--data.target", "colour", "--data.ignore", "[key,note,ill,fever]")
    write(table(20, seed=2).drop(columns="colour"), "b.csv")
    predicted(capsys, "--data.source", "b.csv")
    out = pd.read_csv("predictions.csv")
    assert list(out) == ["row", "P(blue)", "P(green)", "P(red)", "class"]
    assert set(out["class"]) <= {"blue", "green", "red"}


def test_several_targets(capsys):
    settings = {"target": "[fever,cough]", "ignore": "[key,note,ill]"}
    more = ["--trainer.max_epochs", 30, "--model.lr", 2, "--model.momentum", 0.9]
    fit("--data.source", write(table(200)), *options(settings), *more)
    out = capsys.readouterr().out
    assert "val/accuracy" in out
    data = TabularData("a.csv", target=["fever", "cough"], ignore=["key", "note", "ill"])
    assert (data.task, data.classes) == ("multilabel", ["fever", "cough"])
    frame = table(200)
    rows = data.splits["val"]
    np.testing.assert_array_equal(data.rows("val")[1].numpy(), frame[["fever", "cough"]].to_numpy()[rows])
    predicted(capsys, "--data.source", "a.csv")
    answers = pd.read_csv("predictions.csv")
    assert list(answers) == ["row", "P(fever)", "P(cough)", "fever", "cough"]
    assert (answers.fever == frame.fever).mean() > 0.9
    assert (answers.cough == frame.cough).all()
    page = Path("runs/run/version_0/report.html").read_text()
    assert "fever" in page


def test_balanced_weights_let_both_classes_weigh_the_same():
    frame = table(200)
    frame["rare"] = np.where(np.arange(200) % 10 == 0, "yes", "no")
    settings = ["--data.target", "rare", "--data.ignore", "[key,note,ill,fever,cough]"]
    fit("--data.source", write(frame), *settings, "--model.class_weight", "balanced")
    model = Network.load_from_checkpoint("runs/run/version_0/checkpoints/best.ckpt")
    data = TabularData("a.csv", target="rare", ignore=["key", "note", "ill", "fever", "cough"])
    y = data.rows("train")[1]
    loss = model.task.criterion
    assert loss.pos_weight.item() == pytest.approx(((len(y) - y.sum()) / y.sum()).item())
    assert loss.weight.item() == pytest.approx((len(y) / 2 / (len(y) - y.sum())).item())
    fit("--data.source", "a.csv", *settings, "--model.class_weight", "{yes: 3}")
    path = "runs/run/version_1/checkpoints/best.ckpt"
    assert Network.load_from_checkpoint(path).task.criterion.pos_weight.item() == pytest.approx(3)


def test_a_frame_of_raw_rows_is_scaled_by_the_network():
    fit("--data.source", write(table()), *options(ONE))
    model = Network.load_from_checkpoint("runs/run/version_0/checkpoints/best.ckpt")
    data = TabularData("a.csv", **ONE)
    assert torch.equal(model.predict_proba(table()), model.predict_proba(data.table.features))
    with pytest.raises(UserError, match="no column 'code'"):
        model.predict_proba(table().drop(columns="code"))
    with pytest.raises(UserError, match="trained without names"):
        Network(2, ["a", "b"]).predict_proba(table())


def test_a_stale_part_of_a_killed_predict_is_not_taken_up(capsys):
    fit("--data.source", write(table()), *options(ONE))
    for name in (".p.csv.part", ".p.csv.1.part"):
        Path(name).write_text("half of an older file\n")
    predicted(capsys, "--data.source", "a.csv", "--output", "p.csv")
    assert len(pd.read_csv("p.csv")) == 60


def test_predict_does_not_write_over_its_data_or_give_two_columns_one_name(capsys):
    settings = {"target": "[fever,cough]", "ignore": "[key,note,ill]"}
    fit("--data.source", write(table(200)), *options(settings))
    before = Path("a.csv").read_bytes()
    err = predicted(capsys, "--data.source", "a.csv", "--output", "a.csv", "--overwrite", "true", status=2)
    assert "a.csv is the data that is read" in err
    assert Path("a.csv").read_bytes() == before
    for output in ("p.csv", "p.parquet"):
        err = predicted(capsys, "--data.source", "a.csv", "--data.id", "fever", "--output", output, status=2)
        assert "data.id='fever' is also a column of the answers" in err
        assert not Path(output).exists()


@pytest.mark.parametrize("shape", [(3,), (3, 6), (3, 1), (2, 3, 7)], ids=str)
def test_rows_of_another_shape_are_refused(shape):
    model = Network(7, ["a", "b"])
    with pytest.raises(UserError, match=r"must be \(N, 7\)"):
        model.predict_proba(torch.zeros(shape))


def test_rows_of_any_type():
    model = Network(7, ["a", "b"])
    expected = model.predict_proba(torch.ones(2, 7))
    for rows in (torch.ones(2, 7, dtype=torch.double), np.ones((2, 7)), torch.ones(2, 7, dtype=torch.int)):
        assert torch.equal(model.predict_proba(rows), expected)


def test_what_is_strange_in_new_rows_is_counted_and_said(capsys):
    fit("--data.source", write(table()), *options(ONE))
    new = table(40, seed=1)
    new.loc[[11, 12], "colour"] = "pink"
    new.loc[[13], "colour"] = "mauve"
    new.loc[[3], "height"] = None
    write(new, "b.csv")
    assert predicted(capsys, "--data.source", "b.csv") == (
        "note     column 'height': 1 row missing, which no training row has; the median was taken\n"
        "note     column 'colour': 'pink' (2 rows), 'mauve' (1 row) are new and taken as other\n"
    )
    assert len(pd.read_csv("predictions.csv")) == 40
    new.loc[3, "height"] = 5
    new["height"] = new.height.astype(str).where(new.index != 7, "tall")
    write(new, "b.csv")
    err = predicted(capsys, "--data.source", "b.csv", "--overwrite", "true", status=1)
    assert "row 8 under the header, column 'height' is 'tall', no number; name the text in data.na_values if" in err


def test_missing_values_are_said_and_predicted(capsys):
    frame = table(60)[["height", "colour", "ill"]].astype({"height": str})
    frame.loc[7:19, "height"] = "NA"
    frame.loc[30:41, "colour"] = "?"
    fit("--data.source", write(frame), "--data.target", "ill", "--trainer.max_epochs", "1")
    err = capsys.readouterr().err
    assert "blanks   height 13: the median of the training rows, and a feature that says so" in err
    assert "blanks   colour 12: no category, and a feature that says so" in err
    new = pd.DataFrame({"height": ["170.5", "N/A", "", "180"], "colour": ["red"] * 4})
    assert predicted(capsys, "--data.source", write(new, "b.csv")) == ""
    p = pd.read_csv("predictions.csv")["P(yes)"]
    assert p[1] == p[2] != p[0]


def test_a_new_table_is_described_in_a_few_lines(capsys):
    frame = table()[["height", "colour", "ill", "note"]].assign(always=1, twin=table().height)
    frame.sample(frac=1, random_state=0).to_csv("a.csv")
    of_table = ["--data.source", "a.csv", "--data.target", "ill", "--data.max_categories", "20"]
    fit(*of_table, "--recipe", "mlp", "--trainer.max_epochs", "1")
    assert capsys.readouterr().err.splitlines()[:7] == [
        "task     binary: ill is no or yes; data.task sets another",
        "data     a.csv: 60 rows × 68 features, 2 classes; rows: 36 train, 12 val, 12 test",
        "columns  1 number (height); 1 category (colour); 1 text of many words (note)",
        "left out 'Unnamed: 0' has no name, and names the rows",
        "left out 'always' is 1 in every row",
        "left out 'twin' equals 'height'",
        f"classes  no {(frame.ill == 'no').sum()}, yes {(frame.ill == 'yes').sum()}",
    ]


def test_classes_have_their_type_in_the_answers(capsys):
    frame = table().assign(fever=table().fever + 1)
    fit("--data.source", write(frame), "--data.target", "fever", "--data.ignore", "[key,note]")
    predicted(capsys, "--data.source", "a.csv", "--output", "p.parquet")
    assert pd.read_parquet("p.parquet")["class"].dtype == np.int64
    fit("--data.source", write(table().assign(fever=table().fever == 1)), "--data.target", "fever")
    path = "runs/run/version_1/checkpoints/best.ckpt"
    assert main(["predict", "--ckpt_path", path, "--data.source", "a.csv", "--output", "q.parquet"]) == 0
    assert pd.read_parquet("q.parquet")["class"].dtype == bool


def test_how_a_file_is_written_is_known_to_predict(capsys):
    frame = table()[["height", "colour", "ill"]]
    frame.to_csv("a.txt", index=False, sep=" ", header=False, decimal=",")
    fit("--data.source", "a.txt", "--data.target", "c3", "--data.sep", "space", "--data.decimal", ",")
    frame[["height", "colour"]].to_csv("b.txt", index=False, sep=" ", header=False, decimal=",")
    assert predicted(capsys, "--data.source", "b.txt") == ""
    answers = pd.read_csv("predictions.csv")
    model = Network.load_from_checkpoint("runs/run/version_0/checkpoints/best.ckpt")
    expected = model.predict_proba(frame.rename(columns={"height": "c1", "colour": "c2"}))[:, 0]
    np.testing.assert_allclose(answers["P(yes)"], expected, atol=1e-5)


def test_several_files_and_stdin_are_predicted(capsys, monkeypatch):
    fit("--data.source", write(table()), *options(ONE))
    write(table()[:25], "b.csv")
    write(table()[25:], "c.parquet")
    predicted(capsys, "--data.source", "a.csv")
    expected = pd.read_csv("predictions.csv")
    predicted(capsys, "--data.source", "[b.csv,c.parquet]", "--output", "p.csv")
    pd.testing.assert_frame_equal(pd.read_csv("p.csv"), expected)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(Path("a.csv").read_bytes())))
    predicted(capsys, "--data.source", "-", "--output", "q.csv")
    pd.testing.assert_frame_equal(pd.read_csv("q.csv"), expected)


def test_explain_reads_files_as_fit_did(capsys):
    frame = table()[["height", "colour", "ill"]]
    frame.to_csv("a.txt", index=False, sep=" ", header=False, decimal=",")
    network = ["--model.hidden", "[4]", "--model.activation", "relu"]
    fit("--data.source", "a.txt", "--data.target", "c3", "--data.sep", "space", "--data.decimal", ",", *network)
    frame[:20].to_csv("b.txt", index=False, sep=" ", header=False, decimal=",")
    frame[20:].to_csv("c.txt", index=False, sep=" ", header=False, decimal=",")
    path = ["--ckpt_path", "runs/run/version_0/checkpoints/best.ckpt", "--row", "25"]
    pages = []
    for source in ("a.txt", "[b.txt,c.txt]"):
        capsys.readouterr()
        assert main(["explain", *path, "--data.source", source]) == 0
        pages.append(capsys.readouterr().out.split("\n\n")[1:])  # without the heading, which names the files
    assert pages[0] == pages[1]
