"""Frames with texts, categories, dates and blanks, as the estimators take them."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from torchbp.estimators import MLPClassifier, MLPRegressor, PackClassifier, PackRegressor
from torchbp.estimators.columns import MOST_VALUES, Columns

SMALL = {"members": 2, "folds": 2, "max_iter": 40, "batch_size": 64, "random_state": 0}
SMALL_MLP = {"members": 1, "max_iter": 40, "random_state": 0}


@pytest.fixture(scope="module")
def frame():
    """What decides is in a text, in a category, in a date and in which numbers are missing."""
    random = np.random.default_rng(0)
    size = random.normal(size=240)
    frame = pd.DataFrame({"size": size, "noise": random.normal(size=240)})
    frame.loc[::4, "size"] = None
    frame["colour"] = random.choice(["red", "blue", "green"], 240)
    frame["grade"] = pd.Categorical(random.choice(["a", "b"], 240))
    frame["day"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(random.integers(0, 300, 240), unit="D")
    return frame


def targets(frame):
    decisive = frame["size"].isna(), frame["colour"] == "red", frame["grade"] == "a", frame["day"] > "2024-06-01"
    return sum(column.to_numpy(int) for column in decisive) - 1.75


@pytest.mark.parametrize("model", [PackRegressor(**SMALL), MLPRegressor(**SMALL_MLP)], ids=lambda model: str(model)[:4])
def test_each_kind_of_column_is_learned_from(frame, model):
    y = targets(frame)
    model = clone(model).fit(frame, y)
    assert model.score(frame, y) > 0.9
    assert list(model.feature_names_in_) == list(frame)
    assert model.n_features_in_ == 5
    one, again = model.predict(frame[3:4]), pickle.loads(pickle.dumps(model))
    np.testing.assert_allclose(one, model.predict(frame)[3:4], rtol=1e-12)
    assert (again.predict(frame) == model.predict(frame)).all()


def test_what_a_column_becomes(frame):
    columns = Columns(frame)
    found = pd.DataFrame(columns.numbers(frame), columns=columns.names(list(frame)))
    one_hot = ["colour_blue", "colour_green", "colour_red", "grade_a", "grade_b"]
    assert list(found) == ["size", "noise", "day", "size is missing", *one_hot]
    np.testing.assert_array_equal(found["size"], frame["size"])
    assert (found["size is missing"] == frame["size"].isna()).all()
    assert (found["day"] == (frame["day"] - pd.Timestamp(0)).dt.total_seconds()).all()
    assert (found["colour_red"] == (frame["colour"] == "red")).all()


def test_kinds_of_columns():
    some = [1, None, 3]
    frame = pd.DataFrame(
        {
            "nullable": pd.array(some, dtype="Int64"),
            "objects": pd.Series(some, dtype=object),
            "bool": [True, False, True],
            "maybe": pd.Series([True, None, False], dtype=object),
            "digits": ["1", "2.5", None],
            "duration": pd.to_timedelta([1, None, 3], unit="s"),
            "zone": pd.to_datetime(["1970-01-02", None, "1970-01-03"]).tz_localize("UTC"),
            "blank": [None] * 3,
        }
    )
    numbers, nan = Columns(frame).numbers(frame), np.nan
    day = 86400
    expected = [[1, nan, 3], [1, nan, 3], [1, 0, 1], [1, nan, 0], [1, 2.5, nan], [1, nan, 3], [day, nan, 2 * day]]
    np.testing.assert_array_equal(numbers.T[:8], [*expected, [nan] * 3])
    np.testing.assert_array_equal(numbers.T[8:], np.isnan(numbers.T[:8][[0, 1, 3, 4, 5, 6, 7]]))
    of_arrow = Columns(frame := frame.assign(text=["a", "a", None]).convert_dtypes(dtype_backend="pyarrow"))
    np.testing.assert_array_equal(of_arrow.numbers(frame)[:, :8].T, [*expected, [nan] * 3])
    assert of_arrow.names()[-2:] == ["8_a", "8_infrequent_sklearn"]
    codes = pd.DataFrame({"code": pd.Categorical([7, 7, None, 9, 9])})
    columns = Columns(codes)
    assert columns.names() == ["0_7", "0_9", "0_infrequent_sklearn"]
    later = columns.numbers(pd.DataFrame({"code": [9.0, 7.0, None, 8.0]}))  # a blank makes integers floats
    assert later.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 1]]


def test_texts_that_are_all_different_are_one_column_and_many_are_bounded():
    names = pd.DataFrame({"id": [f"n{i}" for i in range(500)], "twice": [f"n{i // 2}" for i in range(500)]})
    numbers = Columns(names).numbers(names)
    assert numbers.shape == (500, 1 + MOST_VALUES)
    assert (numbers[:, 0] == 1).all()


def test_blanks_of_an_array():
    random = np.random.default_rng(0)
    x = random.normal(size=(120, 2))
    y = x[:, 0] > 0
    x[::3, 1] = np.nan
    for model in (PackClassifier(**SMALL), MLPClassifier(**SMALL_MLP)):
        assert model.fit(x, y).score(x, y) > 0.9
        x_new = np.where(random.random(x.shape) < 0.5, np.nan, x)  # the first column, too
        assert np.isfinite(model.predict_proba(x_new)).all()
        with pytest.raises(ValueError, match="Input X contains infinity"):
            model.predict(np.full((1, 2), np.inf))


def test_numbers_and_arrays_are_the_same(frame):
    numbers = frame[["size", "noise"]]
    y = numbers["noise"] > 0
    of_frame = PackClassifier(**SMALL | {"max_iter": 2}).fit(numbers, y)
    of_array = PackClassifier(**SMALL | {"max_iter": 2}).fit(numbers.to_numpy(), y)
    assert (of_frame.predict_proba(numbers) == of_array.predict_proba(numbers.to_numpy())).all()
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        assert (of_frame.predict(numbers.to_numpy()) == of_frame.predict(numbers)).all()


def test_rows_of_another_kind_are_refused_in_a_line(frame):
    model = MLPRegressor(**SMALL_MLP | {"max_iter": 1}).fit(frame, targets(frame))
    with pytest.raises(ValueError, match="column 'size' has 'large', and had numbers in the rows of fit"):
        model.predict(frame.assign(size="large"))
    with pytest.raises(ValueError, match="column 'size' has 'large'"):
        model.predict(frame.assign(size=["1", *["large"] * 239]))
    with pytest.raises(ValueError, match="column 'day' has 3, and had times in the rows of fit"):
        model.predict(frame.assign(day=3))
    with pytest.raises(ValueError, match="column 2 had texts in the rows of fit; give a frame"), pytest.warns():
        model.predict(np.zeros((2, 5)))
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame.drop(columns="day"))
    with pytest.raises(ValueError, match="column 'size' is complex"):
        model.fit(frame.assign(size=1j), targets(frame))
    with pytest.raises(ValueError, match=r"could not convert string to float: .*u.*; give a pandas frame"):
        PackRegressor(**SMALL).fit(np.array([["u", "v"]] * 60), np.arange(60.0))
    assert np.isfinite(model.predict(frame.assign(day=None, size=None, colour="violet", grade=None))).all()


def test_a_search_takes_a_frame_and_numbers_of_numpy(frame):
    grid = {"max_iter": np.array([1, 8]), "tol": np.array([1e-3], dtype=np.float32)}
    search = GridSearchCV(PackClassifier(**SMALL), grid, cv=2).fit(frame, targets(frame) > 0)
    assert search.best_params_["max_iter"] == 8


def test_partial_fit_has_the_columns_of_its_first_call(frame):
    y, model = targets(frame), MLPRegressor(**SMALL_MLP)
    model.partial_fit(frame[:120], y[:120]).partial_fit(frame[120:].assign(colour="violet", size=None), y[120:])
    assert model.n_iter_ == 2
    assert np.isfinite(model.predict(frame)).all()


def test_dates_and_durations_of_any_size():
    """Nanoseconds have no date beyond 2262, and none before 1677."""
    days = np.array(["9999-12-31", "0001-01-01", "1970-01-02", "NaT"], dtype="datetime64[s]")
    ages = np.array([10**11, -(10**11), 1, "NaT"], dtype="timedelta64[s]")
    frame = pd.DataFrame({"until": days, "age": ages, "short": pd.to_timedelta([1, 2, 3, None], unit="ns")})
    found = Columns(frame).numbers(frame)[:, :3].T
    expected = [of.astype(np.int64).astype(float)[:3] for of in (days, ages)]
    np.testing.assert_array_equal(found[:2, :3], expected)
    np.testing.assert_allclose(found[2, :3], [1e-9, 2e-9, 3e-9], rtol=1e-12)
    assert np.isnan(found[:, 3]).all()


def test_what_is_blank_in_all_rows_of_fit_says_nothing_later(frame):
    blank = frame.assign(colour=None, grade=pd.Categorical([None] * 240))
    model = MLPRegressor(**SMALL_MLP | {"max_iter": 2}).fit(blank, targets(frame))
    assert (model.predict(frame) == model.predict(blank)).all()
    with pytest.raises(ValueError, match="column 2 had blanks in the rows of fit; give a frame"), pytest.warns():
        model.predict(np.zeros((2, 5)))


def test_a_row_of_weight_0_makes_no_column(frame):
    few, y, weight = frame[["noise", "colour"]].copy(), targets(frame), np.ones(240)
    few.loc[0], weight[0] = [None, "violet"], 0
    model = MLPRegressor(**SMALL_MLP | {"max_iter": 2})
    for x, rows in ((few, few[1:]), (few[["noise"]].to_numpy(), few[["noise"]].to_numpy()[1:])):
        without = clone(model).fit(rows, y[1:], weight[1:]).predict(rows)
        assert (clone(model).fit(x, y, weight).predict(rows) == without).all()
