"""The task is found from the target, or asked for; labels of any type."""

import numpy as np
import pandas as pd
import pytest
import torch

from torchbp.training import TabularData
from torchbp.training.data.target import labels_as, read_target
from torchbp.training.errors import SettingError, UserError

ROWS = 120
RNG = np.random.default_rng(0)


def target_of(values, name="y", **settings):
    return read_target(pd.DataFrame({name: values}), [name], **settings)


CLASSES = {
    "booleans": ([True, False] * 30, "binary", ["False", "True"]),
    "texts": (["no", "yes"] * 30, "binary", ["no", "yes"]),
    "texts that are numbers": (["1", "0", "1"] * 20, "binary", ["0", "1"]),
    "two numbers": ([0.5, -1.5] * 30, "binary", ["-1.5", "0.5"]),
    "zeros and ones": ([0.0, 1.0] * 30, "binary", ["0", "1"]),
    "two far numbers": ([-1, 26] * 30, "binary", ["-1", "26"]),
    "codes": ([3, 1, 2] * 20, "multiclass", ["1", "2", "3"]),
    "digits": (list(range(10)) * 10, "multiclass", [str(i) for i in range(10)]),
    "mixed": (["b", "10", "9"] * 20, "multiclass", ["10", "9", "b"]),
    "spaces": (["yes", "no", "yes ", " no"] * 20, "binary", ["no", "yes"]),
    "None is an answer": (["None", "gravel"] * 20, "binary", ["None", "gravel"]),
    "a pandas category": (pd.Series([5, 7, 9] * 20).astype("category"), "multiclass", ["5", "7", "9"]),
}


@pytest.mark.parametrize(("values", "task", "classes"), CLASSES.values(), ids=CLASSES)
def test_classes(values, task, classes):
    target = target_of(values)
    assert (target.task, target.classes) == (task, classes)
    texts = [str(value).strip() for value in values]
    texts = [text.removesuffix(".0") for text in texts]
    assert [classes[label] for label in target.labels] == texts


QUANTITIES = {
    "fractions": RNG.normal(size=ROWS),
    "three fractions": [0.5, 1.5, 2.5] * 20,
    "prices": RNG.integers(300, 20000, 500),
    "weights": [2700 + 50 * (i % 70) for i in range(ROWS * 2)],
    "amounts": [f"${value:,.2f}" for value in RNG.uniform(500, 5000, ROWS)],
    "shares": [f"{value}%" for value in range(ROWS)],
}


@pytest.mark.parametrize("values", QUANTITIES.values(), ids=QUANTITIES)
def test_quantities(values):
    target = target_of(values)
    assert (target.task, target.classes, target.labels.shape) == ("regression", ["y"], (len(values), 1))
    number = [float(str(v).strip("$%").replace(",", "")) / (100 if str(v).endswith("%") else 1) for v in values]
    np.testing.assert_array_equal(target.labels[:, 0], np.float32(number))


QUESTIONS = {  # neither clearly a class nor clearly a quantity, or an id
    "a count": ("y", RNG.poisson(3, ROWS)),
    "a count by its name": ("n_children", [0, 1, 2] * 40),
    "another count by its name": ("childCount", [0, 1, 2] * 40),
    "60 whole numbers": ("y", [i % 60 for i in range(240)]),
    "codes with gaps": ("y", [0, 1, 2, 3, 7, 12] * 20),
    "negative codes": ("y", [-26, 0, 26] * 20),
    "numbers of rows": ("y", RNG.permutation(ROWS)),
    "numbers without a gap": ("y", 1000 + RNG.permutation(ROWS)),
    "an id": ("patient_id", RNG.permutation(10**6)[:ROWS]),
}


@pytest.mark.parametrize(("name", "values"), QUESTIONS.values(), ids=QUESTIONS)
def test_a_count_or_an_id_gets_a_question_with_the_settings_that_answer_it(name, values):
    with pytest.raises(UserError, match=f"the target '{name}' has .*--data.task regression .*--data.task multiclass"):
        target_of(values, name)
    assert target_of(values, name, task="regression").labels.shape == (len(values), 1)
    assert target_of(values, name, task="multiclass").classes == [str(v) for v in np.unique(values)]


def test_texts_that_are_no_classes():
    with pytest.raises(UserError, match="has 120 different texts in 120 rows, as an id or free text has; name another"):
        target_of([f"name {i}" for i in range(ROWS)])
    assert len(target_of([f"name {i}" for i in range(ROWS)], task="multiclass").classes) == ROWS
    assert target_of([f"class {i % 30}" for i in range(ROWS)]).task == "multiclass"


def test_several_targets():
    frame = pd.DataFrame({"a": [0, 1] * 30, "b": [True, False] * 30, "c": np.linspace(-1, 1, 60), "d": ["x", "y"] * 30})
    labels = read_target(frame, ["a", "b"])
    assert (labels.task, labels.classes, labels.labels.tolist()[:2]) == ("multilabel", ["a", "b"], [[0, 1], [1, 0]])
    quantities = read_target(frame, ["a", "c"])
    assert (quantities.task, quantities.labels.shape) == ("regression", (60, 2))
    with pytest.raises(UserError, match="the target 'd' is no column of numbers; several targets must"):
        read_target(frame, ["a", "d"])
    with pytest.raises(
        UserError, match=r"row 1 under the header, column 'c' is '-1.0'; each of several labels must be 0"
    ):
        read_target(frame, ["a", "c"], task="multilabel")


def test_a_task_that_does_not_fit():
    for values, task, message in (
        (["a", "b"] * 9, "regression", "column 'y' is 'a', which is no number, and regression needs numbers"),
        (["a", "b", "c"] * 9, "binary", "data.task=binary: the target 'y' has 3 classes"),
        (["a", "b"] * 9, "multiclass", "data.task=multiclass: the target 'y' has 2 classes"),
        ([0, 1] * 9, "multilabel", "needs several targets"),
        ([0, 1] * 9, "ranking", "must be one of binary, multiclass, multilabel, regression"),
        ([5, 5] * 9, "regression", "the target 'y' is 5 in every row; there is nothing to learn"),
        ([5, np.inf] * 9, "regression", "row 2 under the header, column 'y' is inf, not a finite float32"),
    ):
        with pytest.raises(UserError, match=message):
            target_of(values, task=task)
    with pytest.raises(SettingError, match=r"needs one target, and data.target names 2"):
        read_target(pd.DataFrame({"a": [0, 1], "b": [0, 1]}), ["a", "b"], task="binary")
    with pytest.raises(UserError, match=r"the target 'y' holds datetime64.*; name another column"):
        target_of(pd.date_range("2020-01-01", periods=9))


@pytest.mark.parametrize(
    ("values", "missing"),
    [
        (["a", None, "b", "NA", "a", "b"], [1, 3]),
        ([1.5, None, 2.5, 3.5, 1.0, 0.0], [1]),
        (["1.5", "none", "2.5", "-", "3.5", "7"], [1, 3]),
    ],
)
def test_rows_without_a_label_are_in_no_split(values, missing):
    frame = pd.DataFrame({"x": np.linspace(0, 1, 60), "y": values * 10})
    data = TabularData(frame, "y")
    rows = torch.cat(list(data.splits.values())).sort().values
    assert rows.tolist() == [row for row in range(60) if row % 6 not in missing]
    count = 10 * len(missing)
    assert ("note", f"{count} rows have no label (y), and are left out") in data.table.lines
    assert not torch.cat([data.rows(split)[1] for split in data.splits]).isnan().any()


def test_na_may_be_a_class():
    target = target_of(["NA", "EU", "NA", "AS"] * 9, na_values=[])
    assert target.classes == ["AS", "EU", "NA"]


def test_batches_have_the_labels_of_their_task():
    x = np.random.default_rng(0).normal(size=(60, 2))
    for y, shape, dtype in (
        (np.array(["no", "yes"] * 30), (36, 1), torch.float32),
        (np.eye(3)[np.arange(60) % 3].astype(int), (36, 3), torch.float32),
        (x[:, :1] * 1000, (36, 1), torch.float32),
        (x * 1000, (36, 2), torch.float32),
    ):
        labels = TabularData(x, y).rows("train")[1]
        assert (labels.shape, labels.dtype) == (shape, dtype)


def test_the_names_of_classes_have_their_type_again():
    for values, kind in (([1, 2] * 9, np.int64), ([0.5, 1.5] * 9, np.float64), ([True, False] * 9, np.bool_)):
        target = target_of(values)
        restored = labels_as(target.classes, target.kind)
        assert restored.dtype == kind
        assert restored[target.labels].tolist() == values
    assert labels_as(["a", "b"], "text").tolist() == ["a", "b"]
