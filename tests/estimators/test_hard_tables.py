"""PackClassifier and PackRegressor on tables that leave them little: each ends in a sensible model, or in one line."""

import re

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import r2_score

from torchbp.estimators import MLPClassifier, PackClassifier, PackRegressor

SMALL = {"members": 4, "folds": 2, "max_iter": 20, "batch_size": 64, "random_state": 0}
RANDOM = np.random.default_rng(0)


def classes(rows, features, rare, seed=1):
    """x and y, of which the second class has `rare` rows, which lie apart in the first feature."""
    x = np.random.default_rng(seed).normal(size=(rows, features))
    y = np.zeros(rows, int)
    y[:rare] = 1
    x[:rare, 0] += 4
    return x, y


def of_rows_again():
    x, y = classes(40, 3, 15)
    return np.tile(x, (8, 1)), np.tile(y, 8)


def with_constant_features():
    x, y = classes(200, 3, 80)
    x[:, 1:] = [0.0, 1e9]
    return x, y


def with_enormous_numbers():
    x, y = classes(200, 3, 80)
    x[::7, 1], x[:, 2] = 1e12, x[:, 2] * 1e200
    return x, y


SEPARABLE = {
    "10 rows of each class": classes(20, 3, 10),
    "10 rows of a class": classes(1000, 3, 10),
    "3 rows of a class": classes(200, 3, 3),
    "1 row of a class": classes(200, 3, 1),
    "a dominant class": classes(1000, 5, 8),
    "1 feature": classes(300, 1, 100),
    "5,000 features": classes(60, 5000, 30),
    "rows that occur eight times": of_rows_again(),
    "constant features": with_constant_features(),
    "enormous numbers": with_enormous_numbers(),
}


@pytest.mark.parametrize(("x", "y"), SEPARABLE.values(), ids=SEPARABLE)
def test_classes(x, y):
    probabilities = PackClassifier(**SMALL).fit(x, y).predict_proba(x)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert probabilities[y == 1, 1].mean() > 2 * y.mean() * (1 - y.mean())  # than who only knows the shares: y.mean()
    assert probabilities[:, 1].mean() == pytest.approx(y.mean(), abs=0.2)


def test_a_single_class_is_predicted():
    x = RANDOM.normal(size=(80, 2))
    for model in (PackClassifier(**SMALL), MLPClassifier(members=2, max_iter=2)):
        model.fit(x, ["only"] * 80)
        assert (model.predict(x) == "only").all()
        assert (model.predict_proba(x) == np.ones((80, 1))).all()


@pytest.mark.parametrize("constant", [0.0, -3.5, 1e9])
def test_a_constant_number_is_predicted(constant):
    x = RANDOM.normal(size=(80, 2))
    answers = PackRegressor(**SMALL).fit(x, np.full(80, constant)).predict(x)
    np.testing.assert_allclose(answers, constant, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-300, 1e12, 1e300])
def test_numbers_of_any_size(scale):
    x = np.random.default_rng(0).normal(size=(200, 3))
    y = x[:, 0] + 100
    answers = PackRegressor(**SMALL | {"members": 2, "max_iter": 60}).fit(x, scale * y).predict(x) / scale
    assert r2_score(y, answers) > 0.8


def test_identical_rows_of_two_classes_have_their_shares():
    x, y = np.ones((120, 2)), np.arange(120) % 3 == 0
    answers = PackClassifier(**SMALL | {"members": 2, "max_iter": 60}).fit(x, y).predict_proba(x)
    np.testing.assert_allclose(answers[:, 1], 1 / 3, atol=0.05)


def test_what_is_no_number_is_refused_in_a_line():
    x, y = classes(60, 2, 20)
    x[3, 1] = np.inf
    with pytest.raises(ValueError, match="Input X contains infinity"):
        PackClassifier(**SMALL).fit(x, y)


@pytest.mark.parametrize("model", [PackClassifier(scaling="none"), MLPClassifier(scaling="none")])
def test_numbers_beyond_float32_are_named(model):
    x, y = classes(60, 2, 20)
    x[3, 1] = -1e39
    message = (
        "column {} has -1e\\+39 in row 3, which is too large for float32 with scaling='none'; use scaling='clipped'"
    )
    with pytest.raises(ValueError, match=message.format(1)):
        model.fit(x, y)
    with pytest.raises(ValueError, match=message.format("b")):
        model.fit(pd.DataFrame(x, columns=["a", "b"]), y)


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_weights_of_any_size(scale):
    """Only how they compare counts; and most batches have no other row than those of no weight to speak of."""
    x, y = classes(80, 2, 30)
    heavy = np.where(np.arange(80) == 60, 1.0, 1e-200)
    of_ones, equal, one_heavy = (
        PackClassifier(members=2, folds=2, max_iter=1, batch_size=16, random_state=0)
        .fit(x, y, sample_weight=weight)
        .predict_proba(x)
        for weight in (np.ones(80), np.full(80, scale), scale * heavy)
    )
    np.testing.assert_allclose(equal, of_ones, rtol=1e-5)
    assert np.isfinite(one_heavy).all()


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (["a", None] * 30, "y[1] is None; leave out the rows without a class"),
        (["a", 1] * 30, "y has classes of several types, int, str; give all of them as texts"),
    ],
)
def test_classes_that_cannot_be_compared(y, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        PackClassifier(**SMALL).fit(np.zeros((60, 1)), np.array(y, dtype=object))
