"""The training of the networks of a configuration: as the engine's, but they stop together, with averaged weights."""

import copy
from functools import partial

import pytest
import torch

from torchbp import AdamW, nn
from torchbp.estimators import fold_training
from torchbp.estimators.fold_training import train_folds

ROWS = 96


@pytest.fixture
def table():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, 3, generator=generator)
    return x, x[:, :1] * x[:, 1:2]


@pytest.fixture
def networks():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return [nn.MLP(3, 8, 1, activation="tanh") for _ in range(3)]


@pytest.fixture
def masks():
    masks = torch.ones(3, ROWS, dtype=torch.bool)
    for fold, mask in enumerate(masks):
        mask[32 * fold : 32 * (fold + 1)] = False
    return masks


MAKE = partial(AdamW, loss=torch.nn.MSELoss(), lr=0.02, compile=False)
OPTIONS = {"batch_size": 16, "max_epochs": 6, "min_delta": 0.0, "patience": 6}


def trained(networks, table, masks=None, **options):
    networks = copy.deepcopy(networks)
    generator = torch.Generator().manual_seed(1)
    history = train_folds(networks, MAKE, *table, masks, **OPTIONS | {"generator": generator} | options)
    return networks, history


def weights(network):
    return [p.detach().clone() for p in network.parameters()]


def test_the_steps_are_those_of_each_network_alone(networks, table, masks):
    found, history = trained(networks, table, masks, max_epochs=1)
    for fold, (network, of_fold) in enumerate(zip(networks, found, strict=True)):
        generator = torch.Generator().manual_seed(1)
        options = OPTIONS | {"max_epochs": 1, "rows": masks[fold], "validation": "rest", "progress": False}
        alone = MAKE(network).fit(*table, generator=generator, **options)
        torch.testing.assert_close(weights(of_fold), weights(network))
        for ours, of_alone in zip(history, alone, strict=True):
            torch.testing.assert_close(ours[:, fold], of_alone)


def test_weights_are_the_mean_of_the_last_epochs(networks, table):
    """Without masks nothing is validated: what is left is the mean after the last epoch."""
    alone = [weights(trained(networks, table, max_epochs=count)[0][0]) for count in (1, 2, 3)]
    for epochs, averaged, shares in (
        (2, 5, (1 / 2, 1 / 2, 0.0)),
        (3, 5, (1 / 3, 1 / 3, 1 / 3)),
        (3, 2, (1 / 4, 1 / 4, 1 / 2)),
    ):
        (found, *_), history = trained(networks, table, max_epochs=epochs, averaged=averaged)
        for p, *of_epochs in zip(weights(found), *alone, strict=True):
            torch.testing.assert_close(p, torch.tensordot(torch.tensor(shares), torch.stack(of_epochs), 1))
        assert history.validation is None
        assert history.training.shape == (epochs, 3)


def scripted(monkeypatch, losses):
    """Let the validation losses be these, (epochs, folds)."""
    losses = iter(torch.tensor(losses).double())
    monkeypatch.setattr(fold_training, "loss_on", lambda *_: next(losses))


def test_they_stop_together_where_their_mean_loss_is_lowest(networks, table, masks, monkeypatch):
    """The third epoch is the best one of no fold, and the best one of all."""
    scripted(monkeypatch, [[5, 0, 5], [5, 5, 0], [2, 2, 2], [0, 5, 5], [3, 3, 3], [9, 9, 9]])
    found, history = trained(networks, table, masks, patience=2)
    assert len(history.training) == len(history.validation) == 5
    scripted(monkeypatch, [[3, 3, 3], [2, 2, 2], [1, 1, 1]])
    expected, _ = trained(networks, table, masks, max_epochs=3)
    torch.testing.assert_close([*map(weights, found)], [*map(weights, expected)], rtol=0, atol=0)


def test_a_fall_below_min_delta_is_waited_for_no_longer(networks, table, masks, monkeypatch):
    scripted(monkeypatch, [[1.0] * 3, [0.95] * 3, [0.9] * 3, [0.85] * 3, [0.84] * 3, [0.83] * 3])
    _, history = trained(networks, table, masks, patience=3, min_delta=0.12)
    assert len(history.training) == 6  # 1, and 0.85 is the next one that counts
    scripted(monkeypatch, [[1.0] * 3, [0.95] * 3, [0.9] * 3, [0.89] * 3, [0.84] * 3, [0.83] * 3])
    _, history = trained(networks, table, masks, patience=3, min_delta=0.12)
    assert len(history.training) == 4
    _, history = trained(networks, table, until=lambda: True)
    assert len(history.training) == 1


def test_a_loss_that_is_no_number_ends_the_training_before_it(networks, table, masks, monkeypatch):
    scripted(monkeypatch, [[3, 3, 3], [2, 2, 2], [1, torch.nan, 1], [0, 0, 0]])
    found, history = trained(networks, table, masks)
    assert history.validation.tolist() == [[3] * 3, [2] * 3]
    assert all(p.isfinite().all() for network in found for p in weights(network))
    scripted(monkeypatch, [[torch.inf] * 3, [0, 0, 0]])
    _, history = trained(networks, table, masks, patience=1)
    assert history.validation.tolist() == [[torch.inf] * 3]


def test_without_validation_a_loss_that_is_no_number_ends_the_training_before_it(networks, table, monkeypatch):
    numbers, step = iter(range(3)), fold_training.one_epoch

    def diverging(optimizer, *rest):
        losses = step(optimizer, *rest)
        if next(numbers) == 2:
            fold_training.weights(optimizer)[0].fill_(torch.nan)
            losses[0] = torch.nan
        return losses

    monkeypatch.setattr(fold_training, "one_epoch", diverging)
    found, history = trained(networks, table)
    assert len(history.training) == 2
    monkeypatch.undo()
    expected, _ = trained(networks, table, max_epochs=2)
    torch.testing.assert_close([*map(weights, found)], [*map(weights, expected)], rtol=0, atol=0)
