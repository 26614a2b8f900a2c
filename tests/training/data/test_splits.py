"""Which rows are for training, validation and test."""

import numpy as np
import pandas as pd
import pytest
import torch

from torchbp.training import TabularData
from torchbp.training.errors import SettingError, UserError

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "x": RNG.normal(size=200),
        "who": [f"p{i}" for i in RNG.integers(0, 30, 200)],
        "day": RNG.permutation(pd.date_range("2024-01-01", periods=100).repeat(2)),
        "y": ["no", "yes", "no", "no"] * 50,
    }
)


def numbers(data):
    return {name: rows.tolist() for name, rows in data.splits.items()}


def assert_each_row_once(data, rows=200):
    assert sorted(row for rows in numbers(data).values() for row in rows) == list(range(rows))


@pytest.mark.parametrize("source", ["breast_cancer", "digits"])
def test_split_is_seeded_disjoint_complete_and_stratified(source):
    data = TabularData(source, seed=3)
    rows = torch.cat(list(data.splits.values()))
    assert torch.equal(rows.sort().values, torch.arange(len(data.table.labels)))
    assert numbers(data) == numbers(TabularData(source, seed=3)) != numbers(TabularData(source, seed=4))
    shares = [torch.bincount(data.table.labels[rows]) / len(rows) for rows in data.splits.values()]
    torch.testing.assert_close(shares[1], shares[0], atol=0.01, rtol=0)
    torch.testing.assert_close(shares[2], shares[0], atol=0.01, rtol=0)


def test_a_group_is_in_one_split():
    data = TabularData(FRAME, "y", group="who", ignore=["day"])
    assert_each_row_once(data)
    groups = [set(FRAME.who[rows]) for rows in numbers(data).values()]
    assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]
    assert all(groups)
    assert list(data.columns) == ["x"]
    with pytest.raises(UserError, match="row 4 under the header, column 'who' is blank; each row needs a group"):
        TabularData(FRAME.assign(who=FRAME.who.where(FRAME.index != 3)), "y", group="who")
    with pytest.raises(UserError, match="too few rows to split"):
        TabularData(FRAME.assign(who="one"), "y", group="who")


@pytest.mark.parametrize("as_text", [False, True])
def test_later_rows_are_for_the_test(as_text):
    frame = FRAME.assign(day=FRAME.day.dt.strftime("%d/%m/%Y")) if as_text else FRAME
    data = TabularData(frame, "y", time="day", ignore=["who"])
    assert_each_row_once(data)
    days = [FRAME.day.iloc[rows] for rows in numbers(data).values()]
    assert days[0].max() < days[1].min() <= days[1].max() < days[2].min()
    assert [len(part) for part in days] == [120, 40, 40]
    assert list(data.columns) == ["x"]
    with pytest.raises(UserError, match=r"column 'who' .data.time. holds neither dates nor numbers"):
        TabularData(FRAME, "y", time="who")


@pytest.mark.parametrize("settings", [{}, {"group": "who"}, {"target": "x"}], ids=str)
def test_folds_take_turns_as_test_rows(settings):
    settings = {"target": "y", "ignore": ["day"], **settings}
    folds = [TabularData(FRAME, **settings, folds=4, fold=fold) for fold in (1, 2, 3, 4)]
    for data in folds:
        assert_each_row_once(data)
        assert len(data.splits["val"]) > 20
    assert sorted(row for data in folds for row in numbers(data)["test"]) == list(range(200))
    assert numbers(folds[1]) == numbers(TabularData(FRAME, **settings, folds=4, fold=2))
    with pytest.raises(SettingError, match=r"data.fold=5 must lie between 1 and data.folds=4"):
        TabularData(FRAME, **settings, folds=4, fold=5)
    with pytest.raises(SettingError, match=r"data.folds draws the test rows, and so does data.time"):
        TabularData(FRAME, "y", time="day", folds=4, fold=1)


def test_no_test_rows():
    data = TabularData(FRAME, "y", test_fraction=0)
    assert [len(rows) for rows in data.splits.values()] == [160, 40, 0]
    with pytest.raises(UserError, match=r"the frame has no test rows, since data.test_fraction is 0; name a file as"):
        data.setup("test")


def test_separate_files(tmp_path):
    for name, rows in (("a", slice(0, 100)), ("b", slice(100, 150)), ("c", slice(150, 200))):
        FRAME[rows].to_csv(tmp_path / f"{name}.csv", index=False)
    files = {"source": tmp_path / "a.csv", "val_source": tmp_path / "b.csv", "test_source": tmp_path / "c.csv"}
    data = TabularData(**files, target="y", ignore=["day"])
    assert [sorted(rows) for rows in numbers(data).values()] == [
        list(range(100)),
        list(range(100, 150)),
        list(range(150, 200)),
    ]
    np.testing.assert_allclose(data.rows("test")[0][:, 0], FRAME.x[150:].astype(np.float32))
    data = TabularData(files["source"], test_source=files["test_source"], target="y", ignore=["day"])
    assert [len(rows) for rows in data.splits.values()] == [80, 20, 50]
    FRAME[150:].assign(x="tall").to_csv(files["test_source"], index=False)
    with pytest.raises(UserError, match=r"c.csv: row 1 under the header, column 'x' is 'tall'"):
        TabularData(**files, target="y", ignore=["day"])


def test_rows_of_a_rare_class_are_training_rows():
    frame = FRAME.assign(y=["no", "yes"] * 99 + ["rare", "few"])
    data = TabularData(frame, "y")
    assert {198, 199} <= set(numbers(data)["train"])
    assert_each_row_once(data)
    assert ("note", "class 'rare' has 1 row, too few for three splits: used for training") in data.table.lines


def test_too_few_rows_to_split_class_by_class():
    frame = pd.DataFrame({"x": np.linspace(0, 1, 12), "y": list("abcd") * 3})
    data = TabularData(frame, "y")
    assert_each_row_once(data, 12)
    note = "the frame: too few rows to split class by class; the rows were drawn without regard to the class"
    assert ("note", note) in data.table.lines
    with pytest.raises(UserError, match=r"too few rows to split: 2 rows; add rows, or change data.val_fraction"):
        TabularData(frame[:2], "y", task="binary")


def test_what_the_network_knows_comes_from_the_training_rows():
    data = TabularData(FRAME, "y", ignore=["day"])
    train = set(numbers(data)["train"])
    frame = FRAME.assign(colour=["a" if i % 2 else "b" for i in range(200)])
    frame.loc[[row for row in range(200) if row not in train], "colour"] = "only elsewhere"
    frame.loc[numbers(data)["test"], "x"] = np.nan
    data = TabularData(frame, "y", ignore=["day", "who"])
    assert data.columns["colour"]["categories"] == ["a", "b"]
    assert data.columns["x"]["missing"] == "impute"
    assert data.rows("test")[0][:, 0].isnan().all()
