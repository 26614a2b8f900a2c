import pytest
import torch
from sklearn.metrics import roc_auc_score

from tests.training.trainers import network, quiet_trainer
from torchbp.training import Network, TabularData
from torchbp.training.errors import SettingError


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    data = TabularData("breast_cancer")
    model = network(data, lr=0.5)
    run = quiet_trainer(default_root_dir=path, max_epochs=5)
    run.fit(model, data)
    run.save_checkpoint(path / "a.ckpt")
    return model, data, path / "a.ckpt", path


def test_statistics_are_those_of_the_training_rows_alone(trained):
    model, data, *_ = trained
    x = data.table.features[data.splits["train"]].double()
    torch.testing.assert_close(model.scaling.center.double(), x.mean(0), rtol=1e-6, atol=0)
    torch.testing.assert_close(model.scaling.scale.double(), x.std(0, correction=0), rtol=1e-6, atol=0)
    assert not torch.allclose(model.scaling.center, data.table.features.mean(0), rtol=1e-6)


def test_statistics_travel_in_the_checkpoint(trained):
    model, data, path, _ = trained
    content = torch.load(path, weights_only=True)  # plain values and tensors only
    assert content["hyper_parameters"]["hidden"] == [16]
    again = Network.load_from_checkpoint(path)
    rows = data.table.features[:5]
    assert torch.equal(again.predict_proba(rows), model.predict_proba(rows))
    scaled = (rows - model.scaling.center) / model.scaling.scale
    torch.testing.assert_close(again.predict_proba(rows), again.net(scaled).sigmoid())


def test_metrics_are_those_of_the_whole_split(trained):
    model, data, _, path = trained
    scores = quiet_trainer(default_root_dir=path).test(model, data, verbose=False)[0]
    x, y = data.rows("test")
    with torch.no_grad():
        z = model(x)
    assert scores["test/accuracy"] == pytest.approx(((z > 0) == (y > 0.5)).double().mean().item())
    assert scores["test/auroc"] == pytest.approx(roc_auc_score(y.ravel(), z.ravel()), abs=1e-6)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(z, y)
    assert scores["test/loss"] == pytest.approx(loss.item(), rel=1e-5)


def test_training_loss_is_the_mean_over_rows(tmp_path):
    data = TabularData("digits", batch_size=1000)  # a batch of 1000 and one of 77
    model = network(data, lr=1e-30)
    run = quiet_trainer(default_root_dir=tmp_path, max_epochs=1)
    run.fit(model, data)
    x, y = data.rows("train")
    expected = torch.nn.functional.cross_entropy(model(x), y)
    assert run.callback_metrics["train/loss"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_constant_feature_becomes_0(tmp_path):
    model = Network(2, ["a", "b"], scaling="standard")
    model.scaling.fit(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
    for value in (5.0, 7.0):  # in whatever row
        assert torch.equal(model.scaling(torch.tensor([[1.0, value]])), torch.tensor([[-1.0, 0.0]]))


def test_optimizer_has_the_hyperparameters():
    optimizer = Network(2, ["a", "b"], optimizer="sgd", lr=0.3, momentum=0.8, weight_decay=0.01).configure_optimizers()
    group = optimizer.param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.3, 0.8, 0.01)


@pytest.mark.parametrize(
    "settings",
    [
        {"dropout": 1.0},
        {"norm": "group"},
        {"norm": "batch", "members": 2},
        {"scaling": "log"},
        {"optimizer": "lion"},
        {"schedule": "linear"},
        {"warmup": -1.0},
        {"warmup": 1.0, "schedule": "one_cycle"},
        {"clip": 0.0},
        {"loss": "mse"},
        {"label_smoothing": 1.0},
        {"class_weight": "heavy"},
        {"class_weight": {"c": 1.0}},
        {"class_weight": {"a": 0.0}},
        {"compile": True},
        {"momentum": 0.9, "optimizer": "adamw"},
        {"hidden": [0]},
        {"hidden": [4, -1]},
        {"lr": -1.0},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"lr": float("inf")},
        {"momentum": 1.0},
        {"momentum": -0.1},
        {"weight_decay": -1.0},
    ],
    ids=str,
)
def test_bad_hyperparameters_are_named(settings):
    name = next(iter(settings))
    with pytest.raises(SettingError, match=f"model.{name}="):
        Network(2, ["a", "b"], **settings)


def test_the_area_under_the_roc_needs_rows_of_both_classes(trained):
    model, data, _, path = trained
    once = quiet_trainer(default_root_dir=path, limit_test_batches=1)
    data.table.labels[data.splits["test"]], before = 1, data.table.labels[data.splits["test"]].clone()
    data._rows.clear()
    try:
        scores = once.test(model, data, verbose=False)[0]
    finally:
        data.table.labels[data.splits["test"]] = before
        data._rows.clear()
    assert set(scores) == {"test/loss", "test/accuracy", "test/f1"}
