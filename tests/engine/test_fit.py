"""SGD.fit beside a loop by hand: orders, bags, the rule of stopping, members that stop alone, and what it refuses."""

import re
import sys
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer

import torchbp
from tests.networks import mlp
from torchbp.engine.fitting import fit
from torchbp.engine.fitting.rows import Rows
from torchbp.engine.fitting.stopping import DESCENDS, GRADIENT, NOT_FINITE, PATIENCE, Minimum

network = partial(mlp, (30, 16, 1))


@pytest.fixture(scope="module")
def data():
    found = load_breast_cancer()
    x = torch.tensor(found.data)
    return (x - x.mean(0)) / x.std(0), torch.tensor(found.target).double().unsqueeze(1)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch_size", [32, 100, 569, 1000])
def test_it_is_a_loop_of_torchs_sgd_over_batches(data, batch_size, shuffle):
    x, y = data
    ours, theirs = network(), network()
    history = torchbp.SGD(ours, lr=0.5, momentum=0.5).fit(
        x, y, batch_size=batch_size, max_epochs=5, shuffle=shuffle, generator=generator(), progress=False
    )
    descent, loss = torch.optim.SGD(theirs.parameters(), lr=0.5, momentum=0.5), torch.nn.BCEWithLogitsLoss()
    order, expected = generator(), []
    for _ in range(5):
        places = torch.randperm(len(x), generator=order) if shuffle else torch.arange(len(x))
        total = 0
        for batch in places.split(batch_size):
            descent.zero_grad()
            value = loss(theirs(x[batch]), y[batch])
            value.backward()
            descent.step()
            total += value.item() * len(batch)
        expected.append(total / len(x))
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(history, torch.tensor(expected, dtype=torch.double), rtol=1e-12, atol=0)


def test_it_reaches_the_minimum_and_says_why_it_stopped(data):
    optimizer = torchbp.SGD(network(), lr=0.5, weight_decay=1e-3)
    history = optimizer.fit(*data, min_grad_norm=0.01, generator=generator())
    assert optimizer.minimum.why == GRADIENT
    assert optimizer.minimum.epochs == len(history) < 100
    assert history[-1] < 0.1 < history[0]
    lowest = f"{history[-1]:.4g}"
    said = "the norm of the gradient is under 0.01"
    assert str(optimizer.minimum) == f"after {len(history)} epochs, lowest loss {lowest}: {said}"

    history = optimizer.fit(*data, min_delta=1.0, patience=3, generator=generator())
    assert len(history) == 4  # the first is the best, and then three
    assert optimizer.minimum.why == PATIENCE
    assert str(optimizer.minimum).endswith(": the loss has not fallen by more than 1 in 3 epochs")

    history = optimizer.fit(*data, max_epochs=2, generator=generator())
    assert len(history) == 2
    assert optimizer.minimum.why == DESCENDS
    assert str(optimizer.minimum).endswith(": the loss still falls, and max_epochs is reached")


def test_an_ensemble_says_of_how_many_members_why_they_stopped():
    minimum = Minimum(1e-4, 1, members=4)
    minimum.update(torch.tensor([0.5, 0.4, torch.nan, 0.3]))
    minimum.update(torch.tensor([0.4, 0.3, 0.1, 0.3]))
    assert str(minimum).splitlines() == [
        "4 networks, after 1 to 2 epochs, lowest loss 0.3 to inf:",
        "  2: the loss still falls, and max_epochs is reached",
        "  1: the loss has not fallen by more than 0.0001 in 1 epochs",
        "  1: the loss is nan or infinite; a smaller lr helps",
    ]


def test_the_gradients_norm_is_autograds(data):
    x, y = data
    for members in (None, 3):
        net = network(members)
        optimizer = torchbp.SGD(net, weight_decay=0.1 if members is None else [0.0, 0.1, 0.2])
        rows = Rows(x, y)
        norms = fit.norms_of(optimizer, rows, 100)
        for number, one in enumerate([net] if members is None else torchbp.unstack(net)):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(one(x), y)
            decay = 0.1 if members is None else 0.1 * number
            loss = loss + decay / 2 * sum(p.square().sum() for p in one.parameters())
            squares = sum(g.square().sum() for g in torch.autograd.grad(loss, one.parameters()))
            torch.testing.assert_close(norms.flatten()[number], squares.sqrt(), rtol=1e-10, atol=0)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_each_member_stops_alone_and_keeps_its_weights(data, momentum):
    lr = [0.5, 0.02, 0.1, 0.0, 0.3]
    ensemble = network(5)
    alone = torchbp.unstack(ensemble)
    options = {"min_grad_norm": 0.03, "min_delta": 1e-3, "patience": 5, "max_epochs": 60, "progress": False}
    together = torchbp.SGD(ensemble, lr=lr, weight_decay=1e-3, momentum=momentum)
    history = together.fit(*data, generator=generator(), **options)
    stopped = []
    for number, net in enumerate(alone):
        optimizer = torchbp.SGD(net, lr=lr[number], weight_decay=1e-3, momentum=momentum)
        expected = optimizer.fit(*data, generator=generator(), **options)
        torch.testing.assert_close(history[: len(expected), number], expected, rtol=1e-11, atol=1e-12)
        assert (history[len(expected) :, number] == history[len(expected) - 1, number]).all()
        assert together.minimum.why[number] == optimizer.minimum.why
        assert together.minimum.epochs[number] == len(expected)
        stopped.append(len(expected))
    assert len(set(stopped)) >= 4  # each at an epoch of its own, and so more than once half of those left
    for one, net in zip(torchbp.unstack(ensemble), alone, strict=True):
        torch.testing.assert_close(one.state_dict(), net.state_dict(), rtol=1e-11, atol=1e-12)
    assert together.active is None
    if momentum:  # each velocity is where it belongs
        last = stopped.index(max(stopped))
        velocity = together.state[ensemble[0].weight]["momentum_buffer"][last]
        expected = torchbp.SGD(
            again := torchbp.unstack(network(5))[last], lr=lr[last], weight_decay=1e-3, momentum=momentum
        )
        expected.fit(*data, generator=generator(), **options)
        torch.testing.assert_close(velocity, expected.state[again[0].weight]["momentum_buffer"], rtol=1e-9, atol=1e-12)


def test_members_that_have_stopped_cost_nothing(data, monkeypatch):
    sizes = []
    step = fit.one_epoch
    monkeypatch.setattr(
        fit, "one_epoch", lambda optimizer, *args: sizes.append(optimizer.network.members) or step(optimizer, *args)
    )
    for still, left in ((1, 1), (4, 4), (5, 8)):  # the rest goes on alone where it is half of all or less
        sizes.clear()
        optimizer = torchbp.SGD(network(8), lr=[0.0] * (8 - still) + [0.5] * still)
        optimizer.fit(*data, max_epochs=5, patience=2, batch_size=100, generator=generator())
        assert sizes == [8] * 3 + [left] * 2


def test_with_bagging_each_member_has_rows_of_its_own(data):
    x, y = data
    ensemble = network(3)
    alone = torchbp.unstack(ensemble)
    torchbp.SGD(ensemble, lr=0.5).fit(x, y, max_epochs=3, bagging=True, generator=generator(), progress=False)
    bags = torch.randint(len(x), (3, len(x)), generator=generator())
    assert all(len(bag.unique()) < len(x) for bag in bags)
    for bag, one, net in zip(bags, torchbp.unstack(ensemble), alone, strict=True):
        order = generator()
        torch.randint(len(x), (3, len(x)), generator=order)
        torchbp.SGD(net, lr=0.5).fit(x[bag], y[bag], max_epochs=3, generator=order, progress=False)
        torch.testing.assert_close(one.state_dict(), net.state_dict(), rtol=1e-11, atol=1e-12)


def test_rows_of_each_member(data):
    x, y = data
    ensemble = network(2)
    alone = torchbp.unstack(ensemble)
    own = torch.stack([x[:200], x[200:400]]), torch.stack([y[:200], y[200:400]])
    options = {"max_epochs": 3, "progress": False, "min_grad_norm": 1e-9}
    torchbp.SGD(ensemble, lr=0.5).fit(*own, generator=generator(), **options)
    for number, (one, net) in enumerate(zip(torchbp.unstack(ensemble), alone, strict=True)):
        torchbp.SGD(net, lr=0.5).fit(own[0][number], own[1][number], generator=generator(), **options)
        torch.testing.assert_close(one.state_dict(), net.state_dict(), rtol=1e-11, atol=1e-12)


def with_memory():
    """A network whose forward updates running statistics and draws random numbers."""
    torch.manual_seed(0)
    layers = [torch.nn.Linear(30, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.3), torch.nn.Linear(4, 1)]
    return torch.nn.Sequential(*layers).double()


def test_reading_a_network_leaves_no_trace(data):
    """Its gradient's norm, at the end of each epoch, and the search for the layer that gave nan."""
    found = []
    for min_grad_norm in (0.0, 1e-9):
        net = with_memory()
        torch.manual_seed(1)
        options = {"max_epochs": 3, "generator": generator(), "progress": False, "min_grad_norm": min_grad_norm}
        history = torchbp.SGD(net, lr=0.1).fit(*data, **options)
        found.append([history, *net.state_dict().values(), torch.rand(1)])
    torch.testing.assert_close(*found, rtol=0, atol=0)
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    stream = torch.get_rng_state()
    fit.trouble(torchbp.SGD(net, lr=0.1).network, Rows(*data, None, None), None)
    torch.testing.assert_close(dict(net.state_dict()), state, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), stream)


def test_an_interrupted_fit_keeps_what_was_done(data, monkeypatch):
    ensemble = network(4)
    optimizer = torchbp.SGD(ensemble, lr=[0.5, 0.0, 0.0, 0.0])
    step, done = fit.one_epoch, []

    def interrupted(*args):
        done.append(step(*args))
        if len(done) == 6:
            raise KeyboardInterrupt
        return done[-1]

    monkeypatch.setattr(fit, "one_epoch", interrupted)
    other = torchbp.unstack(network(4))[0]
    with pytest.raises(KeyboardInterrupt):
        optimizer.fit(*data, patience=2, generator=generator())
    monkeypatch.undo()
    torchbp.SGD(other, lr=0.5).fit(*data, max_epochs=6, generator=generator())
    torch.testing.assert_close(torchbp.unstack(ensemble)[0].state_dict(), other.state_dict(), rtol=1e-11, atol=1e-12)
    assert optimizer.active is None


def test_it_draws_from_the_given_generator_alone(data):
    before = torch.get_rng_state()
    net = network(2)
    torch.set_rng_state(before)
    torchbp.SGD(net).fit(*data, max_epochs=2, bagging=True, generator=generator(), progress=False)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_rule_of_one_is_the_rule_of_each():
    losses = torch.tensor([[3.0, 3.0, 3.0], [2.0, 3.0, torch.nan], [1.0, 2.95, 1.0], [1.0, 2.0, 1.0], [1.0, 1.0, 1.0]])
    rule = Minimum(0.1, 2, members=3)
    seen = [rule.update(loss).tolist() for loss in losses]
    assert seen == [[True] * 3, [True, True, False], [True, False, False], [True, False, False], [False] * 3]
    assert rule.why.tolist() == [PATIENCE, PATIENCE, NOT_FINITE]
    assert rule.epochs.tolist() == [5, 3, 2]
    again = Minimum(0.1, 2, members=3)
    again.load_state_dict(rule.state_dict())
    assert again.best.tolist() == [1.0, 3.0, 3.0]


def test_a_bar_is_shown_when_asked_for(data, capsys):
    torchbp.SGD(network()).fit(*data, max_epochs=2, progress=True)
    assert "epoch" in capsys.readouterr().err
    torchbp.SGD(network()).fit(*data, max_epochs=2)  # not on a terminal
    assert capsys.readouterr() == ("", "")


def test_a_bar_needs_tqdm_only_where_it_is_asked_for(data, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    for progress in (None, False):
        assert len(torchbp.SGD(network()).fit(*data, max_epochs=2, progress=progress)) == 2
    assert capsys.readouterr() == ("", "")
    message = 'progress=True needs tqdm, which is not installed: pip install "torchbp[train]"'
    with pytest.raises(ModuleNotFoundError, match=re.escape(message)):
        torchbp.SGD(network()).fit(*data, max_epochs=2, progress=True)


def nan_at(t, *place):
    t = t.clone()
    t[place] = torch.nan
    return t


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: ((nan_at(x, 3, 4), y), {}), r"x\[3, 4\] is nan, one of 1"),
        (lambda x, y: ((x, nan_at(y, 5, 0)), {}), r"y\[5, 0\] is nan"),
        (lambda x, y: ((x / 0, y), {}), r"x\[0, 0\] is inf"),
        (lambda x, y: ((x[:5], y), {}), "x has 5 rows and y 569"),
        (lambda x, y: ((x[:0], y[:0]), {}), "one at least"),
        (lambda x, y: ((x[0], y), {}), r"x has the shape \(30,\)"),
        (lambda x, y: ((x, y[:, 0]), {}), r"y has the shape \(569,\)"),
        (lambda x, y: ((x, y), {"batch_size": 0}), "batch_size=0"),
        (lambda x, y: ((x, y), {"max_epochs": 1.5}), "max_epochs=1.5"),
        (lambda x, y: ((x, y), {"patience": 0}), "patience=0"),
        (lambda x, y: ((x, y), {"min_delta": -1}), "min_delta=-1"),
        (lambda x, y: ((x, y), {"min_grad_norm": float("nan")}), "min_grad_norm=nan"),
        (lambda x, y: ((x, y), {"bagging": True}), "bagging=True"),
    ],
)
def test_bad_input_is_named_and_nothing_is_trained(data, change, message):
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    rows, options = change(*data)
    with pytest.raises(ValueError, match=message):
        torchbp.SGD(net).fit(*rows, **options)
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)


def test_a_loss_that_is_no_number_is_an_error_with_the_layer(data):
    optimizer = torchbp.SGD(network(), lr=1e308)
    with pytest.raises(FloatingPointError, match=r"layer '\d', a Linear, (gives|has weights of).*; a smaller lr"):
        optimizer.fit(*data)


@pytest.mark.parametrize(("members", "chunk"), [(None, None), (3, None), (3, 2)])
def test_the_layer_with_the_largest_weights_is_named_where_none_gives_nan(members, chunk):
    rows = Rows(torch.ones(4, 3, dtype=torch.double), torch.ones(4, 2, dtype=torch.double))
    for value, message in ((-3e100, "has weights of 3e+100"), (1e308, "gives inf")):
        net = mlp((3, 4, 2), members)
        with torch.no_grad():
            (net[2].weight if members is None else net[2].weight[-1]).fill_(value)  # the last member's
        named = fit.trouble(torchbp.SGD(net).network, rows, chunk)
        assert named.startswith("layer '2', a")
        assert named.endswith(message)


def test_a_member_whose_loss_is_no_number_is_named_and_disturbs_nobody(data):
    x, y = data
    ensemble = network(3)
    alone = torchbp.unstack(ensemble)[0]
    together = torchbp.SGD(ensemble, lr=[0.5, 1e308, 0.4])
    with pytest.warns(UserWarning, match="members became nan or inf: 1; a smaller lr") as caught:
        together.fit(x, y, max_epochs=5, generator=generator())
    assert caught[0].filename == __file__
    assert together.minimum.why.tolist() == [DESCENDS, NOT_FINITE, DESCENDS]
    torchbp.SGD(alone, lr=0.5).fit(x, y, max_epochs=5, generator=generator())
    torch.testing.assert_close(torchbp.unstack(ensemble)[0].state_dict(), alone.state_dict(), rtol=1e-11, atol=1e-12)


def of_each(draw, values, members):
    """One number, or a list of one for each member."""
    if draw(st.booleans()):
        return draw(st.sampled_from(values))
    return [draw(st.sampled_from(values)) for _ in range(members)]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_fit_of_an_ensemble_is_that_of_its_members_alone(data):
    draw = data.draw
    members, count, seed = draw(st.integers(1, 6)), draw(st.integers(1, 60)), draw(st.integers(0, 999))
    sizes = draw(st.sampled_from([(3, 4, 1), (3, 2), (3, 5, 4, 2)]))
    numbers = {
        "lr": of_each(draw, [0.0, 0.05, 0.3, 1.0], members),
        "momentum": of_each(draw, [0.0, 0.5, 0.9], members),
        "weight_decay": of_each(draw, [0.0, 0.01], members),
    }
    own, bagging = draw(st.sampled_from([(False, False), (True, False), (False, True)]))
    options = {
        "batch_size": draw(st.sampled_from([1, 3, 8, 32, 100])),
        "max_epochs": 10,
        "min_delta": draw(st.sampled_from([1e-3, 1e-2])),
        "patience": draw(st.sampled_from([1, 2, 4])),
        "min_grad_norm": draw(st.sampled_from([0.0, 0.02, 0.1])),
        "shuffle": draw(st.booleans()),
        "progress": False,
    }
    torch.manual_seed(seed)
    positive = torch.rand(sizes[-1], dtype=torch.double) + 0.5
    loss = draw(st.sampled_from([None, torch.nn.MSELoss(), torchbp.nn.BCEWithLogitsLoss(pos_weight=positive)]))
    ensemble = torchbp.nn.MLP(*sizes, members=members, dtype=torch.double)
    if draw(st.booleans()):
        ensemble[0].bias.requires_grad_(False)
    alone = torchbp.unstack(ensemble)
    x = torch.randn(*[members] * own, count, 3, dtype=torch.double)
    y = torch.rand(*[members] * own, count, sizes[-1], dtype=torch.double).round()
    together = torchbp.SGD(ensemble, **numbers, loss=loss, chunk=draw(st.sampled_from([None, 1, 2, 4])))
    history = together.fit(x, y, bagging=bagging, generator=generator(seed), **options)
    for number, (one, net) in enumerate(zip(torchbp.unstack(ensemble), alone, strict=True)):
        order = generator(seed)
        rows = (x[number], y[number]) if own else (x, y)
        if bagging:
            bag = torch.randint(count, (members, count), generator=order)[number]
            rows = [t[bag] for t in rows]
        single = torchbp.SGD(net, **{k: v[number] if isinstance(v, list) else v for k, v in numbers.items()}, loss=loss)
        expected = single.fit(*rows, generator=order, **options)
        assert together.minimum.epochs[number] == len(expected)
        assert together.minimum.why[number] == single.minimum.why
        torch.testing.assert_close(history[: len(expected), number], expected, rtol=1e-9, atol=1e-10)
        torch.testing.assert_close(one.state_dict(), net.state_dict(), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("compile", [False, True])
def test_until_ends_a_training_between_two_epochs(compile):
    x, y = torch.randn(64, 4, dtype=torch.double), torch.rand(64, 1, dtype=torch.double).round()
    asked = []
    nets = [mlp((4, 3, 1)) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    options = {"shuffle": False, "progress": False}
    first = torchbp.SGD(nets[0], 0.5, compile=compile)
    history = first.fit(x, y, until=lambda: asked.append(0) or len(asked) == 3, **options)
    expected = torchbp.SGD(nets[1], 0.5, compile=compile).fit(x, y, max_epochs=3, **options)
    assert torch.equal(history, expected)
    torch.testing.assert_close(nets[0].state_dict(), nets[1].state_dict(), rtol=1e-12, atol=1e-12)
