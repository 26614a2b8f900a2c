"""Optimizers, schedules, clipping, dropout and norms: both engines, and torch's own loops."""

import warnings

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch

from tests.training.trainers import network, quiet_trainer
from torchbp.training import Network, TabularData, UntilMinimum
from torchbp.training.checkpoints.saving import BestAndLast
from torchbp.training.descent.clipping import clip_gradients
from torchbp.training.descent.schedules import Plateau, factor
from torchbp.training.errors import UserError
from torchbp.training.tasks import TASKS

COUNT = 150
OPTIMIZERS = {
    "sgd": {"optimizer": "sgd", "lr": 0.3, "momentum": 0.5, "weight_decay": 0.01},
    "adam": {"optimizer": "adam", "lr": 0.01, "weight_decay": 0.01},
    "adamw": {"optimizer": "adamw", "lr": 0.01, "weight_decay": 0.1},
}


def table(task, weighted=False, **settings):
    """150 random rows of a task, with weights or without."""
    draw = np.random.default_rng(3)
    x = draw.normal(size=(COUNT, 4))
    answer = x[:, :2] * x[:, 2:] + 0.1 * draw.normal(size=(COUNT, 2))
    targets = {
        "binary": {"ill": np.where(answer[:, 0] > 0, "yes", "no")},
        "multiclass": {"kind": np.array(list("abc"))[(answer > 0).sum(1)]},
        "multilabel": {"hot": (answer[:, 0] > 0).astype(int), "wet": (answer[:, 1] > 0).astype(int)},
        "regression": {"u": 50 + 10 * answer[:, 0], "v": answer[:, 1]},
    }[task]
    frame = pd.DataFrame({**dict(zip("pqrs", x.T, strict=True)), **targets, "w": draw.random(COUNT) + 0.2})
    ignored = {"weight": "w"} if weighted else {"ignore": ["w"]}
    return TabularData(frame, target=list(targets), task=task, **ignored, **settings)


def fitted(data, max_epochs=4, callbacks=(), ckpt_path=None, start=None, precision="64-true", **settings):
    torch.manual_seed(1)
    model = network(data, **{"hidden": [5], "activation": "tanh", **settings})
    if start is not None:
        model.net.load_state_dict(start)
    torch.manual_seed(5)  # of the order of the rows
    trainer = quiet_trainer(max_epochs=max_epochs, callbacks=list(callbacks), precision=precision)
    trainer.fit(model, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    model.trained = trainer
    return model


def assert_same(ours, theirs, tolerance=1e-10):
    for a, b in zip(ours.net.state_dict().values(), theirs.net.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
    for name, score in ours.val_scores.items():
        torch.testing.assert_close(score, theirs.val_scores[name], rtol=tolerance, atol=tolerance)


# each task, and each optimizer, once; exhaustively, each with each
PAIRS = [
    pytest.param(task, optimizer, marks=() if row % len(OPTIMIZERS) == column else pytest.mark.exhaustive)
    for row, task in enumerate(TASKS)
    for column, optimizer in enumerate(OPTIMIZERS)
]


@pytest.mark.parametrize(("task", "optimizer"), PAIRS)
def test_both_engines_are_one_and_members_are_networks_alone(task, optimizer):
    settings = {**OPTIMIZERS[optimizer], "schedule": "cosine", "warmup": 1.5, "clip": 0.5, "norm": "layer"}
    if task == "multiclass":
        settings |= {"label_smoothing": 0.1, "class_weight": "balanced"}
    elif task == "binary":
        settings |= {"class_weight": {"yes": 2.0}}
    elif task == "regression":
        settings |= {"loss": "huber"}
    weighted = task != "multilabel"
    data = table(task, weighted, batch_size=32)
    alone = fitted(data, **settings)
    assert_same(fitted(data, engine="explicit", **settings), alone)
    lr = settings.pop("lr")
    ensembles = [
        fitted(data, engine=engine, lr=[lr, lr / 2], members=2, **settings) for engine in ("autograd", "explicit")
    ]
    torch.manual_seed(1)
    start = network(data, hidden=[5], activation="tanh", lr=[lr, lr / 2], members=2, **settings)
    for number, rate in ((1, lr), (2, lr / 2)):
        begin = {name: p[number] for name, p in start.net.state_dict().items()}
        one = fitted(data, lr=rate, start=begin, **settings)
        for ensemble in ensembles:
            for name, p in one.net.state_dict().items():
                torch.testing.assert_close(ensemble.net.state_dict()[name][number], p, rtol=1e-10, atol=1e-10)
            for name, score in one.val_scores.items():
                torch.testing.assert_close(ensemble.val_scores[name][number], score, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_a_run_is_a_loop_of_torch(task, optimizer):
    """torch.nn, torch.optim, its schedules and its clipping, on the same batches."""
    epochs, settings = 5, OPTIMIZERS[optimizer]
    data = table(task, batch_size=32)
    smoothing = 0.1 if task == "multiclass" else 0.0
    ours = fitted(data, epochs, clip=0.3, schedule="cosine", label_smoothing=smoothing, **settings)
    torch.manual_seed(1)
    model = network(data, hidden=[5], activation="tanh").double()
    net = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, ours.task.outputs)).double()
    net.load_state_dict(model.net.state_dict())
    x, y = data.rows("train")
    x = ours.scaling(x.double())
    loss = torch.nn.CrossEntropyLoss(label_smoothing=smoothing) if task == "multiclass" else torch.nn.MSELoss()
    if task == "regression":
        y = ours.task.encode(y.double())
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[optimizer]
    descent = kind(net.parameters(), **{name: value for name, value in settings.items() if name != "optimizer"})
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(descent, epochs)
    for epoch in range(epochs):
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(data.order + epoch))
        for rows in order.split(32):
            descent.zero_grad()
            loss(net(x[rows]), y[rows]).backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 0.3)
            descent.step()
        schedule.step()
    for mine, theirs in zip(ours.net.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


def test_schedules_are_those_of_torch():
    def rates_of(make, updates):
        descent = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        schedule, found = make(descent), []
        for _ in range(updates):
            found.append(descent.param_groups[0]["lr"])
            descent.step()
            schedule.step()
        return found

    module = torch.optim.lr_scheduler
    cosine = rates_of(lambda o: module.CosineAnnealingLR(o, 40), 40)
    assert [factor("cosine", u, 40) for u in range(40)] == pytest.approx(cosine, abs=1e-12)
    one = {"max_lr": 1.0, "total_steps": 40, "cycle_momentum": False}
    cycle = rates_of(lambda o: module.OneCycleLR(o, **one), 40)
    assert [factor("one_cycle", u, 40) for u in range(40)] == pytest.approx(cycle, abs=1e-12)
    rise = {"start_factor": 1 / 8, "total_iters": 7}
    with warnings.catch_warnings(action="ignore"):
        both = rates_of(
            lambda o: module.SequentialLR(o, [module.LinearLR(o, **rise), module.CosineAnnealingLR(o, 32)], [8]), 40
        )
    assert [factor("cosine", u, 40, warmup=8) for u in range(40)] == pytest.approx(both, abs=1e-12)
    assert [factor(None, u, 40, warmup=4) for u in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    for schedule in (None, "cosine", "one_cycle"):  # as short as a training can be
        for updates in (1, 2, 3):
            assert all(0 <= factor(schedule, u, updates) <= 1 for u in range(updates))


def test_a_plateau_is_that_of_torch():
    losses = torch.rand(60, 3, generator=torch.Generator().manual_seed(2)).cumsum(0).flip(0).div(60) + 0.5
    losses[20:50] = losses[19]
    plateau = Plateau(3)
    peers = [torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0) for _ in range(3)]
    schedules = [torch.optim.lr_scheduler.ReduceLROnPlateau(peer, factor=0.5, patience=5) for peer in peers]
    for now in losses:
        plateau.update(now)
        for schedule, loss in zip(schedules, now.tolist(), strict=True):
            schedule.step(loss)
        assert plateau.factor.tolist() == [peer.param_groups[0]["lr"] for peer in peers]
    assert plateau.factor.max() < 1


@pytest.mark.parametrize("schedule", ["plateau", "one_cycle"])
def test_rates_change_at_the_same_batches_in_both_engines(schedule):
    class Rates(pl.Callback):
        def __init__(self):
            self.seen = []

        def on_train_epoch_end(self, trainer, pl_module):
            group = trainer.optimizers[0].param_groups[0]
            of_members = group.get("lr_of_members")
            self.seen.append(group["lr"] if of_members is None else (group["lr"] * of_members).tolist())

    found = []
    for engine in ("autograd", "explicit"):
        for members in (None, 2):
            rates = Rates()
            data = table("regression", batch_size=16)
            model = fitted(
                data, 30, [rates], engine=engine, members=members, lr=0.2, optimizer="sgd", schedule=schedule
            )
            found.append((rates.seen, model))
    assert found[0][0] == pytest.approx(found[2][0])
    assert len(set(found[0][0])) > 1
    assert_same(found[0][1], found[2][1])
    assert_same(found[1][1], found[3][1])
    if schedule == "plateau":
        assert isinstance(found[1][0][-1], list)


def test_members_are_clipped_one_by_one():
    gradients = [torch.randn(3, 4, 5), 9 * torch.randn(3, 4)]
    parameters = [torch.nn.Parameter(torch.zeros_like(g)) for g in gradients]
    for p, g in zip(parameters, gradients, strict=True):
        p.grad = g.clone()
    clip_gradients(parameters, 2.0, 3)
    for member in range(3):
        alone = [torch.nn.Parameter(torch.zeros_like(g[member])) for g in gradients]
        for p, g in zip(alone, gradients, strict=True):
            p.grad = g[member].clone()
        torch.nn.utils.clip_grad_norm_(alone, 2.0)
        for p, of_all in zip(alone, parameters, strict=True):
            torch.testing.assert_close(of_all.grad[member], p.grad)


# dropout and norms


@pytest.mark.parametrize("settings", [{}, {"engine": "explicit"}, {"engine": "explicit", "members": 3}], ids=str)
def test_dropout_trains_and_answers_without_it(settings):
    data = table("binary", batch_size=32)
    settings = {"lr": 0.02, "optimizer": "adam", "dropout": 0.5, **settings}
    model, again = (fitted(data, 12, hidden=[40, 40], **settings) for _ in range(2))
    assert_same(model, again, 0)
    plain = fitted(data, 12, hidden=[40, 40], **(settings | {"dropout": 0.0}))
    assert model.train_losses.mean() > plain.train_losses.mean()
    model.eval()
    x = data.rows("test")[0]
    assert torch.equal(model.answers(x), model.answers(x))
    if not model.members:
        net = torch.nn.Sequential(*[layer for layer in model.net if "Dropout" not in type(layer).__name__])
        torch.testing.assert_close(model.answers(x), net(model.scaling(x.double())).sigmoid())


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_norms_are_those_of_torch(norm):
    data = table("binary", batch_size=32)
    model = network(data, hidden=[6], norm=norm, activation="relu").double()
    affine = {"layer": torch.nn.LayerNorm(6, elementwise_affine=False), "batch": torch.nn.BatchNorm1d(6)}[norm]
    peer = torch.nn.Sequential(torch.nn.Linear(4, 6), affine, torch.nn.ReLU(), torch.nn.Linear(6, 1)).double()
    peer.load_state_dict(model.net.state_dict())
    x = data.rows("train")[0].double()
    torch.testing.assert_close(model.net(x), peer(x))
    ours, theirs = (fitted(data, engine=engine, hidden=[6], norm=norm, lr=0.1) for engine in ("autograd", "explicit"))
    assert_same(ours, theirs)


# steps in C


def test_compiled_steps_are_the_engines(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHBP_CACHE_DIR", str(tmp_path))
    data = table("multiclass", weighted=True, batch_size=8)
    settings = {"engine": "explicit", "dropout": 0.2, "schedule": "cosine", "clip": 0.3, **OPTIMIZERS["adamw"]}
    plain, compiled = (fitted(data, compile=compile, **settings) for compile in (False, True))
    assert_same(plain, compiled, 1e-8)
    assert compiled.trained.optimizers[0].compiled.programs


# stopping and the best checkpoint by any metric


@pytest.mark.parametrize(("task", "metric"), [("multiclass", "f1"), ("binary", "auroc"), ("regression", "r2")])
@pytest.mark.parametrize("settings", [{}, {"members": 2, "engine": "explicit"}], ids=str)
def test_a_metric_that_should_rise_stops_a_run_and_chooses_its_best_epoch(task, metric, settings, tmp_path):
    class Scores(pl.Callback):
        def __init__(self):
            self.seen, self.of_each = [], []

        def on_validation_end(self, trainer, pl_module):
            if not trainer.sanity_checking:
                self.seen.append(trainer.callback_metrics[f"val/{metric}"].item())
                self.of_each.append(pl_module.val_scores[metric].clone())

    stopping, scores = UntilMinimum(min_delta=0.02, patience=4, monitor=f"val/{metric}"), Scores()
    best = BestAndLast(monitor=f"val/{metric}", every_seconds=0.0)
    best.dirpath = str(tmp_path)
    data = table(task, batch_size=32)
    torch.manual_seed(1)
    model = network(data, hidden=[8], activation="tanh", lr=0.05, optimizer="adam", **settings)
    trainer = quiet_trainer(max_epochs=60, callbacks=[scores, stopping, best], enable_checkpointing=True)
    trainer.fit(model, data)
    assert best.best_model_score.item() == pytest.approx(max(scores.seen))
    content = torch.load(best.best_model_path, weights_only=True)
    assert content["epoch"] == scores.seen.index(max(scores.seen))
    of_each = torch.stack(scores.of_each)
    for member in range(settings.get("members") or 1):
        highest, waited, epoch = -9.0, 0, 0
        while waited < 4:
            score = of_each[epoch, member] if settings else of_each[epoch]
            waited = 0 if score > highest + 0.02 else waited + 1
            highest = max(highest, score) if waited == 0 else highest
            epoch += 1
        epochs = stopping.minimum.epochs
        assert (epochs[member] if settings else epochs) == epoch
    if not settings:
        assert stopping.reason(trainer) == f"val/{metric} has not risen by 0.02 in 4 validations (patience)"


def test_a_metric_without_a_value_is_named():
    data = table("binary", batch_size=32)
    data.table.labels[data.splits["val"]] = 1
    with pytest.raises(UserError, match="val/auroc has no value: all validation rows have one class"):
        fitted(data, callbacks=[UntilMinimum(monitor="val/auroc")])


# resuming


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "adamw", "lr": 0.01, "schedule": "cosine", "warmup": 1.0, "dropout": 0.3},
        {"optimizer": "adam", "lr": 0.01, "engine": "explicit", "dropout": 0.3, "norm": "batch"},
        {"optimizer": "adamw", "lr": [0.01, 0.3], "members": 2, "engine": "explicit", "schedule": "plateau"},
        {"optimizer": "sgd", "lr": 0.2, "momentum": 0.9, "clip": 0.5, "norm": "layer", "schedule": "one_cycle"},
    ],
    ids=str,
)
@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_a_resumed_run_has_the_weights_of_the_whole_run(task, settings, tmp_path):
    class Saved(pl.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            if trainer.current_epoch == 5:
                trainer.save_checkpoint(tmp_path / "half.ckpt")

    data = table(task, weighted=True, batch_size=32)
    whole = fitted(data, 9, [Saved()], precision="32-true", **settings)
    torch.manual_seed(77)
    torch.randn(5)
    resumed = fitted(
        table(task, weighted=True, batch_size=32), 9, ckpt_path=tmp_path / "half.ckpt", precision="32-true", **settings
    )
    assert resumed.trained.current_epoch == 9
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_a_checkpoint_is_the_network_for_each_task_and_scaling(tmp_path):
    for task, scaling in zip(TASKS, ("clipped", "robust", "quantile", "none"), strict=True):
        data = table(task, weighted=True)
        model = fitted(data, 2, scaling=scaling, norm="batch", dropout=0.1, precision="32-true", lr=0.01, loss=None)
        model.trained.save_checkpoint(tmp_path / "a.ckpt")
        again = Network.load_from_checkpoint(tmp_path / "a.ckpt")
        x = data.rows("test")[0].clone()
        x[0, 0] = torch.nan
        assert torch.equal(again.answers(x), model.eval().answers(x))
        assert again.answers(x).isfinite().all()
        assert again.task.name == task
