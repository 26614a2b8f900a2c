from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from tests.training.trainers import network, quiet_trainer
from torchbp.engine.fitting.stopping import DESCENDS, GRADIENT, NOT_FINITE, PATIENCE, Minimum
from torchbp.training import TabularData, UntilMinimum
from torchbp.training.callbacks.gradients import full_gradient_norm
from torchbp.training.errors import SettingError


def fit(tmp_path, stopping, source="xor", max_epochs=30, callbacks=(), check_val_every_n_epoch=1, **settings):
    torch.manual_seed(0)
    data = TabularData(source)
    model = network(data, **settings)
    trainer = quiet_trainer(
        default_root_dir=tmp_path,
        max_epochs=max_epochs,
        callbacks=[stopping, *callbacks],
        check_val_every_n_epoch=check_val_every_n_epoch,
    )
    trainer.fit(model, data)
    return trainer, model, data


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_gradient_norm_is_that_of_the_whole_objective(weight_decay, monkeypatch):
    monkeypatch.setattr(
        "torchbp.training.callbacks.gradients.ROWS_AT_ONCE", 100
    )  # several pieces, the last one shorter
    data = TabularData("breast_cancer")
    model = network(data, weight_decay=weight_decay)
    x, y = data.rows("train")
    model.scaling.fit(x)
    norm = full_gradient_norm(model, x, y)
    assert all(p.grad is None for p in model.parameters())
    weights = sum(p.square().sum() for p in model.parameters())
    (F.binary_cross_entropy_with_logits(model(x), y) + weight_decay / 2 * weights).backward()
    assert norm == pytest.approx(torch.cat([p.grad.flatten() for p in model.parameters()]).norm().item(), rel=1e-5)


def test_stops_where_the_gradient_vanishes(tmp_path):
    stopping = UntilMinimum(min_grad_norm=0.02, patience=1000)
    trainer, model, data = fit(tmp_path, stopping, lr=1.0, momentum=0.9, max_epochs=500)
    assert trainer.current_epoch < 500
    assert full_gradient_norm(model, *data.rows("train")) == pytest.approx(stopping.grad_norm)
    assert stopping.grad_norm < 0.02
    assert "gradient vanished" in stopping.reason(trainer)


def test_stops_where_the_loss_falls_no_more(tmp_path):
    stopping = UntilMinimum(min_delta=10.0, patience=4, monitor="train/loss")
    trainer, *_ = fit(tmp_path, stopping)
    assert trainer.current_epoch == 5  # the first sets the mark, four do not fall 10 below it
    assert stopping.reason(trainer) == "train/loss has not fallen by 10 in 4 epochs (patience)"


def test_watches_the_validation_loss_after_each_validation(tmp_path):
    stopping = UntilMinimum(min_delta=10.0, patience=2, monitor="val/loss")
    trainer, *_ = fit(tmp_path, stopping, check_val_every_n_epoch=3)
    assert trainer.current_epoch == 9
    assert stopping.reason(trainer) == "val/loss has not fallen by 10 in 2 validations (patience)"


def test_stops_at_max_epochs(tmp_path):
    stopping = UntilMinimum(min_grad_norm=1e-9)
    trainer, *_ = fit(tmp_path, stopping, max_epochs=3)
    assert trainer.current_epoch == 3
    assert stopping.reason(trainer) == "max_epochs 3 is reached"


def test_stops_at_once_when_the_loss_is_not_finite(tmp_path):
    stopping = UntilMinimum()
    trainer, *_ = fit(tmp_path, stopping, source="breast_cancer", lr=1e38)
    assert trainer.current_epoch < 5
    assert "no longer a finite number" in stopping.reason(trainer)


def test_watching_the_gradient_does_not_change_training(tmp_path):
    with_, without = (
        fit(tmp_path, UntilMinimum(min_grad_norm=norm), source="breast_cancer", max_epochs=3)[1].state_dict()
        for norm in (1e-9, 0.0)
    )
    assert all(torch.equal(with_[name], without[name]) for name in with_)


def of(members, **settings):
    """A rule for so many networks, as `fit` sets it up."""
    stopping = UntilMinimum(**settings)
    stopping.setup(None, SimpleNamespace(members=members), "fit")
    return stopping


def test_its_state_is_restored_and_its_numbers_are_those_of_now():
    stopping = of(4, min_grad_norm=0.1, patience=2)
    for losses in ([3.0, 3, 3, 3], [3.0, 2, 2, torch.nan], [3.0, 1, 1, torch.nan]):
        stopping.grad_norm = torch.tensor([1.0, 1.0, 0.2, torch.nan])
        stopping.minimum.update(torch.tensor(losses), stopping.grad_norm)
    assert stopping.minimum.why.tolist() == [PATIENCE, DESCENDS, DESCENDS, NOT_FINITE]
    for settings, why in (
        ({"min_grad_norm": 0.1, "patience": 2}, [PATIENCE, DESCENDS, DESCENDS, NOT_FINITE]),
        ({"min_grad_norm": 0.5, "patience": 3}, [DESCENDS, DESCENDS, GRADIENT, NOT_FINITE]),
    ):
        again = of(4, **settings)
        again.load_state_dict(stopping.state_dict())
        assert again.minimum.why.tolist() == why
        assert again.minimum.waited.tolist()[:3] == [2, 0, 0]
        assert again.grad_norm is stopping.grad_norm


def test_at_the_bound_the_loss_has_not_fallen_and_the_gradient_has_not_vanished():
    """Falls by more than ½; a norm under ¼: of four networks two are just at the bound. All numbers are exact."""
    minimum = Minimum(min_delta=0.5, patience=1, min_grad_norm=0.25, members=4)
    minimum.update(torch.tensor([3.0, 3.0, 3.0, 3.0]), torch.ones(4))
    minimum.stop(torch.full((4,), True), DESCENDS)  # the first loss is no fall of any size
    minimum.waited.zero_()
    minimum.update(torch.tensor([2.5, 2.25, 2.25, 2.25]), torch.tensor([1.0, 1.0, 0.25, 0.125]))
    assert minimum.why.tolist() == [PATIENCE, DESCENDS, DESCENDS, GRADIENT]
    assert minimum.best.tolist() == [3.0, 2.25, 2.25, 2.25]
    assert minimum.epochs.tolist() == [2] * 4
    minimum.update(torch.tensor([1.0, 2.0, torch.inf, 1.0]))
    assert minimum.why.tolist() == [PATIENCE, PATIENCE, NOT_FINITE, GRADIENT]
    assert minimum.best.tolist() == [3.0, 2.25, 2.25, 2.25]  # of those that had stopped, nothing changes
    assert minimum.epochs.tolist() == [2, 3, 3, 2]


@pytest.mark.parametrize(("norm", "why"), [(0.25, DESCENDS), (0.125, GRADIENT)])
def test_the_gradient_is_looked_at_beside_the_validation_loss(norm, why, monkeypatch):
    monkeypatch.setattr("torchbp.training.callbacks.stopping.full_gradient_norm", lambda *_: torch.tensor(norm))
    stopping = of(None, min_grad_norm=0.25, monitor="val/loss")
    strategy = SimpleNamespace(broadcast=lambda value: value)
    data = SimpleNamespace(rows=lambda split: (None, None))
    trainer = SimpleNamespace(fast_dev_run=False, is_global_zero=True, strategy=strategy, datamodule=data)
    stopping.on_train_epoch_end(trainer, None)
    assert stopping.minimum.why == why
    assert getattr(trainer, "should_stop", False) == (why == GRADIENT)
    again = of(None, min_grad_norm=0.25, monitor="val/loss")
    again.load_state_dict(stopping.state_dict())
    assert again.minimum.why == why


@pytest.mark.parametrize(
    "settings",
    [
        {"min_grad_norm": -1.0},
        {"min_delta": -1.0},
        {"min_grad_norm": float("nan")},
        {"patience": 0},
        {"monitor": "loss"},
    ],
    ids=str,
)
def test_bad_settings_are_named(settings):
    with pytest.raises(SettingError, match=f"stopping.{next(iter(settings))}="):
        UntilMinimum(**settings)
