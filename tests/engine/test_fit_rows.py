"""fit on rows of unequal number, and with validation: each member as it is alone, beside loops by hand."""

import copy
from functools import partial

import pytest
import torch
from sklearn.model_selection import KFold

import torchbp
from tests.networks import mlp
from torchbp.benchmarks.helpers.memory_use import peak_bytes
from torchbp.engine.fitting import epoch
from torchbp.engine.fitting.fit import History
from torchbp.engine.fitting.stopping import DESCENDS, PATIENCE

network = partial(mlp, (4, 5, 2))
FOLDS = [list(range(50)), list(range(0, 50, 2)), [3], list(range(33)), [1, 2, 49, 4, 5, 6, 7, 8]]
OPTIONS = {"batch_size": 8, "max_epochs": 6, "progress": False}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def table(rows=50, members=(), seed=1):
    torch.manual_seed(seed)
    x = torch.randn(*members, rows, 4, dtype=torch.double)
    return x, (x[..., :2] + 0.5 * torch.randn(*members, rows, 2, dtype=torch.double) > 0).double()


def close(ours, theirs, tolerance=1e-12):
    torch.testing.assert_close(ours, theirs, rtol=10 * tolerance, atol=tolerance)


def velocities(optimizer):
    return [optimizer.state[p]["momentum_buffer"] for group in optimizer.param_groups for p in group["params"]]


def test_one_network_on_some_rows_is_one_on_a_table_of_them():
    x, y = table()
    places = torch.tensor(FOLDS[3])
    mask = torch.zeros(50, dtype=torch.bool)
    mask[places] = True
    nets = [network() for _ in range(3)]
    histories = [
        torchbp.SGD(net, 0.3).fit(x, y, rows=rows, shuffle=False, **OPTIONS)
        for net, rows in zip(nets, (places, mask, places.numpy()), strict=True)
    ]
    expected, other = torchbp.SGD(net := network(), 0.3), net
    history = expected.fit(x[places], y[places], shuffle=False, **OPTIONS)
    for net, found in zip(nets, histories, strict=True):
        close(found, history, 0)
        close(net.state_dict(), other.state_dict(), 0)


def test_shuffled_rows_are_visited_in_the_order_of_the_whole_table():
    x, y = table()
    net, other, order = network(), network(), generator()
    torchbp.SGD(net, 0.3).fit(x, y, rows=FOLDS[3], generator=generator(), **OPTIONS)
    step = torchbp.SGD(other, 0.3).backprop_step
    for _ in range(6):
        places = torch.randperm(50, generator=order)
        for batch in places[places < 33].split(8):
            step(x[batch], y[batch])
    close(net.state_dict(), other.state_dict())


@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("own", [False, True], ids=["shared table", "of each"])
@pytest.mark.parametrize("loss", [None, torch.nn.MSELoss(reduction="sum"), torch.nn.CrossEntropyLoss(ignore_index=1)])
def test_each_member_on_its_fold_is_the_network_alone(loss, own, chunk):
    x, y = table(members=(5,) * own)
    if isinstance(loss, torch.nn.CrossEntropyLoss):
        y = y[..., 0].long() * (torch.arange(50) % 3)
        loss = torch.nn.CrossEntropyLoss(ignore_index=2)
        ensemble = mlp((4, 5, 3), 5)
    else:
        ensemble = network(5)
    alone, options = torchbp.unstack(ensemble), OPTIONS | {"min_grad_norm": 1e-3, "patience": 3, "min_delta": 0.003}
    numbers = {"lr": [0.3, 0.2, 0.1, 0.05, 0.3], "momentum": [0.5, 0.0, 0.9, 0.5, 0.2], "weight_decay": 0.01}
    if isinstance(loss, torch.nn.MSELoss):  # of a sum over the rows of a batch, under which it would diverge
        numbers["lr"] = [lr / 20 for lr in numbers["lr"]]
    together = torchbp.SGD(ensemble, **numbers, loss=loss, chunk=chunk)
    history = together.fit(x, y, rows=FOLDS, generator=generator(), **options)
    for number, (one, net) in enumerate(zip(torchbp.unstack(ensemble), alone, strict=True)):
        single = {k: v[number] if isinstance(v, list) else v for k, v in numbers.items()}
        single = torchbp.SGD(net, **single, loss=loss)
        rows = (x[number], y[number]) if own else (x, y)
        expected = single.fit(*rows, rows=FOLDS[number], generator=generator(), **options)
        close(history[: len(expected), number], expected)
        close(one.state_dict(), net.state_dict())
        assert together.minimum.epochs[number] == len(expected)
        assert together.minimum.why[number] == single.minimum.why
        if number != 1:
            close([v[number] for v in velocities(together)], velocities(single))
    assert together.active is None


def test_cross_validation_with_scikit_learns_folds():
    x, y = table(53)
    folds = [train for train, _ in KFold(5).split(x)]
    assert len({len(fold) for fold in folds}) == 2
    mask = torch.stack([torch.zeros(53, dtype=torch.bool).index_fill_(0, torch.as_tensor(f), True) for f in folds])
    ensemble, other = network(5), network(5)
    alone = torchbp.unstack(ensemble)
    history = torchbp.SGD(ensemble, 0.3).fit(x, y, rows=folds, validation="rest", generator=generator(), **OPTIONS)
    again = torchbp.SGD(other, 0.3).fit(x, y, rows=mask, validation="rest", generator=generator(), **OPTIONS)
    close(history, again, 0)
    assert isinstance(history, History)
    for number, (one, net) in enumerate(zip(torchbp.unstack(ensemble), alone, strict=True)):
        rest = x[~mask[number]], y[~mask[number]]
        single = torchbp.SGD(net, 0.3)
        expected = single.fit(x, y, rows=folds[number], validation=rest, generator=generator(), **OPTIONS)
        close([of[:, number] for of in history], list(expected))
        close(one.state_dict(), net.state_dict())


def with_memory():
    torch.manual_seed(0)
    layers = [torch.nn.Linear(4, 5), torch.nn.BatchNorm1d(5), torch.nn.Sigmoid(), torch.nn.Linear(5, 2)]
    return torch.nn.Sequential(*layers).double()


@pytest.mark.parametrize("make", [network, with_memory])
def test_it_stops_where_the_validation_loss_rises_and_puts_the_best_weights_back(make):
    (x, y), (x_val, y_val) = table(20), table(30, seed=2)
    loss = torch.nn.BCEWithLogitsLoss()
    options = {"batch_size": 5, "max_epochs": 200, "min_delta": 0.0, "patience": 4, "progress": False}
    net, other = make(), make()
    optimizer = torchbp.SGD(net, lr=1.0, momentum=0.5)
    training, validation = optimizer.fit(x, y, validation=(x_val, y_val), generator=generator(), **options)

    by_hand, order, states, expected = torchbp.SGD(other, lr=1.0, momentum=0.5), generator(), [], []
    while len(expected) < 5 or min(expected[-4:]) < min(expected[:-4]):
        for batch in torch.randperm(20, generator=order).split(5):
            by_hand.backprop_step(x[batch], y[batch])
        other.eval()
        expected.append(loss(other(x_val), y_val).item())
        other.train()
        states.append(copy.deepcopy((other.state_dict(), velocities(by_hand))))
    assert 5 < len(expected) < 200
    close(validation, torch.tensor(expected, dtype=torch.double))
    assert len(training) == len(expected)
    best = expected.index(min(expected))
    assert best == len(expected) - 5
    state, buffers = states[best]
    close(net.state_dict(), state)
    close(velocities(optimizer), buffers)
    net.eval()
    close(loss(net(x_val), y_val).item(), min(expected))
    minimum = optimizer.minimum
    assert (minimum.why, minimum.epochs, minimum.lowest_epochs) == (PATIENCE, len(expected), best + 1)
    assert str(minimum) == (
        f"after {len(expected)} epochs, lowest validation loss {min(expected):.4g} in epoch {best + 1}, whose weights "
        "are put back: the validation loss has not fallen by more than 0 in 4 epochs"
    )


@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("kind", ["shared", "of each", "bags"])
def test_each_member_stops_at_its_own_minimum_of_the_validation_loss(kind, chunk):
    lr = [1.0, 0.02, 0.3, 3.0, 0.0]
    ensemble = network(5)
    alone, (x, y) = torchbp.unstack(ensemble), table(20)
    x_val, y_val = table(30, (5,) * (kind == "of each"), seed=2)
    options = {"batch_size": 6, "max_epochs": 40, "min_delta": 1e-3, "patience": 4, "progress": False}
    together = torchbp.SGD(ensemble, lr=lr, momentum=0.5, chunk=chunk)
    validation = "rest" if kind == "bags" else (x_val, y_val)
    history = together.fit(x, y, validation=validation, bagging=kind == "bags", generator=generator(), **options)
    stopped = []
    for number, (one, net) in enumerate(zip(torchbp.unstack(ensemble), alone, strict=True)):
        order, single = generator(), torchbp.SGD(net, lr=lr[number], momentum=0.5)
        rows, held_out = (x, y), (x_val[number], y_val[number]) if kind == "of each" else (x_val, y_val)
        if kind == "bags":
            bag = torch.randint(20, (5, 20), generator=order)[number]
            rest = torch.tensor([i for i in range(20) if i not in bag.tolist()])
            rows, held_out = (x[bag], y[bag]), (x[rest], y[rest])
        expected = single.fit(*rows, validation=held_out, generator=order, **options)
        epochs = len(expected.training)
        close([of[:epochs, number] for of in history], list(expected), 1e-11)
        assert (history.validation[epochs:, number] == history.validation[epochs - 1, number]).all()
        close(one.state_dict(), net.state_dict(), 1e-11)
        close([v[number] for v in velocities(together)], velocities(single), 1e-11)
        for name in ("epochs", "why", "lowest_epochs"):
            assert getattr(together.minimum, name)[number] == getattr(single.minimum, name)
        stopped.append(epochs)
    assert len(set(stopped)) >= 3
    assert together.minimum.lowest_epochs.tolist() != together.minimum.epochs.tolist()


def test_the_lowest_loss_counts_though_it_fell_by_less_than_min_delta():
    net, (x, y) = network(), table(20)
    optimizer = torchbp.SGD(net, lr=0.01)
    history = optimizer.fit(x, y, validation=(x, y), min_delta=10.0, patience=3, progress=False, generator=generator())
    assert len(history.validation) == 4
    assert optimizer.minimum.lowest == history.validation.min()
    assert optimizer.minimum.lowest_epochs == history.validation.argmin() + 1 == 4


def test_members_that_were_not_active_keep_their_weights():
    ensemble, before = network(3), network(3)
    optimizer = torchbp.SGD(ensemble, lr=0.5)
    optimizer.active = torch.tensor([True, False, True])
    x, y = table(20)
    optimizer.fit(x, y, validation=(x, y), rows=[range(20), range(5), range(3)], **OPTIONS)
    for number, (one, old) in enumerate(zip(torchbp.unstack(ensemble), torchbp.unstack(before), strict=True)):
        assert torch.equal(one[0].weight, old[0].weight) == (number == 1)
    assert optimizer.active.tolist() == [True, False, True]
    assert optimizer.minimum.why.tolist() == [DESCENDS] * 3


def test_a_loss_that_is_no_number_is_an_error_with_the_layer_as_it_was_then():
    net, (x, y) = mlp((4, 5, 2)), table(20)
    optimizer = torchbp.SGD(net, lr=1e30, loss=torch.nn.MSELoss())
    with pytest.raises(FloatingPointError, match=r"in epoch 2: layer '2', a Linear, has weights of .*e\+18\d;"):
        optimizer.fit(x, y, validation=(x, y), **OPTIONS)
    assert all(p.isfinite().all() for p in net.parameters())  # of the best epoch


def test_the_mode_of_the_model_is_as_it_was():
    net = with_memory()
    net[1].eval()
    x, y = table(20)
    torchbp.SGD(net, lr=0.5).fit(x, y, validation=(x, y), **OPTIONS)
    assert [module.training for module in net] == [True, False, True, True]
    assert net[1].num_batches_tracked == 0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"rows": [[0], [1]]}, ValueError, "rows has 2 parts; give a list of the places of the rows of each of 3"),
        (
            {"rows": torch.ones(3, 49, dtype=torch.bool)},
            ValueError,
            r"rows has the shape \(3, 49\); give bools",
        ),
        ({"rows": [[0], [1], [50]]}, ValueError, r"rows\[2\] has the place 50; x has the rows 0 to 49"),
        ({"rows": [[0], [1, 4, 4], [0]]}, ValueError, r"rows\[1\] has the place 4 twice; give each once"),
        ({"rows": [[0], [1], []]}, ValueError, r"rows\[2\] is torch.float32 of the shape \(0,\)"),
        ({"rows": torch.eye(3, 50).bool() & (torch.arange(3) > 0)[:, None]}, ValueError, r"rows\[0\] is empty"),
        ({"rows": [[0], [1], [2]], "bagging": True}, ValueError, "leave one of them out"),
        ({"validation": "rest"}, ValueError, 'validation="rest" is what rows or bagging leave out'),
        ({"validation": "rest", "rows": torch.ones(3, 50).bool()}, ValueError, r"the rows\[0\] are all rows"),
        ({"validation": torch.ones(50)}, TypeError, r"must be \(x, y\), or \"rest\""),
        ({"validation": (torch.ones(5, 4), torch.ones(5, 2))}, ValueError, "x of validation is torch.float32"),
        ({"validation": (torch.ones(5, 4).double(), torch.ones(6, 2).double())}, ValueError, "y of validation 6"),
    ],
)
def test_rows_that_do_not_fit_are_named_and_nothing_is_trained(options, error, message):
    net, before = network(3), network(3)
    with pytest.raises(error, match=message):
        torchbp.SGD(net).fit(*table(), **options)
    close(net.state_dict(), before.state_dict(), 0)


@pytest.mark.parametrize("chunk", [None, 4])
def test_folds_and_validation_gather_no_more_than_they_must(chunk, monkeypatch):
    members, batch, features = 16, 64, 256
    one = 4 * members * batch * features  # bytes of a batch of all members
    x, y = torch.randn(8 * batch, features), torch.rand(8 * batch, 1)
    monkeypatch.setattr(epoch, "GATHERED", int(1.01 * one))
    monkeypatch.setattr(epoch, "ACTIVATIONS", one)
    optimizer = torchbp.SGD(torchbp.nn.MLP(features, 4, 1, members=members), chunk=chunk)
    rows = torch.rand(members, 8 * batch) < 0.8
    options = {"batch_size": batch, "max_epochs": 1, "validation": "rest", "min_grad_norm": 1e-9, "progress": False}
    peak = peak_bytes(lambda: None, lambda: optimizer.fit(x, y, rows=rows, **options))
    assert peak < (1.6 * one if chunk is None else 0.7 * one)


@pytest.mark.parametrize(("optimizer", "lr"), [(torchbp.SGD, 5.0), (torchbp.AdamW, 0.05)])
def test_with_validation_no_step_is_masked(optimizer, lr, monkeypatch):
    """A mask would cost as much as the step; a member that has stopped is put back to its best epoch in any case."""
    x, y = table()
    nets, masks = [network(seed=seed) for seed in range(6)], torch.rand(6, 50).argsort(1) < 35  # as many rows for each
    options = {"batch_size": 7, "max_epochs": 40, "patience": 1, "validation": "rest"}
    together, counts, masked = optimizer(torchbp.stack(nets), lr), [], []
    step = optimizer.backprop_step

    def watched(self, *rows):
        value = step(self, *rows)
        counts.extend(state["step"].dim() for state in self.state.values() if "step" in state)
        masked.append(self.active is not None)
        return value

    monkeypatch.setattr(optimizer, "backprop_step", watched)
    each = lambda self, x, y: torch.stack([watched(self, *rows) for rows in zip(x, y, strict=True)])  # noqa: E731
    monkeypatch.setattr(optimizer, "backprop_steps", each)
    history = together.fit(x, y, rows=masks, generator=generator(), **options)
    assert len(set(together.minimum.epochs.tolist())) > 2
    assert not any(masked)
    assert not any(counts)
    monkeypatch.undo()
    for e, net in enumerate(nets):
        alone = optimizer(net, lr)
        alone.fit(x, y, rows=masks[e], generator=generator(), **options)
        close(torchbp.unstack(together.network.modules[0][1])[e].state_dict(), net.state_dict(), 1e-9)
        assert together.minimum.lowest[e].item() == pytest.approx(alone.minimum.lowest.item())
        for p, q in zip(together.param_groups[0]["params"], alone.param_groups[0]["params"], strict=True):
            for name, value in alone.state[q].items():
                close(together.state[p][name][e], value, 1e-9)
    assert len(history.validation) == together.minimum.epochs.max()
