"""What is seen in a new table: columns that are no features, and what was guessed."""

import shlex

import numpy as np
import pandas as pd
import pytest

from tests.training.data.tables import table
from torchbp.training import TabularData
from torchbp.training.cli.arguments import as_texts
from torchbp.training.data.columns.survey import is_row_number
from torchbp.training.errors import UserError

RNG = np.random.default_rng(0)
FRAME = table(40)[["height", "ill"]]


def lines(label, data):
    return [text for name, text in data.table.lines if name == label]


NAMES = {  # the name of a column, its 40 values, and why it is left out
    "R": ("", range(1, 41), "has no name, and names the rows"),
    "pandas, read and written again": ("Unnamed: 0", range(40), "has no name, and names the rows"),
    "joined tables": ("", [*range(20), *range(20)], "has no name, and names the rows"),
    "texts": ("", [f"Mazda {i}" for i in range(40)], "has no name, and names the rows"),
    "row.names": ("row.names", range(1, 41), "has no name, and names the rows"),
    "readr": ("...1", range(1, 41), "has no name, and names the rows"),
    "in order": ("any", range(1, 41), "numbers the rows"),
    "from 0": ("any", range(40), "numbers the rows"),
    "shuffled": ("any", RNG.permutation(40), "numbers the rows"),
    "with gaps": ("any", np.delete(np.arange(45), [3, 9, 22, 30, 31]), "numbers the rows"),
    "floats": ("any", RNG.permutation(40) + 1.0, "numbers the rows"),
    "Id": ("Id", range(5, 205, 5), "is an id"),
    "PassengerId": ("PassengerId", range(500, 540), "is an id"),
    "patient_id": ("patient_id", [f"p {i}" for i in range(40)], "is an id"),
    "codes": ("sample", [f"S-{i:04}" for i in RNG.permutation(40)], "has another text in every row, as an id has"),
    "constant": ("unit", ["kg"] * 40, "is kg in every row"),
    "constant number": ("unit", [1.5] * 40, "is 1.5 in every row"),
    "copy": ("tall", FRAME.height, "equals 'height'"),
    "blank": ("later", [None] * 40, "is blank in the training rows"),
}


@pytest.mark.parametrize(("name", "values", "why"), NAMES.values(), ids=NAMES)
def test_columns_that_are_no_features_are_left_out_and_said(name, values, why, tmp_path):
    frame = FRAME.assign(**{name or "nameless": list(values)})
    frame = frame.rename(columns={"nameless": ""})
    frame.to_csv(tmp_path / "a.csv", index=False)
    data = TabularData(tmp_path / "a.csv", target="ill")
    assert list(data.columns) == ["height"]
    name = name or "Unnamed: 2"
    assert lines("left out", data) == [f"{name!r} {why}"]
    assert lines("left out", TabularData(tmp_path / "a.csv", target="ill", ignore=[name])) == []
    if "blank" not in why:
        kept = TabularData(tmp_path / "a.csv", target="ill", features=["height", name])
        assert list(kept.columns) == ["height", name]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("", np.linspace(0, 1, 40)),
        ("", ["a", "b"] * 20),
        ("id", [1, 2] * 20),
        ("X", range(20, 60)),
        ("paid", range(5, 205, 5)),
        ("year", range(1950, 1990)),
        ("day", [*range(1, 32), *range(1, 10)]),
        ("comment", [f"free text {i}" for i in range(40)]),
        ("date", pd.date_range("2020-01-01", periods=40).astype(str)),
        ("price", [f"${i}.50" for i in range(40)]),
    ],
    ids=str,
)
def test_other_columns_stay(name, values, tmp_path):
    frame = FRAME.copy()
    frame.insert(0, name, list(values))
    frame.to_csv(tmp_path / "a.csv", index=False)
    data = TabularData(tmp_path / "a.csv", target="ill")
    assert list(data.columns) == [name or "Unnamed: 0", "height"]
    assert lines("left out", data) == []


def test_numbers_of_few_rows():
    assert is_row_number(pd.Series([1, 2, 3]))
    assert not is_row_number(pd.Series([3, 1, 2]))
    assert not is_row_number(pd.Series([0, 1]))
    assert not is_row_number(pd.Series([1, 2, np.nan]))
    assert not is_row_number(pd.Series([True, False]))
    assert not is_row_number(pd.Series(np.arange(40) - 5))


def test_no_feature_is_left():
    frame = pd.DataFrame({"y": ["a", "b"] * 20, "n": range(40)})
    with pytest.raises(UserError, match="no feature beside the target 'y'; 'n' numbers the rows"):
        TabularData(frame, "y")


def test_the_lines_of_a_table():
    frame = FRAME.assign(day=pd.date_range("2020-01-01", periods=40), smokes=["yes", None, "no", "no"] * 10)
    data = TabularData(frame, "ill")
    assert lines("columns", data) == ["1 number (height); 1 date (day); 1 boolean (smokes)"]
    assert lines("blanks", data) == ["smokes 10: the median of the training rows, and a feature that says so"]
    texts = TabularData(frame.assign(colour=["red", None, "blue", "red"] * 10), "ill")
    assert lines("blanks", texts) == [*lines("blanks", data), "colour 10: no category, and a feature that says so"]
    counts = FRAME.ill.value_counts()
    assert lines("classes", data) == [f"no {counts['no']}, yes {counts['yes']}"]
    data = TabularData(frame.assign(height=range(40, 80)), "height", task="regression")
    assert lines("target", data) == ["height: 40 to 79, mean 59.5"]
    assert data.table.task_line == [("task", "regression: height is a quantity; data.task sets another")]
    many = TabularData(np.random.default_rng(0).normal(size=(40, 30)), np.array(list("ab") * 20))
    assert lines("columns", many) == ["30 numbers"]


@pytest.mark.usefixtures("in_an_empty_folder")
def test_test_rows_that_are_training_rows_are_said():
    first, second = FRAME.iloc[:24], FRAME.iloc[24:]
    first.to_csv("first.csv", index=False)
    second.to_csv("second.csv", index=False)
    said = "24 of the 24 rows of data.test_source equal training rows: their scores say little of new rows"
    same = TabularData("first.csv", "ill", test_source="first.csv", val_source="second.csv")
    assert lines("note", same) == [said]
    assert lines("note", TabularData("first.csv", "ill", test_source="second.csv")) == []


def test_guesses_are_said():
    frame = FRAME.assign(price=["1,000", "2,500"] * 20, day=["05/06/2020", "01/02/2021"] * 20)
    data = TabularData(frame, "ill")
    price, day = lines("note", data)
    assert price.endswith("is read as one between thousands; --data.decimal , makes it the decimal sign")
    assert day.endswith("is read as day, month, year; no date says which comes first")
    assert lines("note", TabularData(frame.assign(day=["25/06/2020"] * 20 + ["01/02/2021"] * 20), "ill")) == [price]
    assert lines("note", TabularData(frame, "ill", decimal=",")) == [day]


def leaky(rows=400):
    """Hours of work, which only who works has; a code of the answer; and wages in dollars and cents."""
    rng = np.random.default_rng(0)
    works = rng.random(rows) < 0.4
    frame = pd.DataFrame({"age": rng.normal(40, 9, rows), "hours": np.where(works, rng.integers(1, 60, rows), 0)})
    frame["wage"] = rng.lognormal(2, 0.5, rows)
    frame["cents"] = (100 * frame.wage).round()
    return frame.assign(code=np.where(works, "W", "N"), works=np.where(works, "yes", "no"))


def test_a_column_that_tells_the_target_is_said():
    frame = leaky()
    said = 'nearly without error: if it is not known before {0} is, add --data.ignore "[{1}]"'
    assert lines("note", TabularData(frame, "works")) == [
        "hours, code alone tell 'works' " + said.format("'works'", "hours, code")
    ]
    assert lines("note", TabularData(frame, "wage")) == ["cents alone tells 'wage' " + said.format("'wage'", "cents")]
    both = frame.assign(works=(frame.works == "yes") * 1, old=(frame.age + frame.wage > 47) * 1)
    (note,) = lines("note", TabularData(both, ["works", "old"]))
    assert note.startswith("hours, code alone tell 'works' ")


def test_the_advice_can_be_pasted_and_repeats_what_is_ignored():
    frame = leaky().rename(columns={"hours": "hours, paid", "code": "code ($)"})
    (note,) = lines("note", TabularData(frame, "works", ignore=["age"]))
    word = shlex.split(note.partition("add ")[2])[1]
    assert as_texts(["--data.ignore", word])[1] == '["age", "hours, paid", "code ($)"]'


def test_a_column_that_errs_now_and_then_tells_nothing():
    frame = leaky()
    frame.loc[::25, "works"] = "no"
    frame.loc[12::25, "works"] = "yes"
    assert lines("note", TabularData(frame, "works")) == []
    few = leaky(60)  # too few rows are "yes" to say it
    assert lines("note", TabularData(few, "works")) == []
    wide = leaky().join(pd.DataFrame(np.random.default_rng(1).normal(size=(400, 200))).add_prefix("x"))
    assert lines("note", TabularData(wide, "works")) == []


def test_many_classes_of_few_rows_are_no_warning():
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"a": random.normal(size=200), "y": [f"c{i % 40}" for i in range(200)]})
    assert lines("note", TabularData(frame, "y")) == []
