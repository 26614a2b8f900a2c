"""What can be done to an optimizer, a model or a run, and must not go wrong silently."""

import copy
import pickle
from functools import partial

import pytest
import torch

import torchbp
from tests.networks import assert_same, mlp, rows
from torchbp.benchmarks.helpers.memory_use import peak_bytes
from torchbp.engine.optimizers.update_rule import update_rules

network = partial(mlp, (3, 4, 2))


def torchs_step(model, optimizer, x, y):
    optimizer.zero_grad()
    torch.nn.functional.binary_cross_entropy_with_logits(model(x), y).backward()
    optimizer.step()


@pytest.mark.parametrize(("lr", "decay"), [(0.1, 1e-2), (3e-4, 1e-4), (1e-3, 1e-5)])
@pytest.mark.parametrize("options", [{}, {"momentum": 0.5, "nesterov": True}], ids=["plain", "nesterov"])
def test_weight_decay_is_not_lost_in_float32(lr, decay, options):
    """αλ is 1e-8 in the last case, and 1 − αλ would be 1."""
    torch.manual_seed(0)
    steps, size = 1000, 2000
    ours, theirs, exact = (torch.nn.Sequential(torch.nn.Linear(size, 1, bias=False)) for _ in range(3))
    exact.double()
    for model in (ours, theirs, exact):
        torch.nn.init.ones_(model[0].weight)
    signs = torch.randint(2, (steps // 2, 1, size)) * 2.0 - 1
    signs = torch.cat([signs, -signs], 1).flatten(
        0, 1
    )  # each step is taken back by the next: the decay is what is left
    loss = torch.nn.MSELoss(reduction="sum")
    optimizers = [torchbp.SGD(model, lr, weight_decay=decay, loss=loss, **options) for model in (ours, exact)]
    torchs = torch.optim.SGD(theirs.parameters(), lr, weight_decay=decay, **options)
    with torch.no_grad():
        for x in signs.split(1):  # the target is half off the output: the gradient is x, of either sign
            for optimizer, model in zip(optimizers, (ours, exact), strict=True):
                row = x.to(model[0].weight)
                optimizer.backprop_step(row, model(row) - 0.5)
            theirs[0].weight.grad = x.clone()
            torchs.step()
    change = {name: (model[0].weight.double() - 1).mean() for name, model in (("ours", ours), ("exact", exact))}
    torchs_error = ((theirs[0].weight.double() - 1).mean() - change["exact"]).abs()
    assert (change["ours"] - change["exact"]).abs() < 2 * torchs_error + 0.05 * change["exact"].abs()


def test_numbers_of_members_are_more_precise_than_bfloat16():
    model = network(2, dtype=torch.bfloat16)
    optimizer = torchbp.SGD(model, lr=[0.1, 0.1], momentum=[0.999, 0.5], weight_decay=[0.01, 0.0])
    x, y = rows(8, dtype=torch.bfloat16)
    for _ in range(3):
        optimizer.backprop_step(x, y)
    (rule, _), *_ = update_rules(optimizer, optimizer.network.parameters())[0]
    torch.testing.assert_close(rule.momentum, torch.tensor([0.999, 0.5]))
    torch.testing.assert_close(rule.decay_step, torch.tensor([-0.001, 0.0]))
    assert all(p.dtype is torch.bfloat16 and p.isfinite().all() for p in model.parameters())


def test_a_tied_layer_is_refused():
    layer = torch.nn.Linear(3, 3)
    model = torch.nn.Sequential(layer, torch.nn.Tanh(), layer)
    with pytest.raises(TypeError, match=r"two layers share a parameter.*torchbp\.backprop"):
        torchbp.SGD(model)
    torchbp.backprop(model, torch.randn(5, 3), torch.rand(5, 3))


def test_a_first_step_that_fails_begins_no_velocity():
    model, other = network(), network()
    options = {"lr": 0.5, "momentum": 0.9, "dampening": 0.5}
    failed, fresh = torchbp.SGD(model, **options), torchbp.SGD(other, **options)
    x, y = rows(5)
    with pytest.raises(ValueError, match="target has the shape"):
        failed.backprop_step(x, y[:, 0])
    assert not failed.state
    for optimizer in (failed, fresh):
        optimizer.backprop_step(x, y)
        optimizer.backprop_step(x, y)
    assert_same(model, other, 0)


@pytest.mark.parametrize("option", ["maximize", "differentiable"])
def test_options_of_torchs_that_it_has_not_are_named(option):
    model = network()
    optimizer = torchbp.SGD(model)
    optimizer.load_state_dict(torch.optim.SGD(network().parameters(), 0.5, **{option: True}).state_dict())
    with pytest.raises(ValueError, match=f"{option}=True"):
        optimizer.backprop_step(*rows(5))


@pytest.mark.parametrize("members", [3, 7])
def test_rows_of_another_number_of_members_are_refused_before_any_step(members):
    model = network(4)
    before = copy.deepcopy(model)
    x, y = rows(members, 5)
    optimizer = torchbp.SGD(model, chunk=2)
    for call in (optimizer.backprop_step, optimizer.fit):
        with pytest.raises(ValueError, match=rf"x has the shape \({members}, 5, 3\)"):
            call(x, y)
    assert_same(model, before, 0)


@pytest.mark.parametrize("register", ["register_hook", "register_post_accumulate_grad_hook"])
def test_a_hook_of_a_parameter_is_named(register):
    model = network()
    getattr(model[2].weight, register)(lambda *_: None)
    for call in (lambda: torchbp.SGD(model), lambda: torchbp.backprop(model, *rows(5))):
        with pytest.raises(TypeError, match="layer '2', a Linear, has a parameter with a hook"):
            call()


def test_hooks_of_a_step():
    torch.optim.SGD(network().parameters())  # so that torch has put its hooks around its own step too
    optimizer = torchbp.SGD(network())
    called = []
    optimizer.register_step_post_hook(lambda *_: called.append(1))
    optimizer.step()
    assert called == [1]
    with pytest.raises(TypeError, match="hook of its step"):
        optimizer.backprop_step(*rows(5))


def test_active_is_kept_by_copies_and_by_fit():
    model = network(3)
    optimizer = torchbp.SGD(model, lr=0.5, momentum=0.5)
    optimizer.active = torch.tensor([True, False, True])
    assert copy.deepcopy(optimizer).active.tolist() == [True, False, True]
    before = copy.deepcopy(model)
    x, y = rows(9)
    optimizer.fit(x, y, max_epochs=3, batch_size=4)
    assert optimizer.active.tolist() == [True, False, True]
    for number, (old, new) in enumerate(zip(torchbp.unstack(before), torchbp.unstack(model), strict=True)):
        assert torch.equal(old[0].weight, new[0].weight) == (number == 1)
    model[0].weight.grad = torch.ones_like(model[0].weight)
    optimizer.step()
    assert torch.equal(before[0].weight[1], model[0].weight[1])
    for wrong in (torch.tensor([True]), torch.ones(3)):
        with pytest.raises(ValueError, match="active is of the shape"):
            optimizer.active = wrong


def test_the_velocity_of_who_has_stopped_is_that_of_the_network_alone():
    model = network(3)
    alone = torchbp.unstack(model)
    options = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}
    optimizer = torchbp.SGD(model, **options)
    singles = [torchbp.SGD(net, **options) for net in alone]
    x, y = rows(8)
    for step in range(6):
        optimizer.active = torch.tensor([True, step < 3, step < 4])
        optimizer.backprop_step(x, y)
        for single in singles[: 1 + (step < 3)] + singles[2:] * (step < 4):
            single.backprop_step(x, y)
    for p, *own in zip(model.parameters(), *(net.parameters() for net in alone), strict=True):
        velocity = optimizer.state[p]["momentum_buffer"]
        expected = [single.state[q]["momentum_buffer"] for single, q in zip(singles, own, strict=True)]
        torch.testing.assert_close(velocity, torch.stack(expected), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("batch_size", [1, 4, 5])
def test_the_history_of_a_loss_that_sums_is_the_sum_over_the_rows(batch_size):
    loss = torch.nn.BCEWithLogitsLoss(reduction="sum")
    model = network()
    x, y = rows(5)
    history = torchbp.SGD(model, lr=0.0, loss=loss).fit(x, y, batch_size=batch_size, max_epochs=1, min_grad_norm=1e-9)
    torch.testing.assert_close(history[0], loss(model(x), y).detach(), rtol=1e-12, atol=0)


def test_the_norm_of_a_loss_that_sums():
    model, loss = network(), torch.nn.BCEWithLogitsLoss(reduction="sum")
    x, y = rows(5)
    norm = torch.stack([g.square().sum() for g in torch.autograd.grad(loss(model(x), y), model.parameters())])
    for factor, why in ((0.99, 0), (1.01, 2)):
        optimizer = torchbp.SGD(model, lr=0.0, loss=loss)
        optimizer.fit(x, y, batch_size=2, max_epochs=1, min_grad_norm=float(norm.sum().sqrt()) * factor)
        assert optimizer.minimum.why == why


def test_a_parameter_that_the_optimizer_does_not_hold_is_left_alone():
    model = network()
    optimizer = torchbp.SGD(model, lr=0.5)
    optimizer.param_groups[0]["params"] = list(model[2].parameters())
    before = copy.deepcopy(model)
    optimizer.backprop_step(*rows(5))
    assert torch.equal(model[0].weight, before[0].weight)
    assert not torch.equal(model[2].weight, before[2].weight)


def test_networks_whose_layers_were_exchanged_are_not_stacked():
    nets = [network() for _ in range(2)]
    nets[1][1] = torch.nn.ReLU()
    with pytest.raises(ValueError, match=r"number 1 has other layers.*ReLU"):
        torchbp.stack(nets)
    ensemble = network(2)
    ensemble.append(torch.nn.Sigmoid())
    with pytest.raises(ValueError, match="unstack has other layers"):
        torchbp.unstack(ensemble)


def test_a_group_that_is_added_has_numbers_of_its_own():
    model = network(2)
    alone = torchbp.unstack(model)
    optimizer = torchbp.SGD(model, lr=[0.1, 0.2])
    last = [optimizer.param_groups[0]["params"].pop() for _ in range(2)][::-1]
    optimizer.add_param_group({"params": last[:1], "lr": 0.01})
    optimizer.add_param_group({"params": last[1:], "lr": [0.03, 0.04]})
    x, y = rows(5)
    optimizer.backprop_step(x, y)
    for number, net in enumerate(alone):
        rates = [{"params": net[0].parameters()}, {"params": [net[2].weight], "lr": 0.01}]
        rates.append({"params": [net[2].bias], "lr": [0.03, 0.04][number]})
        torchs_step(net, torch.optim.SGD(rates, lr=[0.1, 0.2][number]), x, y)
        assert_same(torchbp.unstack(model)[number], net)


def test_a_state_of_another_number_of_members_is_refused():
    state = torchbp.SGD(network(1), lr=[0.1]).state_dict()
    with pytest.raises(ValueError, match="of 1 members, the model of 3"):
        torchbp.SGD(network(3)).load_state_dict(state)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_learning_rate_that_is_a_tensor(dtype):
    ours, theirs = network(dtype=torch.float32), network(dtype=torch.float32)
    rate = torch.tensor(0.5, dtype=dtype)
    x, y = rows(5, dtype=torch.float32)
    torchbp.SGD(ours, lr=rate, weight_decay=0.1).backprop_step(x, y)
    torchs_step(theirs, torch.optim.SGD(theirs.parameters(), lr=0.5, weight_decay=0.1), x, y)
    assert_same(ours, theirs, 1e-6)


@pytest.mark.parametrize("options", [{"lr": 0.5, "momentum": 0.9}, {"lr": [0.5, 0.4], "weight_decay": [0.1, 0.0]}])
def test_a_model_that_moves_to_another_dtype_goes_on(options):
    model = network(2)
    optimizer = torchbp.SGD(model, **options)
    optimizer.backprop_step(*rows(5))
    model.float()
    optimizer.backprop_step(*rows(5, dtype=torch.float32))
    optimizer.fit(*rows(5, dtype=torch.float32), max_epochs=1, min_grad_norm=0.1)


def test_fit_with_everything_frozen_stops_by_the_gradient():
    model = network().requires_grad_(False)
    optimizer = torchbp.SGD(model)
    assert len(optimizer.fit(*rows(5), min_grad_norm=0.1)) == 1


def test_a_chunk_bounds_the_memory_of_fit():
    model = torchbp.nn.MLP(8, 32, 32, 1, members=64)
    x, y = torch.randn(80, 8), torch.rand(80, 1).round()
    peaks = []
    for chunk in (None, 4):
        optimizer = torchbp.SGD(model, chunk=chunk)
        options = {"batch_size": 32, "max_epochs": 1, "min_grad_norm": 0.1}
        peaks.append(peak_bytes(lambda: None, lambda optimizer=optimizer, o=options: optimizer.fit(x, y, **o)))
    assert peaks[1] < peaks[0] / 8


def test_as_many_batches_of_x_as_of_y():
    model = network(2)
    optimizer = torchbp.SGD(model)
    before = copy.deepcopy(model)
    x, y = rows(4, 5)
    with pytest.raises(ValueError, match="x has 4 batches and y 3"):
        optimizer.backprop_steps(x, y[:3])
    assert_same(model, before, 0)
    assert optimizer.backprop_steps(x[:0], y[:0]).shape == (0, 2)


@pytest.mark.parametrize("options", [{"lr": float("nan")}, {"momentum": float("inf")}, {"weight_decay": -1.0}])
def test_a_number_that_is_none_is_named(options):
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=f"{name}={value}"):
        torchbp.SGD(network(), **options)


def test_rows_that_are_no_tensor_or_have_other_features_are_named():
    x, y = rows(5)
    with pytest.raises(TypeError, match="x is an ndarray"):
        torchbp.SGD(network()).fit(x.numpy(), y)
    with pytest.raises(ValueError, match="x has 2 features, and the model takes 3"):
        torchbp.SGD(network()).fit(x[:, :2], y)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda x: x.numpy(), TypeError, "x is an ndarray; give a tensor"),
        (lambda x: x.float(), RuntimeError, r"x is torch.float32, and the model torch.float64; give x.to\("),
        (lambda x: x.long(), RuntimeError, r"x is torch.int64, and the model torch.float64; give x.to\("),
        (lambda x: x.to("meta"), RuntimeError, "x is on meta, and the model on cpu"),
        (lambda x: x[:, :2], RuntimeError, r"x has the shape \(5, 2\), and the model takes 3 features"),
    ],
    ids=["array", "float32", "integers", "device", "features"],
)
def test_a_step_names_rows_that_do_not_fit(change, error, message):
    x, y = rows(5)
    for step in (torchbp.SGD(network()).backprop_step, partial(torchbp.backprop, network())):
        with pytest.raises(error, match=message):
            step(change(x), y)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (network().parameters(), "model is a generator; give the model itself, and not its parameters"),
        ([{"params": list(network().parameters())}], "model is a list; give the model itself"),
        (torch.nn.Sequential(torch.nn.LazyLinear(3)), "a LazyLinear, has no parameters yet; call the model on some"),
        (torch.nn.Sequential(torch.nn.LSTM(3, 2)), "an LSTM, is not supported"),
    ],
    ids=["parameters", "groups", "lazy", "another layer"],
)
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_what_is_no_model_of_the_engine(model, message):
    with pytest.raises(TypeError, match=message):
        torchbp.SGD(model, lr=0.1)


def test_a_pickle_goes_on():
    model = network(2)
    optimizer = torchbp.SGD(model, lr=[0.1, 0.2], momentum=0.9)
    x, y = rows(5)
    optimizer.backprop_step(x, y)
    other_model, other = pickle.loads(pickle.dumps((model, optimizer)))
    optimizer.backprop_step(x, y)
    other.backprop_step(x, y)
    assert_same(model, other_model, 0)


@pytest.mark.parametrize("members", [None, 3])
def test_one_vector_of_ones_is_kept_for_all_sizes_of_a_batch(members):
    model = network(members)
    optimizer = torchbp.SGD(model)
    for batch in (8, 5, 1, 30, 0, 7):
        optimizer.backprop_step(*rows(batch))
    model.float()
    for batch in (9, 2, 9):
        optimizer.backprop_step(*rows(batch, dtype=torch.float32))
    kept = [t for t in vars(optimizer.network).values() if isinstance(t, torch.Tensor)]
    if members:  # db of an ensemble is a sum
        kept += [optimizer.network.ones(torch.zeros(members, 9, 2))]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept}
    assert list(storages.values()) == [4 * 9]
