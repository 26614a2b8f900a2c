"""A checkpoint knows its rows by their hashes: no command scores training rows as test rows without saying so."""

import numpy as np
import pandas as pd
import pytest
import torch

from tests.training.data.tables import table
from torchbp.cli import main
from torchbp.training import TabularData
from torchbp.training.cli.trained_settings import source_of
from torchbp.training.data.fingerprint import order_of, row_hashes, shared_rows
from torchbp.training.errors import UserError

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame({"x": RNG.normal(size=300), "z": RNG.choice(["a", "b"], 300), "y": RNG.choice(["no", "yes"], 300)})
FEW = FRAME.assign(x=(FRAME.x > 0).map({True: "high", False: "low"}))  # 8 different rows


def checkpoint_of(data):
    """What a checkpoint keeps of its data."""
    h = {"task": data.task, "classes": data.classes, "columns": data.columns}
    return {
        "hyper_parameters": h,
        "datamodule_hyper_parameters": dict(data.hparams),
        "TabularData": {"rows": data.saved_rows},
    }


def test_a_hash_is_of_each_bit():
    rows = 300
    x, y = torch.randn(rows, 3).numpy(), torch.randint(2, (rows,)).numpy()
    x[7, 1] = np.nan
    first = row_hashes(x, y)
    assert len(np.unique(first)) == rows
    other = x.copy()
    other[7, 1] = np.float32("nan")
    assert (row_hashes(other, y) == first).all()
    for row in (0, rows - 1):
        other = x.copy()
        other[row, 2] = np.nextafter(other[row, 2], np.float32(9))
        assert np.flatnonzero(row_hashes(other, y) != first).tolist() == [row]
    assert (row_hashes(x[:, [1, 0, 2]], y) != first).all()
    assert (row_hashes(x, 1 - y) != first).all()
    zero = np.zeros((1, 3), np.float32)
    assert row_hashes(zero, y[:1]) == row_hashes(-zero, y[:1])
    t = torch.randn(rows, 2).numpy()
    assert (row_hashes(x, t) != row_hashes(x, t + np.float32(1e-3))).all()


def test_rows_are_found_again_in_any_order():
    hashes = np.array([5, 3, 3, 9])
    order = order_of(hashes, np.array([3, 9, 3, 5]))
    assert sorted(order[[1, 2]]) == [0, 2]
    assert order[[0, 3]].tolist() == [3, 1]
    assert order_of(hashes, np.array([3, 9, 9, 5])) is None
    assert order_of(hashes, np.array([3, 9, 3])) is None
    assert shared_rows(hashes, np.array([3, 3, 3, 9, 7])) == 3


@pytest.mark.parametrize("frame", [FRAME, FEW], ids=["all different", "few different"])
def test_a_sorted_file_is_split_as_it_was(frame):
    data = TabularData(frame, "y", seed=3)
    sorted_frame = frame.sort_values(["y", "x"])
    again = TabularData.of_checkpoint(checkpoint_of(data), "a.ckpt", source=sorted_frame)
    for split in ("train", "val", "test"):
        old, new = data.rows(split), again.rows(split)
        assert torch.equal(torch.cat(old, 1), torch.cat(new, 1))
    anew = TabularData(sorted_frame, "y", seed=3)
    assert set(anew.splits["test"].tolist()) != set(again.splits["test"].tolist())


CHANGES = {
    "removed": (lambda frame: frame[:-3], "3 rows were removed"),
    "one removed": (lambda frame: frame[1:], "1 row was removed"),
    "added": (lambda frame: pd.concat([frame, frame[:2].assign(x=0.5)]), "2 rows were added"),
    "a value": (lambda frame: frame.assign(x=frame.x.where(frame.index != 9, 0.25)), "1 of its 300 rows are others"),
    "labels": (lambda frame: frame.assign(y=frame.y.where(frame.index > 9, "no")), "of its 300 rows are others"),
    "removed and sorted": (lambda frame: frame[3:].sort_values("x"), "3 rows were removed"),
}


@pytest.mark.parametrize(("change", "message"), CHANGES.values(), ids=CHANGES)
def test_a_changed_file_is_refused(change, message):
    data = TabularData(FRAME, "y")
    with pytest.raises(
        UserError, match=f"does not have the rows that this network was trained on: .*{message}.*data.test_source"
    ):
        TabularData.of_checkpoint(checkpoint_of(data), "a.ckpt", source=change(FRAME))


def test_another_file_is_scored_as_a_whole():
    checkpoint = checkpoint_of(TabularData(FRAME, "y"))
    other = FRAME.assign(x=FRAME.x + 1, z="new").iloc[:80]
    data = TabularData.of_checkpoint(checkpoint, "a.ckpt", source=other)
    assert [len(rows) for rows in data.splits.values()] == [0, 80, 80]
    assert data.in_features == 3
    assert ("note", "all 80 rows are scored, which are new to the network") in data.table.lines
    mixed = pd.concat([other, FRAME[:20]])
    data = TabularData.of_checkpoint(checkpoint, "a.ckpt", source=mixed)
    saved = checkpoint["TabularData"]["rows"]["splits"]
    seen = len(set(range(20)) & set(torch.cat([saved["train"], saved["val"]]).tolist()))
    assert ("note", f"all 100 rows are scored; {seen} of them equal rows of its training") in data.table.lines
    one_class = TabularData.of_checkpoint(checkpoint, "a.ckpt", source=other.assign(y="yes"))
    assert one_class.rows("test")[1].unique().tolist() == [1]
    with pytest.raises(UserError, match="row 1 under the header, column 'y' is 'maybe'; the network knows no, yes"):
        TabularData.of_checkpoint(checkpoint, "a.ckpt", source=other.assign(y="maybe"))
    with pytest.raises(UserError, match="no column 'z'; the network needs x, z"):
        TabularData.of_checkpoint(checkpoint, "a.ckpt", source=other.drop(columns="z"))


def test_a_file_for_the_test_is_scored_whatever_it_shares():
    checkpoint = checkpoint_of(TabularData(FEW, "y"))
    with pytest.raises(UserError, match="does not have the rows"):
        TabularData.of_checkpoint(checkpoint, "a.ckpt", source=FEW[:100])
    data = TabularData.of_checkpoint(checkpoint, "a.ckpt", test_source=FEW[:100])
    assert len(data.splits["test"]) == 100
    assert any("100 rows are scored; " in text for _, text in data.table.lines)


def test_a_checkpoint_that_does_not_say_which_rows():
    checkpoint = checkpoint_of(TabularData(FRAME, "y"))
    rows = checkpoint["TabularData"]["rows"]
    for damaged in (
        None, 5, {}, {"hashes": torch.zeros(3), "splits": {}}, {**rows, "hashes": rows["hashes"][:9]},
        {**rows, "splits": {**rows["splits"], "val": -rows["splits"]["val"]}},
    ):  # fmt: skip
        checkpoint["TabularData"] = {"rows": damaged}
        with pytest.raises(UserError, match="the checkpoint does not say which rows it was trained on; train a new"):
            TabularData.of_checkpoint(checkpoint, "a.ckpt", source=FRAME)
        with pytest.raises(UserError, match="the checkpoint does not say which rows"):
            TabularData(FRAME, "y").check_rows(checkpoint["TabularData"])


def test_settings_of_the_split_need_no_columns_later():
    frame = FRAME.assign(who=RNG.integers(0, 40, 300), w=1.0)
    data = TabularData(frame, "y", group="who", weight="w")
    again = TabularData.of_checkpoint(checkpoint_of(data), "a.ckpt", source=frame.sample(frac=1, random_state=0))
    assert torch.equal(torch.cat(again.rows("test")[:2], 1), torch.cat(data.rows("test")[:2], 1))
    new = frame.drop(columns=["who", "w"]).assign(x=frame.x + 1)
    assert len(TabularData.of_checkpoint(checkpoint_of(data), "a.ckpt", source=new).splits["test"]) == 300


@pytest.mark.usefixtures("in_an_empty_folder", "without_page")
def test_the_command_gives_a_sorted_file_the_same_score(capsys):
    FRAME.assign(x2=RNG.normal(size=300), x3=RNG.normal(size=300)).to_csv("a.csv", index=False)
    fit = "--model.lr 2 --trainer.max_epochs 3 --trainer.accelerator cpu"
    assert main(["fit", "--data.source", "a.csv", "--data.target", "y", *fit.split()]) == 0
    test = ["test", "-c", "runs/run/version_0/config.yaml", "--ckpt_path", "runs/run/version_0/checkpoints/last.ckpt"]
    capsys.readouterr()
    assert main(test) == 0
    before = capsys.readouterr().out
    pd.read_csv("a.csv").sort_values("x").to_csv("a.csv", index=False)
    assert main(test) == 0
    assert capsys.readouterr().out == before
    pd.read_csv("a.csv").iloc[1:].to_csv("a.csv", index=False)
    assert main(test) == 1
    assert "does not have the rows that this network was trained on: 1 row was removed" in capsys.readouterr().err


def test_tables_with_words_and_dates_are_found_again():
    frame = table(80).assign(day=pd.date_range("2024-01-01", periods=80).strftime("%d.%m.%Y"))
    data = TabularData(frame, "ill", max_categories=10)
    assert {kind["kind"] for kind in data.columns.values()} >= {"words", "date", "category", "number"}
    again = TabularData.of_checkpoint(checkpoint_of(data), "a.ckpt", source=frame[::-1])
    assert torch.equal(again.rows("test")[0], data.rows("test")[0])


@pytest.mark.parametrize("split", ["val", "test"])
def test_another_file_is_scored_without_the_files_of_the_training(split, tmp_path):
    names = {}
    for name, rows in {
        "train": FRAME[:200],
        "of_split": FRAME[200:260],
        "other": FRAME[260:],
        "moved": FRAME[199::-1],
    }.items():
        names[name] = str(tmp_path / f"{name}.csv")
        rows.to_csv(names[name], index=False)
    data = TabularData(names["train"], "y", **{f"{split}_source": names["of_split"]})
    checkpoint = checkpoint_of(data)
    other = TabularData.of_checkpoint(checkpoint, "c.ckpt", source=names["other"])
    assert len(other.table.features) == len(other.splits["test"]) == 40
    assert "all 40 rows are scored, which are new to the network" in str(other.table.lines)
    with_others = TabularData.of_checkpoint(checkpoint, "c.ckpt", source=names["moved"])
    assert {name: len(rows) for name, rows in with_others.splits.items()} == {
        name: len(rows) for name, rows in data.splits.items()
    }
    FRAME[260:].drop(columns="z").to_csv(names["other"], index=False)
    with pytest.raises(UserError, match=r"other\.csv has no column 'z'"):
        TabularData.of_checkpoint(checkpoint, "c.ckpt", source=names["other"])


@pytest.mark.parametrize("run", ["runs/run/version_0", "runs/run/version_0/fold_1"])
def test_all_files_of_a_run_are_found_from_elsewhere(run, tmp_path, monkeypatch):
    for folder in ("here", "elsewhere"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    files = {"a.csv": FRAME[:100], "b.csv": FRAME[100:200], "val.csv": FRAME[200:260], "test.csv": FRAME[260:]}
    for name, rows in files.items():
        rows.to_csv(name, index=False)
    data = TabularData(["a.csv", "b.csv"], "y", val_source="val.csv", test_source="test.csv")
    checkpoint, path = checkpoint_of(data), str(tmp_path / "here" / run / "checkpoints/best.ckpt")
    monkeypatch.chdir(tmp_path / "elsewhere")
    for changed in ({}, {"source": source_of(None, ["a.csv", "b.csv"], path)}):  # as a command has it
        again = TabularData.of_checkpoint(checkpoint, path, **changed)
        for split in ("train", "val", "test"):
            assert torch.equal(again.rows(split)[0].nan_to_num(), data.rows(split)[0].nan_to_num())
    with pytest.raises(UserError, match=r"a\.csv"):
        TabularData.of_checkpoint(checkpoint, "best.ckpt")
