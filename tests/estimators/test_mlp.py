"""MLPClassifier and MLPRegressor: what they answer, and what they are trained on."""

import pickle

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes, load_iris, make_multilabel_classification
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import torchbp
from torchbp.estimators import MLPClassifier, MLPRegressor
from torchbp.estimators.held_out import training_rows
from torchbp.estimators.scaling import as_tensor, fitted_scaling

SMALL = {"hidden_layer_sizes": (8,), "members": 3, "max_iter": 15, "random_state": 0}
IRIS, DIABETES = load_iris(as_frame=True), load_diabetes(as_frame=True)


def test_names_of_classes_and_features_go_through():
    names = IRIS.target_names[IRIS.target]
    model = MLPClassifier(random_state=0).fit(IRIS.data, names)
    assert model.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    assert model.feature_names_in_.tolist() == list(IRIS.data.columns)
    assert model.score(IRIS.data, names) > 0.95
    probabilities = model.predict_proba(IRIS.data)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert (model.classes_[probabilities.argmax(1)] == model.predict(IRIS.data)).all()
    assert model.n_iter_ == len(model.loss_curve_) == len(model.validation_loss_curve_) <= 200


def test_answers_are_the_mean_of_the_networks():
    model = MLPClassifier(**SMALL).fit(IRIS.data, IRIS.target)
    z = fitted_scaling("standard", IRIS.data.to_numpy(), None)(as_tensor(IRIS.data.to_numpy()))
    z = z / (1 + z**2 / 16) ** 0.5
    members = [net.double()(z).softmax(-1) for net in torchbp.unstack(model.network_)]
    np.testing.assert_allclose(model.predict_proba(IRIS.data), torch.stack(members).mean(0).detach())


def test_two_classes_have_one_output():
    model = MLPClassifier(**SMALL).fit(IRIS.data, IRIS.target > 0)
    assert model.network_.sizes == (4, 8, 1)
    assert model.classes_.tolist() == [False, True]
    np.testing.assert_allclose(model.predict_proba(IRIS.data).sum(1), 1)


def test_several_labels():
    x, y = make_multilabel_classification(300, 8, n_classes=3, random_state=0)
    model = MLPClassifier(random_state=0).fit(x, y)
    assert model.predict_proba(x).shape == (300, 3)
    assert (model.predict(x) == y).mean() > 0.85
    assert (model.predict(x) == MLPClassifier(random_state=0).fit(x, csr_array(y)).predict(x)).all()


def test_several_numbers_of_different_sizes():
    y = np.stack([1e6 + 1e5 * DIABETES.data["bmi"], DIABETES.target], 1)
    model = MLPRegressor(random_state=0).fit(DIABETES.data, y)
    assert model.predict(DIABETES.data).shape == y.shape
    assert model.score(DIABETES.data, y) > 0.6
    one = MLPRegressor(**SMALL).fit(DIABETES.data, y[:, 0])
    assert one.predict(DIABETES.data[:7]).shape == (7,)


@pytest.mark.parametrize("cls", [MLPClassifier, MLPRegressor])
def test_rows_that_weigh_more_decide(cls):
    """Each point is there with both targets; the weights say which of them is right."""
    x = np.random.default_rng(0).normal(size=(100, 3))
    y = (x[:, 0] > 0).astype(int)
    both, targets = np.concatenate([x, x]), np.concatenate([y, 1 - y])
    model = cls(members=2, random_state=0).fit(both, targets, np.repeat([1.0, 0.05], 100))
    assert (model.predict(x).round() == y).mean() > 0.9
    model.fit(both, targets, np.repeat([0.05, 1.0], 100))
    assert (model.predict(x).round() == y).mean() < 0.1


def test_weights_that_are_all_equal_change_nothing():
    plain = MLPClassifier(**SMALL).fit(IRIS.data, IRIS.target).predict_proba(IRIS.data)
    weighted = MLPClassifier(**SMALL).fit(IRIS.data, IRIS.target, np.full(150, 7.0)).predict_proba(IRIS.data)
    np.testing.assert_allclose(plain, weighted, atol=1e-4)


def test_a_seed_gives_the_same_networks_and_leaves_torchs_stream_alone():
    before = torch.get_rng_state()
    first, second = (MLPRegressor(**SMALL, dropout=0.2).fit(DIABETES.data, DIABETES.target) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert (first.predict(DIABETES.data) == second.predict(DIABETES.data)).all()
    other = clone(first).set_params(random_state=1).fit(DIABETES.data, DIABETES.target)
    assert (first.predict(DIABETES.data) != other.predict(DIABETES.data)).all()
    assert (pickle.loads(pickle.dumps(first)).predict(DIABETES.data) == first.predict(DIABETES.data)).all()


def test_the_networks_are_those_of_their_best_epochs():
    model = MLPRegressor(hidden_layer_sizes=(64, 64), max_iter=100, random_state=0, learning_rate_init=0.02)
    model.fit(DIABETES.data, DIABETES.target)
    best = min(model.validation_loss_curve_)
    assert model.n_iter_ < 100
    assert model.validation_loss_curve_[-1] > 1.02 * best
    assert model._training.optimizer.minimum.lowest.mean() <= best


def test_a_pipeline_encodes_texts_and_a_search_finds_options():
    frame = IRIS.data.assign(colour=np.where(IRIS.target == 1, "blue", "white"))
    encode = make_column_transformer((OneHotEncoder(sparse_output=False), ["colour"]), remainder="passthrough")
    search = GridSearchCV(
        make_pipeline(encode, MLPClassifier(**SMALL)), {"mlpclassifier__learning_rate_init": [1e-6, 0.03]}, cv=3
    )
    search.fit(frame, IRIS.target)
    assert search.best_params_ == {"mlpclassifier__learning_rate_init": 0.03}
    assert cross_val_score(MLPRegressor(random_state=0), DIABETES.data, DIABETES.target, cv=2).mean() > 0.3


def test_partial_fit_goes_on():
    model, rng = MLPClassifier(**SMALL), np.random.default_rng(0)
    for _ in range(30):
        x = rng.normal(size=(200, 3))
        model.partial_fit(x, np.where(x[:, 0] > 0, "b", "a"), classes=["a", "b", "c"])
    assert model.n_iter_ == len(model.loss_curve_) == 30
    assert model.score(x, np.where(x[:, 0] > 0, "b", "a")) > 0.9
    assert model.predict_proba(x).shape == (200, 3)
    with pytest.raises(ValueError, match="y has the class 'd', which is not one of"):
        model.partial_fit(x, np.full(200, "d"))
    with pytest.raises(ValueError, match="had no sample_weight"):
        model.partial_fit(x, np.full(200, "a"), sample_weight=np.ones(200))
    regressor = MLPRegressor(**SMALL)
    for _ in range(30):
        regressor.partial_fit(x, 5 * x[:, 0], sample_weight=np.ones(200))
    assert regressor.score(x, 5 * x[:, 0]) > 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"members": 0}, "members=0 must be a positive integer"),
        ({"batch_size": "all"}, "batch_size='all' must be a positive integer or auto"),
        ({"max_iter": 2.5}, "max_iter=2.5 must be a positive integer"),
        ({"validation_fraction": 1.0}, "validation_fraction=1.0 must be at least 0 and below 1"),
        ({"scaling": "log"}, "scaling='log' is not known; use auto, clipped, ranked, standard or none"),
        ({"activation": "spline"}, "activation='spline' is not known"),
        ({"hidden_layer_sizes": (8, 0)}, "the size 0 is not a positive integer"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        MLPClassifier(**options).fit(IRIS.data, IRIS.target)


def test_rows_that_do_not_fit():
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        MLPClassifier().fit(csr_array(IRIS.data.to_numpy()), IRIS.target)
    with pytest.raises(ValueError, match="y has several columns of classes"):
        MLPClassifier().fit(IRIS.data, np.stack([IRIS.target, IRIS.target], 1))
    with pytest.raises(ValueError, match=r"weight.*zero"):
        MLPClassifier().fit(IRIS.data, IRIS.target, np.zeros(150))


@pytest.mark.parametrize("options", [{"hidden_layer_sizes": ()}, {"hidden_layer_sizes": 8}, {"validation_fraction": 0}])
@pytest.mark.parametrize("rows", [3, 49, 50, 51, 97])
def test_any_number_of_rows(rows, options):
    x = np.random.default_rng(0).normal(size=(rows, 2))
    model = MLPClassifier(**{**SMALL, "max_iter": 3, **options}).fit(x, np.arange(rows) % 3)
    assert (model.validation_loss_curve_ is None) == (rows < 50 or "validation_fraction" in options)
    assert np.isfinite(model.predict_proba(x)).all()


def test_validation_rows_are_different_ones_with_each_class():
    classes = np.repeat([0, 1, 2], [60, 30, 10])
    masks = training_rows(classes, 100, 9, 20, np.random.RandomState(0)).numpy()
    assert masks.shape == (9, 100)
    assert ((~masks).sum(1) == 20).all()
    assert (~masks[:5]).sum(0).tolist() == [1] * 100
    for mask in masks:
        assert np.abs(np.bincount(classes[~mask], minlength=3) - [12, 6, 2]).max() <= 1
    assert len({tuple(mask) for mask in masks}) == 9


def scaled(name, x, weight=None):
    return fitted_scaling(name, x, weight)(as_tensor(x)).numpy()


def test_scaling_is_weighted_and_leaves_constants_alone():
    x = np.array([[1.0, 5.0], [3.0, 5.0], [100.0, 5.0]])
    found = scaled("standard", x, np.array([1.0, 1.0, 0.0]))
    np.testing.assert_allclose(found, [[-1, 0], [1, 0], [98, 0]])
    clipped = scaled("clipped", x, np.array([1.0, 1.0, 0.0]))
    np.testing.assert_allclose(clipped[:, 0], [-1 / (17 / 16) ** 0.5, 1 / (17 / 16) ** 0.5, 4], rtol=1e-3)
    np.testing.assert_array_equal(scaled("none", x), x)
    later = fitted_scaling("standard", x, None)(torch.tensor([[0.0, 7.0]], dtype=torch.double))
    assert later[0, 1] == 2  # a constant that varies later, as `partial_fit` may see it


@pytest.mark.parametrize("scale", [2.0**-1000, 2.0**1000])
@pytest.mark.parametrize("name", ["standard", "clipped", "ranked"])
def test_features_of_any_size_are_scaled_alike(name, scale):
    x = np.random.default_rng(0).normal(size=(100, 2))
    np.testing.assert_array_equal(scaled(name, scale * x), scaled(name, x))


def test_a_value_that_is_far_from_all_others_is_at_the_bound():
    scaling = fitted_scaling("clipped", np.random.default_rng(0).normal(size=(100, 1)), None)
    far = torch.tensor([[1e20], [1e160], [-1e300]], dtype=torch.double)
    torch.testing.assert_close(scaling(far).flatten(), torch.tensor([4.0, 4.0, -4.0], dtype=torch.double))


def test_ranks_are_shares_of_the_rows():
    rng = np.random.default_rng(0)
    x = np.stack([np.exp(rng.normal(size=4000)), rng.integers(2, size=4000), rng.normal(size=4000).clip(0)], 1)
    scaling = fitted_scaling("auto", x, None)
    found = scaling(as_tensor(x)).numpy()
    assert found.shape == (4000, scaling.features) == (4000, 5)  # that of two values has no ranks
    np.testing.assert_allclose(found[:, 2:], scaled("clipped", x))
    ranks = found[:, :2] / 12**0.5 + 0.5
    np.testing.assert_allclose(ranks[:, 0].argsort().argsort() / 4000, ranks[:, 0], atol=0.01)
    assert ranks[x[:, 2] == 0, 1] == pytest.approx(0.25, abs=0.01)  # the middle of the lower half
    far = scaling(torch.tensor([[1e9, 0, 1e9], [-1e9, 0, -1e9]], dtype=torch.double)).numpy()
    np.testing.assert_allclose(far[:, :2], [[3**0.5] * 2, [-(3**0.5)] * 2])
    assert fitted_scaling("auto", x[:999], None).features == 3


def test_ranks_find_what_a_heavy_tail_hides():
    x = np.exp(4 * np.random.default_rng(0).normal(size=(2500, 2)))
    y = np.abs(np.log(x[:, 0])) < 1
    fits = [MLPClassifier(scaling=name, members=2, random_state=0).fit(x, y) for name in ("clipped", "auto")]
    scores = [model.score(x, y) for model in fits]
    assert scores[1] > 0.95 > scores[0]
