"""engine: explicit, ensembles and sweeps: the same networks as autograd's, and as each one alone."""

import copy
import math
import re

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

from tests.training.trainers import network, quiet_trainer
from torchbp import unstack
from torchbp.engine.fitting.stopping import DESCENDS, GRADIENT, NOT_FINITE
from torchbp.training import Network, TabularData, UntilMinimum
from torchbp.training.callbacks.gradients import full_gradient_norm, gradient_flow, hardest_rows
from torchbp.training.cli.predictions import answer_table
from torchbp.training.errors import SettingError, UserError
from torchbp.training.report.tables import confusion
from torchbp.training.scores.scores import Scores
from torchbp.training.tasks import make_task

NUMBERS = {"lr": 0.3, "momentum": 0.5, "weight_decay": 0.01}


def fit(data, model, callbacks=(), max_epochs=6, precision="64-true", train_dataloaders=None, **settings):
    torch.manual_seed(5)  # of the order of the rows
    trainer = quiet_trainer(
        max_epochs=max_epochs, callbacks=list(callbacks), precision=precision, log_every_n_steps=1, **settings
    )
    trainer.fit(model, train_dataloaders, datamodule=data)
    return trainer


def made(data, **settings):
    torch.manual_seed(1)
    return network(data, **{**NUMBERS, **settings})


def weights(model):
    return [p.detach() for p in model.net.parameters()]


def assert_close(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("settings", [{}, {"members": 3}, {"lr": [0.1, 0.3], "members": 2}], ids=str)
@pytest.mark.parametrize("source", ["breast_cancer", "digits"])
def test_explicit_is_autograd(source, settings):
    histories, found = [], []
    for engine in ("autograd", "explicit"):
        data, history = TabularData(source, batch_size=50), History()
        model = made(data, engine=engine, **settings)
        fit(data, model, [history])
        histories.append(history.metrics)
        found.append(model)
    assert_close(weights(found[1]), weights(found[0]))
    assert len(histories[0]) == 6
    for ours, theirs in zip(*histories, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-10)
    torch.testing.assert_close(found[0].train_losses, found[1].train_losses, rtol=1e-10, atol=0)
    for name, scores in found[0].val_scores.items():
        torch.testing.assert_close(scores, found[1].val_scores[name], rtol=1e-10, atol=0)
    assert all(p.grad is None for p in found[1].parameters())


class History(pl.Callback):
    def __init__(self):
        self.metrics, self.weights = [], []

    def on_train_epoch_end(self, trainer, pl_module):
        self.weights.append([p.detach().clone() for p in pl_module.net.parameters()])

    def on_train_epoch_start(self, trainer, pl_module):
        self.note(trainer)

    on_train_end = on_train_epoch_start

    def note(self, trainer):
        if trainer.callback_metrics and len(self.weights) > len(self.metrics):
            self.metrics.append({name: value.item() for name, value in trainer.callback_metrics.items()})


def test_batches_at_once_changes_no_bit_and_only_the_number_of_lightnings_steps():
    found = {}
    for at_once in (1, 3, 6, None):
        data = TabularData("breast_cancer", batch_size=50, batches_at_once=at_once)
        model = made(data, engine="explicit")
        trainer = fit(data, model, precision="32-true")
        found[at_once] = trainer.global_step, *weights(model)
    assert [found[at_once][0] for at_once in found] == [42, 18, 12, 6]  # 7 batches, 6 epochs
    for ours in found.values():
        assert all(torch.equal(a, b) for a, b in zip(ours[1:], found[1][1:], strict=True))


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
def test_a_loader_of_ones_own_has_a_step_for_each_batch():
    x, y = torch.randn(90, 4), torch.ones(90, 1)
    found = []
    for engine in ("autograd", "explicit"):
        torch.manual_seed(1)
        model = Network(4, ["a", "b"], engine=engine)
        batches = DataLoader(TensorDataset(x, y), batch_size=20)
        trainer = fit(None, model, precision="32-true", train_dataloaders=batches)
        assert trainer.global_step == 30
        found.append(weights(model))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_no_more_rows_go_together_than_8192():
    model = made(TabularData("xor"), engine="explicit")
    for size, at_once in ((1, 64), (128, 64), (1000, 8), (10000, 1)):
        data = TabularData("xor", batch_size=size)
        assert data.batches_in_a_step(model.hparams.engine) == at_once
        assert data.batches_in_a_step("autograd") == 1


@pytest.mark.parametrize("engine", ["autograd", "explicit"])
def test_members_are_networks_alone(engine):
    data = TabularData("breast_cancer", batch_size=50)
    ensemble = made(data, engine=engine, lr=[0.1, 0.5], members=2)
    alone = [copy.deepcopy(net) for net in unstack(ensemble.net)]
    assert torch.equal(ensemble.net[0].weight[:2], ensemble.net[0].weight[2:])  # the same starts for each lr
    assert not torch.equal(ensemble.net[0].weight[0], ensemble.net[0].weight[1])
    fit(data, ensemble)
    probabilities = []
    for number, (net, lr) in enumerate(zip(alone, [0.1, 0.1, 0.5, 0.5], strict=True)):
        data = TabularData("breast_cancer", batch_size=50)
        model = made(data, lr=lr)
        model.net.load_state_dict(net.state_dict())
        fit(data, model)
        assert_close(list(unstack(ensemble.net)[number].parameters()), weights(model))
        torch.testing.assert_close(ensemble.train_losses[number], model.train_losses, rtol=1e-10, atol=0)
        probabilities.append(model.predict_proba(data.rows("test")[0]))
    best = 1 if ensemble.chosen[2] else 0
    assert ensemble.chosen.tolist() == [not best, not best, bool(best), bool(best)]
    assert best == ensemble.best_scores[0].argmin()
    of_best = torch.stack(probabilities[2 * best :][:2])
    mean, spread = ensemble.predict_proba(data.rows("test")[0], spread=True)
    assert_close([mean, spread], [of_best.mean(0), of_best.std(0, correction=0)])


@pytest.mark.parametrize("engine", ["autograd", "explicit"])
def test_a_member_that_has_stopped_or_diverged_leaves_the_others_alone(engine):
    data, history = TabularData("breast_cancer", batch_size=50), History()
    rates = [0.1, 1.0, 1e38]
    stopping = UntilMinimum(min_grad_norm=0.1, patience=1000)
    model = made(data, engine=engine, lr=rates, momentum=0.0)
    start = unstack(model.net)[0]
    trainer = fit(data, model, [stopping, history], max_epochs=12)
    assert stopping.minimum.why.tolist() == [DESCENDS, GRADIENT, NOT_FINITE]
    stopped = int(stopping.minimum.epochs[1])
    assert 1 < stopped < 10
    for before, after in zip(history.weights[stopped - 1], history.weights[-1], strict=True):
        assert torch.equal(before[1], after[1])
        assert not torch.equal(before[0], after[0])
    data = TabularData("breast_cancer", batch_size=50)
    alone = made(data, lr=0.1, momentum=0.0)
    alone.net.load_state_dict(start.state_dict())
    fit(data, alone, max_epochs=12)
    assert_close(list(unstack(model.net)[0].parameters()), weights(alone))
    assert model.chosen.tolist() == [False, True, False]
    assert math.isfinite(trainer.callback_metrics["train/loss"])
    assert model.predict_proba(data.rows("test")[0]).isfinite().all()
    assert "members: 1 descending, 1 gradient, 1 diverged" in stopping.reason(trainer)


def test_training_ends_when_all_members_have_stopped():
    data = TabularData("breast_cancer", batch_size=50)
    stopping = UntilMinimum(min_delta=10.0, patience=3, monitor="val/loss")
    trainer = fit(data, made(data, engine="explicit", members=4), [stopping], max_epochs=20, check_val_every_n_epoch=2)
    assert trainer.current_epoch == 8
    assert stopping.minimum.epochs.tolist() == [8] * 4
    assert stopping.reason(trainer) == "all members have stopped: 4 patience"


def test_the_monitor_and_the_full_gradient_are_those_of_the_members():
    data = TabularData("digits")
    x, y = data.rows("train")
    x, y = x[:60].double(), y[:60]
    ensemble = made(data, members=3, hidden=[8, 6]).double()
    ensemble.scaling.fit(data.rows("train")[0])
    alone = []
    for net in unstack(ensemble.net):
        model = made(data, hidden=[8, 6]).double()
        model.net.load_state_dict(net.state_dict())
        model.scaling.load_state_dict(ensemble.scaling.state_dict())
        alone.append(model)
    torch.testing.assert_close(
        full_gradient_norm(ensemble, x, y), torch.stack([full_gradient_norm(model, x, y) for model in alone])
    )
    records = [gradient_flow(model, x, y) for model in alone]
    found = gradient_flow(ensemble, x, y)
    assert found == pytest.approx({name: sum(r[name] for r in records) / 3 for name in records[0]}, rel=1e-10)
    ensemble.chosen[1] = False
    rows, norms = hardest_rows(ensemble, (x, y), 60)
    means = torch.zeros(60, dtype=torch.double)
    for model in (alone[0], alone[2]):
        at, of = hardest_rows(model, (x, y), 60)
        means[at] += of / 2
    torch.testing.assert_close(norms, means[rows])
    ensemble.net[0].weight.data[1] = torch.nan  # one that has diverged
    assert gradient_flow(ensemble, x, y) == pytest.approx(
        {name: (records[0][name] + records[2][name]) / 2 for name in found}, rel=1e-10
    )


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_scores_are_those_of_the_mean_probability(weighted, exclusive):
    z = 3 * torch.randn(2, 4, 30, 5, dtype=torch.double)
    y = torch.randint(5, (30,)) if exclusive else torch.randint(2, (30, 5)).double()
    z[1, 2] = torch.nan  # left out
    weight = {name: 0.5 + number for number, name in enumerate("abcde")} if weighted else None
    task = make_task("multiclass" if exclusive else "multilabel", list("abcde"), class_weight=weight).double()
    task.fit(y)
    scores = Scores(task)
    for rows in torch.arange(30).split(13):
        scores.add(z[:, :, rows], y[rows])
    members, groups = scores.means(lambda sums: sums)
    if exclusive:
        of_classes = torch.tensor(list(weight.values()) if weighted else [1.0] * 5, dtype=torch.double)
        of_rows = of_classes[y] / of_classes[y].mean()

    def loss_of(p):
        if exclusive:
            return -(of_rows * p.log().gather(1, y[:, None])[:, 0]).mean()
        factor = torch.where(y > 0, torch.tensor(list(weight.values())) if weighted else 1.0, 1.0)
        return F.binary_cross_entropy(p, y, factor)

    for group, left in enumerate(([0, 1, 2, 3], [0, 1, 3])):
        p = z[group, left].softmax(-1) if exclusive else z[group, left].sigmoid()
        mean = p.mean(0)
        right = (mean.argmax(-1) == y) if exclusive else (mean >= 0.5) == (y > 0)
        torch.testing.assert_close(groups["loss"][group], loss_of(mean))
        torch.testing.assert_close(groups["accuracy"][group], right.double().mean())
        torch.testing.assert_close(groups["spread"][group], p.std(0, correction=0).mean())
        for number, of_member in zip(left, p, strict=True):
            torch.testing.assert_close(members["loss"][group, number], loss_of(of_member))
    assert members["loss"][1, 2].isnan()


def test_the_best_epoch_of_each_lr_is_the_first_with_the_lowest_loss(monkeypatch):
    model = Network(1, ["a", "b"], lr=[0.1, 0.2], members=2)
    own = {
        "loss": torch.tensor([[1.0, 3.0], [torch.nan, 2.0]]),
        "accuracy": torch.tensor([[0.5, 0.7], [0.9, 0.8]]),
    }
    for epoch, losses, best, epochs, chosen in (
        (0, [1.5, 2.0], 0, [1, 1], [True, True, False, False]),
        (6, [1.5, 1.0], 1, [1, 7], [False, False, False, True]),
        (7, [1.25, torch.inf], 0, [8, 7], [True, True, False, False]),
    ):
        monkeypatch.setattr(Network, "current_epoch", epoch)
        model.choose(own, {"loss": torch.tensor(losses)}, best)
        assert model.best_epoch.tolist() == epochs
        assert model.chosen.tolist() == chosen
    expected = torch.tensor([[1.25, 1.0], [2.0, 2.0], [1.0, 0.0], [0.6, 0.8], [0.1, 0.0]])
    torch.testing.assert_close(model.best_scores, expected)


def test_a_probability_of_one_half_is_the_second_class_everywhere():
    half = torch.zeros(1, 1, 2, 1)  # logits
    y = torch.tensor([[1.0], [0.0]])
    two, labels = make_task("binary", ["a", "b"]), make_task("multilabel", ["a", "b"])
    scores = Scores(two)
    scores.add(half[:, :, :1], y[:1])
    members, groups = scores.means(lambda sums: sums)
    assert members["accuracy"].item() == groups["accuracy"].item() == 1
    scores.add(half[:, :, 1:], y[1:])
    members, groups = scores.means(lambda sums: sums)
    assert members["accuracy"].item() == groups["accuracy"].item() == 0.5
    p = torch.tensor([[0.5], [0.4999]])
    assert two.predicted(p) == ["b", "a"]
    frame = answer_table(Network(1, ["a", "b"], task="multilabel"), p.expand(2, 2))
    assert frame[["a", "b"]].to_numpy().tolist() == [[1, 1], [0, 0]]
    assert "TP 1" in confusion(labels, np.array([[1, 1]]), p[:1].expand(1, 2).numpy())
    matrix = confusion(two, y.numpy()[:1], p[:1].numpy())
    assert re.findall(r"<td[^>]*>([^<]*)</td>", matrix)[-3:] == ["0", "1", "100.0%"]


def test_a_sure_and_wrong_answer_has_its_loss():
    scores = Scores(make_task("binary", ["a", "b"]))
    scores.add(torch.tensor([[[[200.0]], [[300.0]]]]), torch.zeros(1, 1))  # P is 1 in every dtype
    _, groups = scores.means(lambda sums: sums)
    assert groups["loss"].item() == pytest.approx(200 + math.log(2))


REFUSED = [
    ({"engine": "explicit"}, {"accumulate_grad_batches": 2}, "accumulate_grad_batches=2"),
    ({"engine": "explicit"}, {"gradient_clip_val": 1.0}, "gradient_clip_val=1.0"),
    ({"engine": "explicit"}, {"precision": "bf16-mixed"}, "precision=bf16-mixed"),
    ({"engine": "explicit"}, {"max_steps": 9}, "max_steps=9 .*batches_at_once 1"),
    ({"engine": "explicit"}, {"min_steps": 9}, "min_steps=9 .*batches_at_once 1"),
    ({"engine": "explicit"}, {"limit_train_batches": 1}, "limit_train_batches=1 .*batches_at_once 1"),
    ({"engine": "explicit"}, {"limit_train_batches": 0.5}, "limit_train_batches=0.5 .*batches_at_once 1"),
    ({"engine": "explicit"}, {"val_check_interval": 0.5}, "val_check_interval=0.5 .*batches_at_once 1"),
    ({"members": 2}, {"gradient_clip_val": 1.0}, "gradient_clip_val=1.0"),
    ({"lr": [0.1, 0.2]}, {"limit_val_batches": 0}, "limit_val_batches=0"),
]


@pytest.mark.parametrize(("model", "trainer", "message"), REFUSED, ids=str)
def test_what_cannot_be_honoured_is_refused(model, trainer, message):
    data = TabularData("breast_cancer")
    with pytest.raises(SettingError, match=message):
        fit(data, made(data, **model), max_epochs=1, **trainer)


def test_what_counts_batches_is_right_with_one_at_once():
    data = TabularData("breast_cancer", batches_at_once=1)
    trainer = fit(data, made(data, engine="explicit"), max_epochs=3, limit_train_batches=4, val_check_interval=2)
    assert trainer.global_step == 12


def test_batches_at_once_are_the_engines():
    data = TabularData("breast_cancer", batches_at_once=2)
    with pytest.raises(SettingError, match=r"batches_at_once=2 needs model\.engine explicit"):
        fit(data, made(data))


@pytest.mark.parametrize(
    "settings", [{"lr": []}, {"lr": [0.1, 0.1]}, {"lr": [0.1, -1.0]}, {"members": 0}, {"engine": "magic"}], ids=str
)
def test_bad_settings_are_named(settings):
    with pytest.raises(SettingError, match=f"model.{next(iter(settings))}="):
        Network(2, ["a", "b"], **settings)


def test_nan_is_named_under_detect_anomaly():
    data = TabularData("breast_cancer")
    model = made(data, engine="explicit", lr=1e38)
    with pytest.raises(UserError, match=r"trainer.detect_anomaly: layer '\d', a Linear, gives (nan|inf)"):
        fit(data, model, detect_anomaly=True, precision="32-true")
