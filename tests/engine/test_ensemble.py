"""Ensembles beside their members alone: the same outputs, gradients, steps and histories, each to 1e-12."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import torchbp
from tests.networks import rows
from torchbp.benchmarks.helpers.memory_use import peak_bytes

MEMBERS = 5
OPTIONS = {
    "plain": {"lr": 0.3},
    "nesterov": {"lr": 0.3, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    "lr of each": {"lr": [0.1, 0.2, 0.0, 0.4, 0.5]},
    "numbers of each": {
        "lr": [0.1, 0.2, 0.3, 0.4, 0.5],
        "momentum": [0.9, 0.5, 0.0, 0.1, 0.2],
        "weight_decay": [0.0, 0.1, 0.01, 0.2, 0.3],
        "dampening": 0.3,
    },
}
LOSSES = {
    "logits": torchbp.nn.BCEWithLogitsLoss(pos_weight=torch.tensor([3.0, 0.2], dtype=torch.double)),
    "sum": torch.nn.BCEWithLogitsLoss(reduction="sum"),
    "squares": torch.nn.MSELoss(),
}


def networks(activation="sigmoid", sizes=(3, 5, 4, 2), members=MEMBERS):
    return [torchbp.nn.MLP(*sizes, activation=activation, dtype=torch.double) for _ in range(members)]


def of_member(options, number):
    return {k: v[number] if isinstance(v, list) else v for k, v in options.items()}


def assert_are(ensemble, nets, tolerance=1e-12):
    for one, net in zip(torchbp.unstack(ensemble), nets, strict=True):
        torch.testing.assert_close(one.state_dict(), net.state_dict(), rtol=tolerance, atol=tolerance)


def test_stack_and_unstack_are_inverse_and_copy():
    nets = networks("tanh")
    nets[0][0].weight.requires_grad_(False)  # one alone, and one of all
    for net in nets:
        net[2].bias.requires_grad_(False)
    ensemble = torchbp.stack(nets)
    for stacked in (ensemble, *torchbp.unstack(ensemble)):
        assert [name for name, p in stacked.named_parameters() if not p.requires_grad] == ["2.bias"]
    assert (ensemble.sizes, ensemble.activation, ensemble.members) == ((3, 5, 4, 2), "tanh", MEMBERS)
    assert ensemble[0].weight.shape == (MEMBERS, 5, 3)
    assert ensemble.state_dict().keys() == nets[0].state_dict().keys()
    assert_are(ensemble, nets, 0)
    x, _ = rows(7)
    expected = torch.stack([net(x) for net in nets])
    torch.testing.assert_close(ensemble(x), expected, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(ensemble(x.expand(MEMBERS, 7, 3)), expected, rtol=1e-13, atol=1e-13)
    with torch.no_grad():
        ensemble[0].bias.zero_()
    assert nets[0][0].bias.abs().sum() > 0


def test_making_an_ensemble_of_networks_draws_no_random_number():
    nets = networks()
    before = torch.get_rng_state()
    torchbp.unstack(torchbp.stack(nets))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("nets", "error", "message"),
    [
        ([], ValueError, "no network"),
        ([torch.nn.Identity()], TypeError, "number 0 is an Identity; each must be an MLP"),
        ([torchbp.nn.MLP(3, 2), torchbp.nn.MLP(3, 4, 2)], ValueError, r"number 1 is MLP\(3, 4, 2\)"),
        ([torchbp.nn.MLP(3, 2), torchbp.nn.MLP(3, 2, activation="relu")], ValueError, "relu"),
        ([torchbp.nn.MLP(3, 2), torchbp.nn.MLP(3, 2).double()], ValueError, "float64"),
        ([torchbp.nn.MLP(3, 2, members=2)], ValueError, "members=2"),
    ],
)
def test_what_cannot_be_stacked_is_named(nets, error, message):
    with pytest.raises(error, match=message):
        torchbp.stack(nets)


def test_one_network_is_not_unstacked():
    with pytest.raises(ValueError, match="one network"):
        torchbp.unstack(torchbp.nn.MLP(3, 2))
    for members in (0, 2.0, True):
        with pytest.raises(ValueError, match="members"):
            torchbp.nn.MLP(3, 2, members=members)
    with pytest.raises(TypeError, match="this is a Linear; give an MLP with members"):
        torchbp.unstack(torch.nn.Linear(3, 2))


def test_each_member_is_drawn_as_a_linear_layer_is():
    torch.manual_seed(0)
    layer = torchbp.nn.EnsembleLinear(200, 16, 30)
    alone = torch.nn.Linear(16, 6000)
    for drawn, expected in ((layer.weight, alone.weight), (layer.bias, alone.bias)):
        assert drawn.abs().max() <= 0.25
        assert abs(drawn.std() / expected.std() - 1) < 0.02
    assert not torch.equal(layer.weight[0], layer.weight[1])
    assert "members=200, in_features=16" in repr(layer)
    assert torchbp.nn.EnsembleLinear(2, 3, 4, bias=False).bias is None


def test_the_mean_and_the_spread_of_its_probabilities():
    nets = networks()
    x, _ = rows(7)
    mean, spread = torchbp.stack(nets).predict_proba(x)
    alone = torch.stack([net.predict_proba(x) for net in nets])
    torch.testing.assert_close(mean, alone.mean(0), rtol=1e-12, atol=0)
    torch.testing.assert_close(spread, alone.std(0, correction=0), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("own", [False, True], ids=["shared rows", "rows of each"])
def test_gradients_are_those_of_each_member_alone(own, loss):
    nets = networks()
    ensemble = torchbp.stack(nets)
    x, y = rows(MEMBERS, 7) if own else rows(7)
    losses = torchbp.backprop(ensemble, x, y, loss)
    assert losses.shape == (MEMBERS,)
    for number, net in enumerate(nets):
        expected = loss(net(x[number] if own else x), y[number] if own else y)
        torch.testing.assert_close(losses[number], expected.detach(), rtol=1e-12, atol=1e-13)
        expected.backward()
        for of_all, p in zip(ensemble.parameters(), net.parameters(), strict=True):
            torch.testing.assert_close(of_all.grad[number], p.grad, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("chunk", [None, 1, 2, 7])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_many_steps_are_those_of_each_member_alone(options, chunk):
    nets = networks()
    ensemble = torchbp.stack(nets)
    together = torchbp.SGD(ensemble, **options, chunk=chunk)
    alone = [torchbp.SGD(net, **of_member(options, number)) for number, net in enumerate(nets)]
    steps = 150 if chunk is None else 20
    for step in range(steps):
        x, y = rows(MEMBERS, 6)
        if step % 2:  # a row for all, sometimes of x and sometimes of y
            x = x[:1].expand_as(x)
        losses = together.backprop_step(x[0] if step % 2 else x, y)
        expected = [optimizer.backprop_step(*member) for optimizer, *member in zip(alone, x, y, strict=True)]
        torch.testing.assert_close(losses, torch.stack(expected), rtol=1e-11, atol=1e-12)
    assert_are(ensemble, nets)


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    members=st.integers(1, 4),
    batch=st.integers(0, 5),
    activation=st.sampled_from(["sigmoid", "tanh", "relu"]),
    seed=st.integers(0, 999),
)
def test_any_ensemble(sizes, members, batch, activation, seed):
    torch.manual_seed(seed)
    nets = networks(activation, sizes, members)
    ensemble = torchbp.stack(nets)
    loss = torch.nn.MSELoss(reduction="sum")
    together = torchbp.SGD(ensemble, lr=0.1, momentum=0.5, loss=loss)
    alone = [torchbp.SGD(net, lr=0.1, momentum=0.5, loss=loss) for net in nets]
    for _ in range(3):
        x = torch.randn(members, batch, sizes[0], dtype=torch.double)
        y = torch.rand(members, batch, sizes[-1], dtype=torch.double)
        together.backprop_step(x, y)
        for optimizer, *member in zip(alone, x, y, strict=True):
            optimizer.backprop_step(*member)
    assert_are(ensemble, nets)


def test_autograd_and_step_do_the_same():
    options = OPTIONS["numbers of each"]
    nets = networks()
    ensemble, other = torchbp.stack(nets), torchbp.stack(nets)
    by_hand, by_autograd = torchbp.SGD(ensemble, **options), torchbp.SGD(other, **options)
    for _ in range(5):
        x, y = rows(6)
        by_hand.backprop_step(x, y)
        by_autograd.zero_grad()
        each = torch.nn.functional.binary_cross_entropy_with_logits(other(x), y.expand(MEMBERS, 6, 2), reduction="none")
        by_autograd.step(lambda each=each: each.mean((1, 2)).sum().backward())
    torch.testing.assert_close(ensemble.state_dict(), other.state_dict(), rtol=1e-12, atol=1e-13)


def test_who_is_not_active_keeps_its_weights_and_disturbs_nobody():
    nets = networks()
    ensemble, other = torchbp.stack(nets), torchbp.stack(nets)
    options = OPTIONS["nesterov"]
    some, all_ = torchbp.SGD(ensemble, **options), torchbp.SGD(other, **options)
    for optimizer in (some, all_):
        torch.manual_seed(1)
        optimizer.backprop_step(*rows(6))
    before = copy.deepcopy(torchbp.unstack(ensemble))
    some.active = torch.tensor([True, False, True, False, True])
    for optimizer in (some, all_):
        torch.manual_seed(2)
        optimizer.backprop_step(*rows(6))
    for number, (after, went_on) in enumerate(zip(torchbp.unstack(ensemble), torchbp.unstack(other), strict=True)):
        if number % 2:
            torch.testing.assert_close(after.state_dict(), before[number].state_dict(), rtol=0, atol=0)
        else:
            torch.testing.assert_close(after.state_dict(), went_on.state_dict(), rtol=1e-13, atol=1e-14)


def test_numbers_of_each_follow_the_model_to_another_dtype():
    ensemble = torchbp.stack(networks())
    optimizer = torchbp.SGD(ensemble, **OPTIONS["numbers of each"])
    ensemble.float()
    for _ in range(2):
        optimizer.backprop_step(*(t.float() for t in rows(6)))
    assert ensemble[0].weight.dtype == torch.float32


def test_schedulers_change_the_learning_rates_of_all_members():
    nets = networks()
    ensemble = torchbp.stack(nets)
    together = torchbp.SGD(ensemble, lr=[0.1, 0.2, 0.3, 0.4, 0.5])
    alone = [torchbp.SGD(net, lr=0.1 * (number + 1)) for number, net in enumerate(nets)]
    schedules = [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5) for optimizer in (together, *alone)]
    for _ in range(4):
        x, y = rows(6)
        for optimizer in (together, *alone):
            optimizer.backprop_step(x, y)
        for schedule in schedules:
            schedule.step()
    assert_are(ensemble, nets)


def test_state_is_saved_and_loaded():
    options = OPTIONS["numbers of each"]
    ensemble = torchbp.stack(networks())
    first = torchbp.SGD(ensemble, **options)
    first.backprop_step(*rows(6))
    other = copy.deepcopy(ensemble)
    again = torchbp.SGD(other, lr=[9.0] * MEMBERS, momentum=[0.0] * MEMBERS)
    again.load_state_dict(copy.deepcopy(first.state_dict()))
    x, y = rows(6)
    first.backprop_step(x, y)
    again.backprop_step(x, y)
    torch.testing.assert_close(ensemble.state_dict(), other.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": [0.1, 0.2]}, "lr has 2 numbers; the model is of 5 members"),
        ({"lr": [0.1, 0.2, 0.3, 0.4, -0.5]}, "lr=-0.5"),
        ({"weight_decay": [0.1, 0.2, 0.3, 0.4, torch.inf]}, "weight_decay=inf"),
        ({"chunk": 0}, "chunk=0"),
        ({"capture": True}, "the model is on cpu"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        torchbp.SGD(torchbp.stack(networks()), **options)


def test_bad_options_of_one_network_are_named():
    for options, message in (({"lr": [0.1]}, "one network"), ({"chunk": 2}, "chunk=2")):
        with pytest.raises(ValueError, match=message):
            torchbp.SGD(networks()[0], **options)


def test_bad_rows_are_named():
    ensemble = torchbp.stack(networks())
    optimizer = torchbp.SGD(ensemble)
    x, y = rows(MEMBERS, 6)
    for bad_x, bad_y, message in (
        (x[:4], y, r"x has the shape \(4, 6, 3\); give"),
        (x[0, 0], y, "give"),
        (x, y[:4], "target has the shape"),
        (x, y[:, :5], "target has the shape"),
    ):
        with pytest.raises(ValueError, match=message):
            optimizer.backprop_step(bad_x, bad_y)
    mixed = torch.nn.Sequential(torchbp.nn.EnsembleLinear(2, 3, 4), torchbp.nn.Linear(4, 1))
    with pytest.raises(ValueError, match="members"):
        torchbp.SGD(mixed)
    with pytest.raises(RuntimeError, match="give"):
        ensemble(x[0, 0])


def test_a_chunk_bounds_the_memory_of_a_step():
    """Activations and deltas of all members at once would be 64 times those of one."""
    ensemble = torchbp.nn.MLP(8, 32, 32, 1, members=64)
    x, y = torch.randn(128, 8), torch.rand(128, 1)
    peaks = []
    for chunk in (None, 4):
        optimizer = torchbp.SGD(ensemble, chunk=chunk)
        peaks.append(peak_bytes(lambda: None, lambda optimizer=optimizer: optimizer.backprop_step(x, y)))
    one = 4 * 128 * 32
    assert peaks[0] > 64 * 2 * one
    assert peaks[1] < 4 * 6 * one
