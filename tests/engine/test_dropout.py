"""Dropout in the engine: its random numbers, and members with a rate each, beside autograd and networks alone."""

import copy
import math

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

import torchbp
from tests.networks import with_masks_by_key
from torchbp.engine import seed_dropout
from torchbp.engine.optimizers.update_rule import update_rules
from torchbp.engine.step import step
from torchbp.ops._counter_random import M1, M2, advance, bits, drawn_keys, kept, key_of

RATES = [0.1, 0.0, 0.5, 0.9]
OPTIONS = {"batch_size": 8, "max_epochs": 6, "progress": False}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def table(rows=50):
    torch.manual_seed(1)
    x = torch.randn(rows, 4, dtype=torch.double)
    return x, (x[:, :2] + 0.5 * torch.randn(rows, 2, dtype=torch.double) > 0).double()


def single(p=0.3, seed=None):
    layers = [torch.nn.Linear(4, 6), torch.nn.Dropout(p), torch.nn.Tanh(), torchbp.nn.Linear(6, 2)]
    net = torch.nn.Sequential(*layers[:3], torch.nn.Dropout(p), layers[3]).double()
    if seed is not None:
        seed_dropout(net, seed)
    return net


def together(nets, rates=RATES):
    """An ensemble of such networks."""
    of = [torchbp.nn.EnsembleLinear(len(nets), *sizes, dtype=torch.double) for sizes in ((4, 6), (6, 2))]
    dropout = [torchbp.nn.Dropout(rates) for _ in range(2)]
    ensemble = torch.nn.Sequential(of[0], dropout[0], torch.nn.Tanh(), dropout[1], of[1])
    with torch.no_grad():
        for p, *alone in zip(ensemble.parameters(), *(net.parameters() for net in nets), strict=True):
            p.copy_(torch.stack(alone))
    return ensemble


def close(ours, theirs, tolerance=1e-12):
    torch.testing.assert_close(ours, theirs, rtol=10 * tolerance, atol=tolerance)


def test_the_numbers_are_those_of_the_equation():
    def by_hand(i, k1, k2):
        u = 2**32
        h = (i ^ k1) % u
        h = ((h ^ h >> 16) * M1 + k2) % u
        return (h ^ h >> 15) * M2 % u

    keys = drawn_keys((3,), generator())
    for number, key in enumerate(keys.tolist()):
        expected = [by_hand(i, *(k % 2**32 for k in key)) for i in range(500)]
        assert [b % 2**32 for b in bits(keys, 500)[number].tolist()] == expected
        assert bits(keys[number], 500).tolist() == bits(keys, 500)[number].tolist()


def test_the_keys_of_seeds_are_different_and_advance():
    keys = torch.stack([key_of(seed, layer) for seed in range(-50, 50) for layer in range(10)])
    assert len({tuple(key) for key in keys.tolist()}) == 1000
    assert (keys.double().mean(0).abs() < 5 * 2**32 / math.sqrt(12 * 1000)).all()
    key = keys[0].clone()
    advance(key)
    assert ((key.long() - keys[0].long()) % 2**32 == 0x9E3779B9).all()


def masks(steps, count, p, seed=3):
    """Of the steps one after the other, (steps, count)."""
    key, found = key_of(seed), []
    for _ in range(steps):
        advance(key)
        found.append(kept(key, count, p))
    return torch.stack(found).double()


@pytest.mark.parametrize("p", [0.05, 0.3, 0.5, 0.9])
def test_a_mask_is_of_independent_numbers_of_the_right_probability(p):
    """Each statistic is within 5 standard deviations of what independent numbers give."""
    steps, count = 400, 1024
    mask = masks(steps, count, p)
    total = steps * count
    assert abs(mask.mean() - (1 - p)) < 5 * math.sqrt(p * (1 - p) / total)
    centred = (mask - (1 - p)) / math.sqrt(p * (1 - p))
    for lag in (1, 2, 3, 8, 16, 32, 64, 256):  # of elements, of rows, and of steps
        assert abs((centred[:, lag:] * centred[:, :-lag]).mean()) < 5 / math.sqrt(total)
        assert abs((centred[lag:] * centred[:-lag]).mean()) < 5 / math.sqrt((steps - lag) * count)
        assert abs((centred[lag:, lag:] * centred[:-lag, :-lag]).mean()) < 5 / math.sqrt((steps - lag) * count)
    for other in (masks(steps, count, p, seed=4), masks(steps, count, p, seed=2**40 + 3)):
        assert abs((centred * (other - (1 - p))).mean()) < 5 * math.sqrt(p * (1 - p) / total)
    for dim in (0, 1):  # how many are kept, of each step and of each element: binomial
        kept_of = mask.sum(dim)
        n = mask.shape[dim]
        chi_square = ((kept_of - n * (1 - p)).square() / (n * p * (1 - p))).sum()
        assert abs(chi_square - len(kept_of)) < 5 * math.sqrt(2 * len(kept_of))


def test_pairs_of_neighbours_are_uniform():
    """Chi-square of the highest four bits of two neighbours, 256 cells."""
    key, counts = key_of(5), torch.zeros(256)
    for _ in range(100):
        advance(key)
        high = (bits(key, 2048) >> 28) & 15
        counts += torch.bincount(high[:-1] * 16 + high[1:], minlength=256)
    expected = counts.sum() / 256
    assert abs(((counts - expected).square() / expected).sum() - 255) < 5 * math.sqrt(2 * 255)


def test_the_steps_are_those_of_autograd_with_these_masks():
    ours = single(seed=7)
    theirs, loss = with_masks_by_key(copy.deepcopy(ours)), torch.nn.BCEWithLogitsLoss()
    optimizer, descent = torchbp.SGD(ours, lr=0.3, momentum=0.5), torch.optim.SGD(theirs.parameters(), 0.3, 0.5)
    x, y = table(20)
    for _ in range(20):
        descent.zero_grad()
        value = loss(theirs(x), y)
        value.backward()
        descent.step()
        close(optimizer.backprop_step(x, y), value.detach())
    close([p.data for p in ours.parameters()], [p.data for p in theirs.parameters()])


@pytest.mark.parametrize("chunk", [None, 1, 3])
@pytest.mark.parametrize("rows", [None, [range(50), range(3), range(0, 50, 2), range(33)]], ids=["shared", "folds"])
def test_each_member_with_its_own_rate_is_the_network_alone(rows, chunk):
    nets = [single(p, seed) for seed, p in enumerate(RATES)]
    ensemble, lr = together(nets), [0.3, 0.0, 0.2, 0.4]
    seed_dropout(ensemble, range(4))
    x, y = table()
    options = OPTIONS | {"patience": 2, "min_delta": 0.02, "min_grad_norm": 1e-9}
    optimizer = torchbp.SGD(ensemble, lr=lr, momentum=0.5, chunk=chunk)
    history = optimizer.fit(x, y, rows=rows, validation=(x[:9], y[:9]), generator=generator(), **options)
    for number, net in enumerate(nets):
        alone = torchbp.SGD(net, lr=lr[number], momentum=0.5)
        own = None if rows is None else rows[number]
        expected = alone.fit(x, y, rows=own, validation=(x[:9], y[:9]), generator=generator(), **options)
        close([of[: len(expected.training), number] for of in history], list(expected))
        close([p[number] for p in ensemble.parameters()], list(net.parameters()))
        assert torch.equal(ensemble[1].key[number], net[1].key)  # a fit that follows goes on from here
        assert optimizer.minimum.epochs[number] == len(expected.training)
    assert len(set(optimizer.minimum.epochs.tolist())) > 1


def test_the_seed_comes_from_torchs_stream_or_the_generator():
    x, y = table(20)
    found = []
    for seed, order in ((0, None), (0, None), (1, None), (2, 5), (3, 5)):
        torch.manual_seed(0)
        net = single()
        state = net.state_dict().keys()
        torch.manual_seed(seed)
        torchbp.SGD(net, 0.3).fit(x, y, generator=None if order is None else generator(order), **OPTIONS)
        assert net.state_dict().keys() == state
        found.append(net[0].weight.detach())
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert torch.equal(found[3], found[4])
    copied = copy.deepcopy(net)
    for model in (net, copied):
        torchbp.SGD(model, 0.3).fit(x, y, generator=generator(), **OPTIONS)
    assert torch.equal(net[0].weight, copied[0].weight)


def test_without_an_optimizer_the_masks_are_those_of_torch():
    net, (x, y) = single(), table(20)
    torch.manual_seed(3)
    torch.nn.functional.binary_cross_entropy_with_logits(net(x), y).backward()
    expected = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    torch.manual_seed(3)
    torchbp.backprop(net, x, y)
    close([p.grad for p in net.parameters()], expected)


def test_an_ensembles_layer_outside_the_engine():
    layer, x = torchbp.nn.Dropout(RATES), torch.ones(4, 1000, 3, dtype=torch.double, requires_grad=True)
    z = layer(x)
    z.sum().backward()
    assert torch.equal(x.grad, z)  # dX = dZ ∘ m, of ones
    for p, of_member in zip(RATES, z.detach(), strict=True):
        values = of_member.unique()
        assert torch.isin(values, torch.tensor([0, 1 / (1 - p)], dtype=torch.double)).all()
        assert abs((of_member == 0).double().mean() - p) < 5 * math.sqrt(0.25 / 3000)
    assert layer.eval()(x) is x
    assert repr(layer) == "Dropout(p=[0.1, 0.0, 0.5, 0.9], inplace=False)"
    assert layer.state_dict() == {}
    with pytest.raises(RuntimeError, match="p has 4 numbers, one for each member"):
        layer.train()(x[:3])


def test_a_rate_of_one_keeps_nothing():
    layer, x = torchbp.nn.Dropout([1.0, 0.0]), torch.ones(2, 5, 4)
    assert layer(x).sum((1, 2)).tolist() == [0, 20]
    layers = [torchbp.nn.EnsembleLinear(2, 4, 3), torchbp.nn.Dropout([1.0, 0.0]), torchbp.nn.EnsembleLinear(2, 3, 1)]
    before = layers[0].weight.detach().clone()
    torchbp.SGD(torch.nn.Sequential(*layers), lr=0.5).backprop_step(torch.randn(5, 4), torch.ones(5, 1))
    assert [torch.equal(*pair) for pair in zip(before, layers[0].weight, strict=True)] == [True, False]


@pytest.mark.parametrize("p", [[0.1, 1.5], [-0.1, 0.2], torch.tensor([[0.1]]), [math.nan, 0.0]])
def test_what_is_no_rate_is_named(p):
    with pytest.raises(ValueError, match="each member's dropout probability has to be between 0 and 1"):
        torchbp.nn.Dropout(p)


def test_another_number_of_rates_or_seeds_is_named():
    nets = [single() for _ in range(3)]
    with pytest.raises(ValueError, match=r"layers of \{3, 4\} members"):
        torchbp.SGD(together(nets))
    with pytest.raises(ValueError, match="there are 2 seeds; the model is of 3 members"):
        seed_dropout(together(nets, [0.1] * 3), [1, 2])


def test_a_step_is_traced_with_the_key_as_a_tensor_that_it_advances():
    ensemble = together([single() for _ in range(4)])
    seed_dropout(ensemble, range(4))
    other, (x, y) = copy.deepcopy(ensemble), table(8)
    optimizer, by_trace = torchbp.SGD(ensemble, lr=0.3), torchbp.SGD(other, lr=0.3)
    network = by_trace.network
    rules, _ = update_rules(by_trace, network.parameters())
    keys = [layer.key for layer in network.keyed]

    def function(parameters, keys, x, y):
        for layer, key in zip(network.keyed, keys, strict=True):
            layer._buffers["key"] = key
        return step(network, by_trace.loss, parameters, rules, x, y)

    parameters = [tuple(p.detach() for p in of_layer) for of_layer in network.parameters()]
    with torch.no_grad():
        copies = copy.deepcopy((parameters, keys))  # which the trace changes
        traced = make_fx(function)(*copies, x, y)
        for _ in range(3):
            close(traced(parameters, keys, x, y), optimizer.backprop_step(x, y))
    close([p.data for p in ensemble.parameters()], [p for of_layer in parameters for p in of_layer])
    assert torch.equal(keys[0], ensemble[1].key)
    random = {n.target.overloadpacket.__name__ for n in traced.graph.nodes if n.op == "call_function"}
    assert {"bitwise_xor", "bitwise_and_", "mul_"} <= random
    assert not {name for name in random if "rand" in name or "bernoulli" in name}
