"""`torchbp.Adam` and `torchbp.AdamW` beside torch's with autograd: the same steps, states, members and refusals."""

import copy
import itertools
import pickle

import pytest
import torch
from torch.func import functionalize
from torch.fx.experimental.proxy_tensor import make_fx

import torchbp
from tests.networks import assert_same, mlp, rows
from torchbp.benchmarks.helpers.memory_use import peak_bytes
from torchbp.engine.optimizers.update_rule import rules_at, unique_rules, update_rules
from torchbp.engine.step import step

KINDS = {"Adam": (torchbp.Adam, torch.optim.Adam), "AdamW": (torchbp.AdamW, torch.optim.AdamW)}
kinds = pytest.mark.parametrize("kind", KINDS)
OPTIONS = [
    {},
    {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1},
    {"lr": 0.02, "betas": (0.0, 0.5), "eps": 0.1, "weight_decay": 0.0},
    {"lr": torch.tensor(0.02, dtype=torch.double), "weight_decay": 0.3},
]
EACH = {
    "lr": [0.01, 0.03, 0.0, 0.1],
    "betas": ([0.9, 0.5, 0.0, 0.8], [0.999, 0.9, 0.5, 0.99]),
    "eps": [1e-8, 1e-3, 0.1, 1e-6],
    "weight_decay": [0.0, 0.1, 0.01, 0.3],
}


def network(members=None, dtype=torch.double):
    return mlp((3, 4, 2), members, dtype=dtype)


def torchs_step(net, optimizer, x, y):
    optimizer.zero_grad()
    loss = torch.nn.functional.binary_cross_entropy_with_logits(net(x), y)
    loss.backward()
    optimizer.step()
    return loss.detach()


def of_member(options, number):
    def pick(value):
        return tuple(map(pick, value)) if isinstance(value, tuple) else value[number]

    return {name: pick(value) for name, value in options.items()}


def assert_same_state(optimizer, other, tolerance=1e-12):
    ours, theirs = (o.state_dict() for o in (optimizer, other))
    assert ours["state"].keys() == theirs["state"].keys()
    torch.testing.assert_close(ours["state"], theirs["state"], rtol=tolerance, atol=tolerance)


@kinds
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_many_steps_are_those_of_torch(kind, options):
    ours, theirs = network(), network()
    for net in (ours, theirs):
        net[2].bias.requires_grad_(False)
    own, torchs = KINDS[kind]
    engine, descent = own(ours, **copy.deepcopy(options)), torchs(theirs.parameters(), **copy.deepcopy(options))
    schedules = [torch.optim.lr_scheduler.StepLR(optimizer, 60, gamma=0.5) for optimizer in (engine, descent)]
    losses = []
    for _ in range(200):
        x, y = rows(8)
        losses.append(torch.stack([engine.backprop_step(x, y), torchs_step(theirs, descent, x, y)]))
        for schedule in schedules:
            schedule.step()
    torch.testing.assert_close(*torch.stack(losses).unbind(1), rtol=1e-11, atol=1e-12)
    assert_same(ours, theirs)
    assert_same_state(engine, descent)
    assert isinstance(engine, torchs)
    assert all(p.grad is None for p in ours.parameters())


def test_adam_with_decoupled_decay_is_adamw():
    ours, theirs = network(), network()
    optimizers = torchbp.Adam(ours, 0.1, weight_decay=0.2, decoupled_weight_decay=True), torchbp.AdamW(theirs, 0.1)
    optimizers[1].param_groups[0]["weight_decay"] = 0.2
    for _ in range(3):
        x, y = rows(8)
        for optimizer in optimizers:
            optimizer.backprop_step(x, y)
    assert_same(ours, theirs, 0)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
@kinds
def test_the_formulas_agree_with_torchs_kernel(kind, dtype, tolerance):
    """A learning rate that is a tensor takes D from the kernel, a number all; an ε that is a tensor goes by the
    formulas."""
    nets = [network(dtype=dtype) for _ in range(3)]
    options = {"betas": (0.8, 0.95), "weight_decay": 0.1}
    optimizers = [
        KINDS[kind][0](net, lr=lr, **options)
        for net, lr in zip(nets, (0.02, torch.tensor(0.02), torch.tensor(0.02)), strict=True)
    ]
    optimizers[2].param_groups[0]["eps"] = torch.tensor(1e-8, dtype=torch.double)
    for optimizer in optimizers:
        optimizer.param_groups[0]["lr"] = optimizer.param_groups[0]["lr"] * 1  # float32 and float64 hold another 0.02
    optimizers[0].param_groups[0]["lr"] = torch.tensor(0.02).item()
    for _ in range(20):
        x, y = rows(8, dtype=dtype)
        for optimizer in optimizers:
            optimizer.backprop_step(x, y)
    of = [
        next(iter(o._rule(p, o.param_groups[0], {}) for p in net.parameters()))
        for o, net in zip(optimizers, nets, strict=True)
    ]
    assert [rule.in_one_kernel for rule in of] == [True, True, False]
    for net, optimizer in zip(nets[:2], optimizers[:2], strict=True):
        assert_same(net, nets[2], tolerance)
        assert_same_state(optimizer, optimizers[2], tolerance)


@kinds
@pytest.mark.parametrize("chunk", [None, 3])
@pytest.mark.parametrize("options", [OPTIONS[1], EACH], ids=["the same", "of each"])
def test_members_are_each_the_network_alone(kind, options, chunk):
    ensemble, own = network(4), KINDS[kind][0]
    nets = torchbp.unstack(ensemble)
    together = own(ensemble, **options, chunk=chunk)
    alone = [
        own(net, **(of_member(options, number) if options is EACH else options)) for number, net in enumerate(nets)
    ]
    for _ in range(60):
        x, y = rows(4, 6)
        losses = together.backprop_step(x, y)
        expected = [optimizer.backprop_step(*member) for optimizer, *member in zip(alone, x, y, strict=True)]
        torch.testing.assert_close(losses, torch.stack(expected), rtol=1e-11, atol=1e-12)
    assert_same(ensemble, torchbp.stack(nets))


@kinds
@pytest.mark.parametrize("options", [{"lr": 0.02, "weight_decay": 0.1}, {"lr": 0.02, "eps": 0.0}, EACH], ids=str)
def test_who_is_not_active_keeps_weights_moments_and_count(kind, options):
    ensemble, own = network(4), KINDS[kind][0]
    nets = torchbp.unstack(ensemble)
    together = own(ensemble, **options)
    alone = [
        own(net, **(of_member(options, number) if options is EACH else options)) for number, net in enumerate(nets)
    ]
    for number in range(9):
        moves = [True, number < 4, number > 2, number % 2 == 0]
        together.active = torch.tensor(moves) if number != 5 else None
        x, y = rows(6)
        together.backprop_step(x, y)
        for optimizer, move in zip(alone, moves, strict=True):
            if move or number == 5:
                optimizer.backprop_step(x, y)
    assert_same(ensemble, torchbp.stack(nets))
    for p, *own_p in zip(ensemble.parameters(), *(net.parameters() for net in nets), strict=True):
        states = [optimizer.state[q] for optimizer, q in zip(alone, own_p, strict=True)]
        for name, value in together.state[p].items():
            torch.testing.assert_close(value, torch.stack([state[name] for state in states]), rtol=1e-11, atol=1e-13)


@kinds
def test_its_own_step_is_torchs(kind):
    own, torchs = KINDS[kind]
    for members, options in ((None, OPTIONS[1]), (4, OPTIONS[1]), (4, EACH)):
        stepped, fused, theirs = (network(members) for _ in range(3))
        optimizers = own(stepped, **options), own(fused, **options)
        descent = torchs(theirs.parameters(), **(options if options is not EACH else {}))
        for _ in range(5):
            x, y = rows(8)
            optimizers[1].backprop_step(x, y)
            for optimizer, net in ((optimizers[0], stepped), (descent, theirs)):
                optimizer.zero_grad()
                torchbp.backprop(net, x, y)
                optimizer.step()
        assert_same(stepped, fused)
        if options is not EACH:
            assert_same(stepped, theirs)
    optimizers[0].active = torch.tensor([True, False, True, True])
    optimizers[0].step()
    optimizers[0].active = None
    optimizers[0].step()  # the members have made different numbers of steps
    assert optimizers[0].state[stepped[0].weight]["step"].tolist() == [7, 6, 7, 7]


@kinds
@pytest.mark.parametrize("members", [None, 4])
def test_state_goes_to_torch_and_back(kind, members):
    own, torchs = KINDS[kind]
    ours, options = network(members), OPTIONS[1]
    engine = own(ours, **options)
    batches = [rows(8) for _ in range(6)]
    for x, y in batches[:2]:
        engine.backprop_step(x, y)
    theirs = copy.deepcopy(ours)
    descent = torchs(theirs.parameters(), lr=9.0)
    descent.load_state_dict(copy.deepcopy(engine.state_dict()))
    for x, y in batches[2:4]:
        engine.backprop_step(x, y)
        descent.zero_grad()
        torchbp.backprop(theirs, x, y)
        descent.step()
    again = own(theirs, lr=7.0)
    again.load_state_dict(descent.state_dict())
    for x, y in batches[4:]:
        engine.backprop_step(x, y)
        again.backprop_step(x, y)
    assert_same(ours, theirs)
    assert_same_state(engine, again)


@kinds
def test_groups_have_numbers_of_their_own(kind):
    own, torchs = KINDS[kind]
    model = network(2)
    alone = torchbp.unstack(model)
    optimizer = own(model, lr=[0.1, 0.2])
    last = [optimizer.param_groups[0]["params"].pop() for _ in range(2)][::-1]
    optimizer.add_param_group({"params": last[:1], "lr": 0.01, "betas": ([0.5, 0.6], 0.9)})
    optimizer.add_param_group({"params": last[1:], "lr": [0.03, 0.04], "eps": [0.1, 0.2]})
    batches = [rows(5) for _ in range(3)]
    for x, y in batches:
        optimizer.backprop_step(x, y)
    for number, net in enumerate(alone):
        groups = [{"params": net[0].parameters()}]
        groups.append({"params": [net[2].weight], "lr": 0.01, "betas": ([0.5, 0.6][number], 0.9)})
        groups.append({"params": [net[2].bias], "lr": [0.03, 0.04][number], "eps": [0.1, 0.2][number]})
        descent = torchs(groups, lr=[0.1, 0.2][number])
        for x, y in batches:
            torchs_step(net, descent, x, y)
    assert_same(model, torchbp.stack(alone))


def test_copies_and_pickles_go_on():
    x, y = rows(6)
    for make in (copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))):
        model = network(4)
        optimizer = torchbp.AdamW(model, **EACH)
        optimizer.active = torch.tensor([True, True, False, True])
        optimizer.backprop_step(x, y)
        other_model, other = make((model, optimizer))
        for one in (optimizer, other):
            one.backprop_step(x, y)
        assert_same(model, other_model, 0)
        assert_same_state(optimizer, other, 0)
    loaded = torchbp.AdamW(other_model, lr=[9.0] * 4)
    loaded.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for one in (optimizer, loaded):
        one.active = None
        one.backprop_step(x, y)
    assert_same(model, other_model, 0)
    with pytest.raises(ValueError, match="of the state is of 4 members, the model of 2"):
        torchbp.AdamW(network(2)).load_state_dict(optimizer.state_dict())


@kinds
def test_fit_stops_each_member_where_it_would_stop_alone(kind):
    x, y = rows(20)
    ensemble, own = network(4), KINDS[kind][0]
    nets = torchbp.unstack(ensemble)
    settings = {"batch_size": 8, "max_epochs": 12, "patience": 2, "min_delta": 0.01, "shuffle": False}
    together = own(ensemble, **EACH)
    history = together.fit(x, y, **settings)
    epochs = together.minimum.epochs.tolist()
    assert len(set(epochs)) > 1
    for number, net in enumerate(nets):
        optimizer = own(net, **of_member(EACH, number))
        expected = optimizer.fit(x, y, **settings)
        torch.testing.assert_close(history[: len(expected), number], expected, rtol=1e-10, atol=0)
        assert optimizer.minimum.epochs == epochs[number]
    assert_same(ensemble, torchbp.stack(nets), 1e-11)
    counts = together.state[ensemble[0].weight]["step"]
    assert counts.tolist() == [3 * count for count in epochs]


@kinds
def test_fit_puts_back_weights_and_state_of_the_best_epoch_of_each(kind):
    """With rows that differ in number, so that the members make different numbers of steps."""
    x, y = rows(24)
    own, settings = KINDS[kind][0], {"batch_size": 4, "max_epochs": 15, "patience": 3, "shuffle": False}
    chosen = torch.arange(24) < torch.tensor([[12], [16], [9], [20]])
    ensemble = network(4)
    nets = torchbp.unstack(ensemble)
    together = own(ensemble, **EACH)
    together.fit(x, y, rows=chosen, validation=(held_out := rows(10)), **settings)
    counts = together.state[ensemble[0].weight]["step"]
    assert len(set(counts.tolist())) > 1
    for number, net in enumerate(nets):
        optimizer = own(net, **of_member(EACH, number))
        optimizer.fit(x, y, rows=chosen[number], validation=held_out, **settings)
        assert optimizer.state[net[0].weight]["step"] == counts[number]
    assert_same(ensemble, torchbp.stack(nets), 1e-11)


def test_the_gradient_that_vanishes_has_the_decay_of_adam_and_not_that_of_adamw():
    model = network()
    x, y = rows(5)
    torch.nn.functional.binary_cross_entropy_with_logits(model(x), y).backward()
    with torch.no_grad():
        plain = torch.stack([p.grad.square().sum() for p in model.parameters()]).sum().sqrt().item()
        decayed = torch.stack([(p.grad + 2 * p).square().sum() for p in model.parameters()]).sum().sqrt().item()
    for kind, norm in (("Adam", decayed), ("AdamW", plain)):
        for factor, why in ((0.99, 0), (1.01, 2)):
            optimizer = KINDS[kind][0](model, lr=0.0, weight_decay=2.0)
            optimizer.fit(x, y, max_epochs=1, min_grad_norm=norm * factor)
            assert optimizer.minimum.why == why


@kinds
@pytest.mark.parametrize("option", ["amsgrad", "maximize", "differentiable"])
def test_options_of_torchs_that_it_has_not_are_named(kind, option):
    own, torchs = KINDS[kind]
    model = network()
    if option == "amsgrad":
        with pytest.raises(ValueError, match=rf"amsgrad=True: .*leave it out, or use torch\.optim\.{kind}$"):
            own(model, amsgrad=True)
    optimizer = own(model)
    optimizer.load_state_dict(torchs(network().parameters(), **{option: True}).state_dict())
    with pytest.raises(ValueError, match=f"{option}=True"):
        optimizer.backprop_step(*rows(5))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": [0.1, 0.2, 0.3, -0.4]}, "lr=-0.4"),
        ({"eps": [0.1]}, "eps has 1 numbers; the model is of 4 members"),
        ({"betas": ([0.9, 0.9, 0.9, 1.0], 0.9)}, "Invalid beta parameter at index 0: 1.0"),
        ({"betas": (0.9, [0.9, 0.9, 0.9, -0.5])}, r"betas\[1\]=-0.5"),
        ({"betas": [0.9, 0.9, 0.9, 0.9]}, r"betas=\[0.9, 0.9, 0.9, 0.9\] must be a pair"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        torchbp.AdamW(network(4), **options)


def test_a_decay_that_a_factor_would_round_away_is_there_in_float32():
    """αλ is 3e-8: 1 − αλ is 1 in float32, and so is 1 − αλ · 1. It is compared with the same steps in float64."""
    torch.manual_seed(0)
    nets, steps, size = [], 1000, 2000
    for dtype in (torch.float32, torch.float64):
        model = torch.nn.Sequential(torch.nn.Linear(size, 1, bias=False, dtype=dtype))
        torch.nn.init.ones_(model[0].weight)
        nets.append(model)
    loss = torch.nn.MSELoss(reduction="sum")
    optimizers = [torchbp.AdamW(model, 3e-4, (0.5, 0.9), weight_decay=1e-4, loss=loss) for model in nets]
    with torch.no_grad():
        for x in torch.randn(steps, 1, size):  # the target is half off the output: the gradient is x
            for optimizer, model in zip(optimizers, nets, strict=True):
                row = x.to(model[0].weight)
                optimizer.backprop_step(row, model(row) - 0.5)
    error = (nets[0][0].weight.double() - nets[1][0].weight).mean().abs()
    assert error < 0.1 * steps * 3e-8


@kinds
@pytest.mark.parametrize("options", [OPTIONS[1], EACH], ids=["the same", "of each"])
@pytest.mark.parametrize("active", [None, [True, False, True, True]])
def test_a_step_can_be_traced_to_operations_of_tensors(kind, options, active):
    """Which a program is generated from: the numbers and the state are its inputs, and it reads no value of them."""
    nets = [network(4) for _ in range(2)]
    optimizers = [KINDS[kind][0](net, **options) for net in nets]
    for optimizer in optimizers:
        optimizer.active = active if active is None else torch.tensor(active)
        optimizer.backprop_step(*torch.ones(9, 5).double().split([3, 2], -1))
    optimizer, (x, y) = optimizers[0], rows(5)
    unique, indices = unique_rules(update_rules(optimizer, optimizer.network.parameters())[0])
    unique = [rule.with_tensors(x) for rule in unique]
    names = [[*rule.numbers(), *rule.state] for rule in unique]

    def one_step(parameters, inputs, x, y):
        rules = [
            rule._replace(**dict(zip(*pair, strict=True))) for rule, *pair in zip(unique, names, inputs, strict=True)
        ]
        return step(optimizer.network, optimizer.loss, parameters, rules_at(rules, indices), x, y)

    parameters = [tuple(p.detach() for p in of_layer) for of_layer in optimizer.network.parameters()]
    inputs = [[getattr(rule, name) for name in of_rule] for rule, of_rule in zip(unique, names, strict=True)]
    program = make_fx(functionalize(one_step))(*copy.deepcopy((parameters, inputs)), x, y)  # it makes a step
    for x, y in (rows(5), rows(5)):
        torch.testing.assert_close(program(parameters, inputs, x, y), optimizers[1].backprop_step(x, y))
    assert_same(*nets)
    assert_same_state(*optimizers)


def test_a_model_that_moves_to_another_dtype_goes_on():
    for options in (OPTIONS[1], EACH):
        nets = [network(4), network(4)]
        optimizers = [torchbp.AdamW(net, **options) for net in nets]
        x, y = rows(5)
        for optimizer in optimizers:
            optimizer.backprop_step(x, y)
        nets[0].float()
        for _ in range(3):
            optimizers[0].backprop_step(x.float(), y.float())
            optimizers[1].backprop_step(x, y)
        assert_same(nets[0].double(), nets[1], 1e-5)


def test_a_gradient_is_freed_before_the_next_one_is_made():
    sizes = (256, 192, 224, 40)
    optimizer = torchbp.AdamW(torchbp.nn.MLP(*sizes))
    x, y = torch.randn(4, sizes[0]), torch.rand(4, sizes[-1])
    optimizer.backprop_step(x, y)
    largest = 4 * max(a * b for a, b in itertools.pairwise(sizes))
    assert largest <= peak_bytes(lambda: None, lambda: optimizer.backprop_step(x, y)) < 1.2 * largest


@pytest.mark.parametrize("lr", [1e-3, 3e-4, 1e-4, 1e-5])
def test_a_small_decay_is_not_rounded_away(lr):
    """The factor 1 − αλ of torch's kernel is rounded to float32: of αλ = 3e-6, off by up to 2 %, in every step."""
    exact = torchbp.nn.MLP(8, 16, 1, dtype=torch.double)
    model, without = copy.deepcopy(exact).float(), copy.deepcopy(exact)
    x, y = torch.randn(64, 8, dtype=torch.double), torch.rand(64, 1, dtype=torch.double).round()
    for net, decay in ((model, 0.01), (exact, 0.01), (without, 0.0)):
        optimizer, dtype = torchbp.AdamW(net, lr=lr, weight_decay=decay), next(net.parameters()).dtype
        for _ in range(300):
            optimizer.backprop_step(x.to(dtype), y.to(dtype))
    of_decay = (exact[0].weight - without[0].weight).abs().mean()
    assert (model[0].weight - exact[0].weight).abs().mean() < 0.02 * of_decay
