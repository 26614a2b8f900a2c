"""Tasks: their losses, answers and scores, beside scikit-learn's and torch's."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn import metrics
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import QuantileTransformer, RobustScaler, StandardScaler
from sklearn.utils.class_weight import compute_class_weight

from tests.training.trainers import network, quiet_trainer
from torchbp.engine import SGD, RowWeighted, backprop, with_weight
from torchbp.nn import MLP, CrossEntropyLoss
from torchbp.scaling import SCALINGS, make_scaling
from torchbp.training import Network, TabularData
from torchbp.training.errors import SettingError
from torchbp.training.scores.auroc import area_under_roc
from torchbp.training.scores.scores import Scores
from torchbp.training.tasks import METRICS, TASKS, make_task

NAMES = {
    "binary": ["no", "yes"],
    "multiclass": list("abcd"),
    "multilabel": ["hot", "wet", "old"],
    "regression": ["u", "v"],
}


def rows_of(name, count=60, weighted=False):
    """The task, outputs Z, y and the rows' weights."""
    task = make_task(name, NAMES[name]).double()
    z = 2 * torch.randn(count, task.outputs, dtype=torch.double)
    if name == "multiclass":
        y = torch.randint(4, (count,))
    elif name == "regression":
        y = 100 + 7 * torch.randn(count, 2, dtype=torch.double)
    else:
        y = (torch.rand(count, task.outputs, dtype=torch.double) < 0.4).double()
    w = torch.rand(count, dtype=torch.double) + 0.1 if weighted else None
    task.fit(y, w)
    return task, z, y, w


def scores_of(task, z, y, w):
    scores = Scores(task)
    for at in torch.arange(len(z)).split(25):
        scores.add(z[None, None, at], y[at], None if w is None else w[at])
    return {name: value.item() for name, value in scores.means(lambda sums: sums)[1].items()}


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("name", TASKS)
def test_a_row_in_doubt_has_the_mean_loss_over_what_it_may_be(name, smoothing, balanced):
    if name == "regression":
        task, z, y, _ = rows_of(name)
        torch.testing.assert_close(task.row_losses(z, y, doubt=0.2), task.row_losses(z, y))
        return
    _, z, y, _ = rows_of(name)
    options = {"label_smoothing": smoothing, "class_weight": "balanced" if balanced else None}
    task = make_task(name, NAMES[name], **options).double()
    task.fit(y)
    of_all = [task.row_losses(z, torch.full_like(y, k)) for k in range(4 if name == "multiclass" else 2)]
    expected = 0.8 * task.row_losses(z, y) + 0.2 * sum(of_all) / len(of_all)
    torch.testing.assert_close(task.row_losses(z, y, doubt=0.2), expected)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", TASKS)
def test_scores_are_those_of_scikit_learn(name, weighted):
    task, z, y, w = rows_of(name, weighted=weighted)
    found, answers = scores_of(task, z, y, w), task.answers(z)
    assert {*found, "auroc"} >= set(task.metrics)
    weights = None if w is None else w.numpy()
    if name == "regression":
        assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(y, answers, sample_weight=weights))
        assert found["mae"] == pytest.approx(metrics.mean_absolute_error(y, answers, sample_weight=weights))
        assert found["r2"] == pytest.approx(metrics.r2_score(y, answers, sample_weight=weights))
        for number, target in enumerate(task.classes):
            one = y[:, number], answers[:, number]
            assert found[f"rmse/{target}"] == pytest.approx(
                metrics.root_mean_squared_error(*one, sample_weight=weights)
            )
            assert found[f"r2/{target}"] == pytest.approx(metrics.r2_score(*one, sample_weight=weights))
        return
    predicted = answers.argmax(1) if name == "multiclass" else (answers >= 0.5).double()
    if name == "multilabel":
        each = [metrics.accuracy_score(a, b, sample_weight=weights) for a, b in zip(y.T, predicted.T, strict=True)]
        assert found["accuracy"] == pytest.approx(np.mean(each))
        losses = [metrics.log_loss(a, b, sample_weight=weights) for a, b in zip(y.T, answers.T, strict=True)]
        assert found["log_loss"] == pytest.approx(np.mean(losses))
    else:
        assert found["accuracy"] == pytest.approx(metrics.accuracy_score(y, predicted, sample_weight=weights))
        assert found["log_loss"] == pytest.approx(metrics.log_loss(y, answers, sample_weight=weights))
    average = "binary" if name == "binary" else "macro"
    assert found["f1"] == pytest.approx(metrics.f1_score(y, predicted, average=average, sample_weight=weights))
    area = area_under_roc(answers, task.truth(y), torch.ones(len(y)) if w is None else w)
    several = {"multi_class": "ovr"} if name == "multiclass" else {}
    if name == "multiclass" and weighted:
        expected = np.mean([metrics.roc_auc_score(y == k, answers[:, k], sample_weight=weights) for k in range(4)])
    else:
        expected = metrics.roc_auc_score(y, answers, average="macro", sample_weight=weights, **several)
    assert area.item() == pytest.approx(expected)


def test_a_class_that_nobody_has_and_nobody_names_is_no_part_of_macro_f1():
    task = make_task("multiclass", list("abcd"))
    z, y = F.one_hot(torch.tensor([0, 1, 1, 0])).float().mul(9), torch.tensor([0, 1, 0, 0])
    z = F.pad(z, (0, 2))
    expected = metrics.f1_score(y, z.argmax(1), average="macro")
    assert scores_of(task, z, y, None)["f1"] == pytest.approx(expected)


@pytest.mark.parametrize("name", TASKS)
def test_the_criterion_is_the_mean_of_the_losses_of_rows(name):
    for smoothing in (0.0, 0.3) if TASKS[name].has_classes else (0.0,):
        for loss in TASKS[name].loss_names():
            task = make_task(name, NAMES[name], loss=loss, label_smoothing=smoothing).double()
            _, z, y, w = rows_of(name, weighted=True)
            task.fit(y, w)
            target, criterion = task.target(y)
            torch.testing.assert_close(criterion(z, target), task.losses(z, y))
            target, criterion = task.target(y, w)
            torch.testing.assert_close(criterion(z, target), task.losses(z, y, w))
            torch.testing.assert_close(task.losses(z, y, w), (task.row_losses(z, y) * w).mean() / w.mean())
            each = torch.stack([task.losses(of, y, w) for of in (z, -z)])
            torch.testing.assert_close(task.losses(torch.stack([z, -z]), y, w), each)


def test_losses_are_those_of_torch():
    _, z, y, _ = rows_of("multiclass")
    smooth = make_task("multiclass", NAMES["multiclass"], label_smoothing=0.2)
    torch.testing.assert_close(smooth.losses(z, y), F.cross_entropy(z, y, label_smoothing=0.2))
    task, z, y, _ = rows_of("regression")
    u = (y - y.mean(0)) / y.std(0, correction=0)
    torch.testing.assert_close(task.answers(u), y)
    for name, of_torch in (
        ("mse", F.mse_loss),
        ("huber", F.huber_loss),
        ("l1", F.l1_loss),
        ("smooth_l1", F.smooth_l1_loss),
    ):
        task = make_task("regression", ["u", "v"], loss=name).double()
        task.fit(y)
        torch.testing.assert_close(task.losses(z, y), of_torch(z, u))
    assert list(TASKS["regression"].loss_names()) == ["mse", "huber", "l1", "smooth_l1"]


def test_class_weights_are_those_of_scikit_learn():
    _, z, y, w = rows_of("multiclass", weighted=True)
    task = make_task("multiclass", NAMES["multiclass"], class_weight="balanced").double()
    task.fit(y)
    expected = torch.from_numpy(compute_class_weight("balanced", classes=np.arange(4), y=y.numpy()))
    torch.testing.assert_close(task.weights, expected)
    torch.testing.assert_close(task.losses(z, y), (F.cross_entropy(z, y, reduction="none") * expected[y]).mean())
    task = make_task("multiclass", NAMES["multiclass"], class_weight={"b": 3}).double()
    task.fit(y, w)
    of_rows = torch.where(y == 1, 3.0, 1.0)
    torch.testing.assert_close(task.weights[1] / task.weights[0], torch.tensor(3.0, dtype=torch.double))
    losses = F.cross_entropy(z, y, reduction="none")
    torch.testing.assert_close(task.losses(z, y, w), (losses * of_rows * w).sum() / (of_rows * w).sum())
    _, z, y, _ = rows_of("binary")
    for weight in ("balanced", {"yes": 4, "no": 2}):
        task = make_task("binary", NAMES["binary"], class_weight=weight).double()
        task.fit(y)
        of_rows = (
            compute_class_weight(weight, classes=np.arange(2), y=y[:, 0].numpy()) if weight == "balanced" else [2, 4]
        )
        of_rows = torch.as_tensor(of_rows, dtype=torch.double)[y.long()]
        losses = F.binary_cross_entropy_with_logits(z, y, reduction="none")
        torch.testing.assert_close(task.losses(z, y), (losses * of_rows).sum() / of_rows.sum())
        target, loss = task.target(y)
        torch.testing.assert_close(loss(z, target), task.losses(z, y))


def test_class_weights_with_label_smoothing_are_torchs():
    """Two classes and more: a class has its weight in the part that is smoothed, too."""
    _, z, y, w = rows_of("multiclass", weighted=True)
    task = make_task("multiclass", NAMES["multiclass"], class_weight={"b": 3, "d": 0.5}, label_smoothing=0.3).double()
    task.fit(y, w)
    assert (task.weights / task.weights[0]).tolist() == pytest.approx([1, 3, 1, 0.5])
    expected = F.cross_entropy(z, y, weight=task.weights, label_smoothing=0.3, reduction="none")
    torch.testing.assert_close(task.row_losses(z, y), expected)
    for of_rows in (None, w):
        target, criterion = task.target(y, of_rows)
        torch.testing.assert_close(criterion(z, target), task.losses(z, y, of_rows))
    _, z, y, _ = rows_of("binary")
    task = make_task("binary", NAMES["binary"], class_weight={"yes": 4}, label_smoothing=0.3).double()
    task.fit(y)
    both = torch.cat([torch.zeros_like(z), z], -1)
    weights = task.criterion.weight * torch.cat([torch.ones(1).double(), task.criterion.pos_weight])
    expected = F.cross_entropy(both, y[:, 0].long(), weight=weights, label_smoothing=0.3, reduction="none")
    torch.testing.assert_close(task.row_losses(z, y), expected)


def test_a_class_of_yaml_has_its_name():
    weights = {True: 2.0, False: 3.0}
    assert make_task("binary", ["no", "Yes"], class_weight=weights).class_weight == {"Yes": 2.0, "no": 3.0}
    assert make_task("multiclass", ["0", "1", "2"], class_weight={1: 2.0}).class_weight == {"1": 2.0}


@pytest.mark.parametrize("name", TASKS)
def test_the_best_constant_answer_is_a_minimum(name):
    for weight, smoothing in ((None, 0.0), ("balanced", 0.0), ("balanced", 0.2))[: 3 if TASKS[name].has_classes else 1]:
        _, _, y, w = rows_of(name, weighted=True)
        task = make_task(name, NAMES[name], class_weight=weight, label_smoothing=smoothing).double()
        task.fit(y, w)
        z = task.constant(y, w)

        def loss(z, task=task, y=y, w=w):
            return (task.row_losses(z.expand(len(y), -1), y) * w).sum() / w.sum()

        assert task.constant_loss(y, w) == pytest.approx(loss(z).item())
        for _ in range(20):
            assert loss(z + 0.1 * torch.randn_like(z)) > loss(z)


@pytest.mark.parametrize("name", TASKS)
def test_the_mean_answer_of_members_is_the_mean_of_their_answers(name):
    task, *_ = rows_of(name)
    z = 3 * torch.randn(2, 5, 40, task.outputs, dtype=torch.double)
    finite = torch.ones(2, 5, dtype=torch.bool)
    finite[1, 3], z[1, 3] = False, torch.nan
    mean, deviation = task.mean_answer(z, finite)
    for group in range(2):
        answers = task.answers(z[group, finite[group]])
        torch.testing.assert_close(task.answers(mean[group]), answers.mean(0))
        torch.testing.assert_close(deviation[group], answers.std(0, correction=0).mean(-1))


def test_unknown_settings_of_a_task_are_named():
    for settings, message in (
        ({"label_smoothing": 0.1}, "is for classes, and this is a regression"),
        ({"class_weight": "balanced"}, "is for classes, and this is a regression"),
        ({"loss": "kl_div"}, "not known for the task regression; use mse, huber, l1, smooth_l1"),
    ):
        with pytest.raises(SettingError, match=message):
            make_task("regression", ["u"], **settings)
    with pytest.raises(
        SettingError, match="task='ranking' is not known; use binary, multiclass, multilabel, regression"
    ):
        Network(2, ["a"], task="ranking")
    with pytest.raises(SettingError, match="the task binary has two classes, and these are 3; use multiclass"):
        Network(2, list("abc"))
    rare = make_task("multiclass", list("abc"), class_weight="balanced")
    with pytest.raises(SettingError, match="no training row has the class 'c'"):
        rare.fit(torch.tensor([0, 1, 1]))
    assert METRICS["auroc"] == METRICS["r2"] == "max"
    assert METRICS["rmse"] == METRICS["log_loss"] == "min"


# row weights


@pytest.mark.parametrize("members", [None, 3])
@pytest.mark.parametrize("name", TASKS)
def test_a_row_of_weight_2_is_two_rows_to_the_engine_and_its_programs(name, members):
    task, _, y, _ = rows_of(name, 12)
    x, w = torch.randn(12, 5, dtype=torch.double), torch.tensor([1.0, 2.0, 0.0] * 4, dtype=torch.double)
    twice = torch.arange(12).repeat_interleave(w.long())
    task.fit(y[twice])
    nets = [MLP(5, 4, task.outputs, members=members).double() for _ in range(3)]
    for net in nets[1:]:
        net.load_state_dict(nets[0].state_dict())
    plain, weighted = task.target(y[twice])[0], with_weight(task.encode(y).to(w if name != "multiclass" else y), w, 4)
    compiled = SGD(nets[2], lr=0.1, loss=RowWeighted(task.criterion, divide_by="rows"), compile=True)
    for _ in range(3):
        alone = SGD(nets[0], lr=0.1, loss=task.criterion).backprop_step(x[twice], plain)
        found = SGD(nets[1], lr=0.1, loss=RowWeighted(task.criterion, divide_by="rows")).backprop_step(x, weighted)
        torch.testing.assert_close(found.clone(), alone.clone())
    compiled.backprop_steps(x.expand(3, -1, -1).contiguous(), weighted.expand(3, -1, -1).contiguous())
    for net in nets[1:]:
        for ours, theirs in zip(net.parameters(), nets[0].parameters(), strict=True):
            torch.testing.assert_close(ours, theirs)
    one = MLP(5, 4, task.outputs).double()
    loss = RowWeighted(task.criterion, divide_by="rows")
    backprop(one, x, weighted, loss)
    expected = torch.autograd.grad(loss(one(x), weighted), list(one.parameters()))
    torch.testing.assert_close([p.grad for p in one.parameters()], list(expected))


def test_a_target_without_weights_is_refused():
    with pytest.raises(ValueError, match=r"the target has the shape \(3, 2\), and the output \(3, 4\)"):
        backprop(MLP(2, 4), torch.randn(3, 2), torch.zeros(3, 2), RowWeighted(CrossEntropyLoss(), divide_by="rows"))


# scaling


@pytest.mark.parametrize("name", SCALINGS)
def test_scalings_are_those_of_scikit_learn(name):
    x = torch.randn(5000, 3)
    x[:, 1], x[:, 2] = (x[:, 1] * 2).round(), x[:, 2].exp()
    new = torch.cat([2 * torch.randn(200, 3), torch.tensor([[torch.nan] * 3, [1e9] * 3, [-1e9] * 3])])
    new[:200, 1] = (new[:200, 1] * 2).round()
    blank = x.clone()
    blank[::7] = torch.nan
    scaling = make_scaling(name, 3).double()
    scaling.fit(blank.double())
    known = blank[~blank[:, 0].isnan()].double()
    peer = {
        "standard": StandardScaler(), "clipped": StandardScaler(), "robust": RobustScaler(),
        "quantile": QuantileTransformer(n_quantiles=1000, output_distribution="normal", subsample=None),
        "none": StandardScaler(with_mean=False, with_std=False),
    }[name].fit(known)  # fmt: skip
    imputed = torch.where(
        new.isnan(), known.median(0).values if len(known) % 2 else known.quantile(0.5, 0), new.double()
    )
    expected = torch.from_numpy(peer.transform(imputed))
    if bound := {"clipped": 4, "robust": 3}.get(name):
        expected = expected / (1 + (expected / bound).square()).sqrt()
    torch.testing.assert_close(scaling(new.double()), expected, rtol=1e-6, atol=1e-6)
    constant = make_scaling(name, 1)
    constant.fit(torch.full((9, 1), 3.0))
    if name != "none":
        assert constant(torch.tensor([[3.0], [4.0], [torch.nan]])).tolist() == [[0.0]] * 3


@pytest.mark.parametrize("name", ["standard", "clipped"])
def test_a_weight_of_a_row_is_a_number_of_rows_to_mean_and_deviation(name):
    x, weight = torch.randn(40, 3), torch.arange(40) % 4
    x[::7, 1] = torch.nan
    weighted, repeated, without = (make_scaling(name, 3).double() for _ in range(3))
    weighted.fit(x, weight.float())
    repeated.fit(x.repeat_interleave(weight, 0))
    torch.testing.assert_close(weighted.center, repeated.center)
    torch.testing.assert_close(weighted.scale, repeated.scale)
    without.fit(x)
    assert not torch.allclose(without.center, weighted.center)
    torch.testing.assert_close(weighted.median, without.median)


def test_a_long_constant_feature_is_constant():
    for weight in (None, torch.rand(10**6)):
        scaling = make_scaling("standard", 1).double()
        scaling.fit(torch.full((10**6, 1), 0.1, dtype=torch.double), weight)
        assert scaling(torch.full((1, 1), 7.0, dtype=torch.double)) == 0


def test_a_scaling_of_features_without_a_value_gives_0():
    for name in SCALINGS:
        scaling = make_scaling(name, 2)
        scaling.fit(torch.full((4, 2), torch.nan))
        assert scaling(torch.full((2, 2), torch.nan)).tolist() == [[0.0, 0.0]] * 2


# beside linear models: hidden [], down to the minimum


def test_without_a_hidden_layer_it_is_a_logistic_or_linear_regression():
    decay = 0.01
    logistic = {"tol": 1e-8, "max_iter": 10_000, "fit_intercept": False}
    for source, peer in (
        ("breast_cancer", lambda n: LogisticRegression(C=1 / (decay * n), **logistic)),
        ("digits", lambda n: LogisticRegression(C=1 / (decay * n), **logistic)),
        ("diabetes", lambda n: Ridge(alpha=decay * n / 2, fit_intercept=False)),
    ):
        data = TabularData(source, batch_size=2000)
        model = network(
            data,
            hidden=[],
            lr=0.1 if source == "diabetes" else 0.5,
            momentum=0.9,
            weight_decay=decay,
            engine="explicit",
            scaling="standard",
        )
        quiet_trainer(max_epochs=300, precision="64-true", limit_val_batches=0).fit(model, data)
        (x, y), (new, _) = data.rows("train"), data.rows("test")
        # a column of ones is the bias, whose decay scikit-learn's own has not
        scaled, new_scaled = (F.pad(model.scaling(t.double()), (0, 1), value=1).numpy() for t in (x, new))
        target = y.numpy().ravel() if source != "diabetes" else model.task.encode(y.double()).numpy().ravel()
        fitted = peer(len(x)).fit(scaled, target)
        ours = model.answers(new).numpy()
        if source == "diabetes":
            theirs = model.task.answers(torch.from_numpy(fitted.predict(new_scaled))[:, None]).numpy()
        else:
            theirs = fitted.predict_proba(new_scaled)[:, -ours.shape[1] :]
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-3 * np.abs(theirs).max())
