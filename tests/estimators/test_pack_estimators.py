"""PackClassifier and PackRegressor: what is drawn, which rows choose, and what the chosen ones answer."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, load_iris
from sklearn.metrics import log_loss

from torchbp.estimators import PackClassifier, PackRegressor, pack_training
from torchbp.estimators.pack_training import PackTraining, greedy_shares
from torchbp.nn import PeriodicEmbedding

SMALL = {"members": 8, "folds": 2, "validation_fraction": 0.5, "max_iter": 25, "random_state": 0}
IRIS, DIABETES = load_iris(), load_diabetes()


@pytest.fixture(scope="module")
def pack():
    return PackClassifier(**SMALL).fit(IRIS.data, IRIS.target)


def test_configurations_differ_and_some_are_chosen(pack):
    assert len(pack.configurations_) == 4
    assert [len(of_one.hidden_layer_sizes) for of_one in pack.configurations_] == [2, 3, 1, 2]
    assert len({of_one.learning_rate for of_one in pack.configurations_}) == 4
    assert sum(of_one.share for of_one in pack.configurations_) == pytest.approx(1)
    chosen = [of_one for of_one in pack.configurations_ if of_one.share]
    assert min(pack.configurations_, key=lambda of_one: of_one.loss) in chosen
    assert [len(networks) for networks in pack.networks_] == [2] * len(chosen)
    assert log_loss(IRIS.target, pack.predict_proba(IRIS.data)) < 0.3


def test_answers_are_the_means_by_the_shares(pack):
    z = pack._training.scaled(IRIS.data)
    expected, shares = 0, [of_one.share for of_one in pack.configurations_ if of_one.share]
    for share, networks in zip(shares, pack.networks_, strict=True):
        expected += sum(share / 2 * network.double().eval()(z).softmax(-1) for network in networks)
    np.testing.assert_allclose(pack.predict_proba(IRIS.data), expected.detach(), rtol=1e-6)


def test_a_loss_is_that_of_answers_to_rows_that_were_not_trained_on():
    """Targets of chance cannot be answered better than by chance."""
    x, y = np.random.default_rng(0).normal(size=(120, 30)), np.random.default_rng(1).integers(2, size=120)
    pack = PackClassifier(**SMALL | {"n_iter_no_change": 25, "tol": 0.0}).fit(x, y)
    assert all(of_one.loss > 0.68 for of_one in pack.configurations_)
    choosing = pack._training.choosing
    assert choosing.flatten().sort().values.tolist() == list(range(120))
    x = np.concatenate([x, x])  # then half of the rows are in no fold, and their answers choose nothing
    pack = PackClassifier(**SMALL | {"validation_fraction": 0.25, "max_iter": 1}).fit(x, np.concatenate([y, y]))
    assert pack._training.choosing.shape == (2, 60)
    assert len(pack._training.choosing.unique()) == 120


def test_a_number():
    pack = PackRegressor(**SMALL).fit(DIABETES.data, DIABETES.target)
    assert pack.score(DIABETES.data, DIABETES.target) > 0.4
    assert all(0 < of_one.loss < 1.2 for of_one in pack.configurations_)  # in units of the target's variance


def test_a_seed_gives_the_same_pack(pack):
    again = PackClassifier(**SMALL).fit(IRIS.data, IRIS.target)
    assert again.configurations_ == pack.configurations_
    assert (again.predict_proba(IRIS.data) == pack.predict_proba(IRIS.data)).all()


def test_each_configuration_is_itself_when_it_is_trained_alone(pack):
    """Its weights are the same, bit for bit. Only the shares are another matter: alone it has all."""

    class Alone(PackTraining):
        def drawn(self, count, random):
            return super().drawn(count, random)[number : number + 1]

    class AlonePack(PackClassifier):
        _training_class = Alone

    networks = iter(pack.networks_)
    for number in range(4):
        expected = pack.configurations_[number]
        alone = AlonePack(**SMALL).fit(IRIS.data, IRIS.target)
        (found,) = alone.configurations_
        assert found == expected._replace(share=1, loss=pytest.approx(expected.loss, rel=1e-12))
        for ours, others in zip(*alone.networks_, next(networks), strict=True) if expected.share else ():
            assert all(map(torch.equal, ours.parameters(), others.parameters()))


def test_configurations_have_a_periodic_embedding_of_the_ranks():
    random = np.random.default_rng(0)
    x = np.column_stack([random.normal(size=(1000, 2)), random.integers(2, size=1000)])  # the third has no ranks
    y = np.sin(6 * x[:, 0]) > 0
    model = PackClassifier(**SMALL | {"members": 4, "max_iter": 2}).fit(x, y)
    assert all(0.3 <= of_one.frequency <= 2 for of_one in model.configurations_)
    for embedding, linear, *_ in (network for of_one in model.networks_ for network in of_one):
        assert isinstance(embedding, PeriodicEmbedding)
        assert (embedding.features, embedding.waves, linear.in_features) == (2, 8, 5 + 2 * 8)
    few = PackClassifier(**SMALL | {"members": 4, "max_iter": 1}).fit(x[:200], y[:200])
    assert not any(of_one.frequency for of_one in few.configurations_)


def test_few_rows_have_no_folds():
    pack = PackClassifier(**SMALL).fit(IRIS.data[::4], IRIS.target[::4])
    assert [of_one.share for of_one in pack.configurations_] == [0.25] * 4
    assert all(np.isnan(of_one.loss) for of_one in pack.configurations_)


@pytest.mark.parametrize("step", [1, 4])
def test_a_configuration_that_has_diverged_has_no_share(step, monkeypatch):
    """Of few rows, too, where nothing is validated."""
    numbers, train = iter(range(4)), pack_training.train_folds

    def diverging(networks, *rest, **options):
        history = train(networks, *rest, **options)
        if next(numbers) == 1:
            next(networks[0].parameters()).data.fill_(torch.nan)
        return history

    monkeypatch.setattr(pack_training, "train_folds", diverging)
    with pytest.warns(UserWarning, match="the loss of 1 of 4 configurations became nan or inf") as warned:
        pack = PackClassifier(**SMALL | {"max_iter": 2}).fit(IRIS.data[::step], IRIS.target[::step])
    assert warned[0].filename == __file__
    shares = [of_one.share for of_one in pack.configurations_]
    assert (shares[1], sum(shares)) == (0, pytest.approx(1))
    assert np.isfinite(pack.predict_proba(IRIS.data)).all()


def test_greedy_shares():
    """The mean of the first two answers is right, the third is the best one alone, and the fourth is far off."""
    answers, right = torch.tensor([[[2.0]], [[-2.0]], [[1.0]], [[9.0]]]), torch.tensor([[0.0]])
    shares = greedy_shares(answers, lambda answers: (answers - right).square().mean((-1, -2)))
    assert shares.tolist() == [0, pytest.approx(1 / 3), pytest.approx(2 / 3), 0]  # (1 + 1 − 2)/3 = 0
    alone = greedy_shares(answers[2:], lambda answers: (answers - right).square().mean((-1, -2)))
    assert alone.tolist() == [1, 0]
    answers[0] = torch.nan  # it has diverged
    assert greedy_shares(answers, lambda answers: (answers - right).square().mean((-1, -2)))[0] == 0


def test_a_loss_in_doubt_is_a_mean_over_the_classes():
    model, one = PackClassifier(), torch.tensor([[0.9, 0.1]])
    right, wrong = -torch.tensor([0.9, 0.1]).log()
    expected = 0.8 * right + 0.2 * (right + wrong) / 2
    torch.testing.assert_close(model._losses_of(one, torch.tensor([0]), doubt=0.2), expected[None])
    torch.testing.assert_close(model._losses_of(one[:, 1:], torch.tensor([[0.0]]), doubt=0.2), expected[None])
    torch.testing.assert_close(model._losses_of(one, torch.tensor([0])), right[None])


@pytest.mark.parametrize("classes", [2, 3])
def test_who_is_surest_is_not_chosen_for_that(classes, monkeypatch):
    """All answers are right: of 60 rows with one wrong answer, the second of these would have the lower loss."""
    y = np.arange(60) % classes
    right = torch.nn.functional.one_hot(torch.from_numpy(y), classes).double()
    right = right[:, 1:] if classes == 2 else right
    of_each = iter([(1 - 2 * epsilon) * right + epsilon for epsilon in (1e-9, 1e-2)])
    monkeypatch.setattr(PackTraining, "unseen_answers", lambda pack, *_: next(of_each)[pack.choosing.flatten()])
    pack = PackClassifier(members=4, folds=2, validation_fraction=0.5, max_iter=1, random_state=0).fit(y[:, None], y)
    sure, mild = pack.configurations_
    assert sure.loss < 1e-8 < mild.loss
    assert mild.share > sure.share


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation_fraction": 0.3}, "validation_fraction=0.3 must be above 0, and 1/4 at most"),
        ({"validation_fraction": 0}, "validation_fraction=0 must be above 0"),
        ({"folds": 76, "members": 76, "validation_fraction": 0.01}, "folds=76 must be 75 at most, a row for each"),
        ({"members": 2.5}, "members=2.5 must be a positive integer"),
        ({"members": True}, "members=True must be a positive integer"),
        ({"members": 3}, "members=3 must be 4 at least, one for each of the folds"),
        ({"batch_size": "all"}, "batch_size='all' must be a positive integer or auto"),
        ({"tol": "none"}, "tol='none' must be a number from 0 on"),
        ({"tol": float("nan")}, "tol=nan must be a number from 0 on"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        PackClassifier(**options).fit(IRIS.data[::2], IRIS.target[::2])
