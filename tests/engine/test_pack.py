"""Networks that are not alike, trained in one pack, beside each of them trained alone."""

import copy
import itertools

import pytest
import torch

import torchbp
from tests.networks import mlp
from torchbp.engine import Pack, seed_dropout
from torchbp.engine.fitting.stopping import NOT_FINITE

OPTIONS = {"batch_size": 8, "max_epochs": 12, "min_delta": 0.01, "patience": 2, "progress": False}
ACTIVATIONS = torch.nn.Tanh, torch.nn.ReLU, torchbp.nn.GELU


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def network(sizes=(4, 5, 3), activation=torch.nn.Tanh, p=None, seed=0, of=torch.nn.Linear):
    layers = []
    for n_in, n_out in itertools.pairwise(sizes):
        layers += [of(n_in, n_out), activation()] + ([] if p is None else [torchbp.nn.Dropout(p)])
    net = torch.nn.Sequential(*layers[: -1 if p is None else -2]).double()
    seed_dropout(net, seed)
    return net


def table(rows=40, classes=3):
    torch.manual_seed(1)
    return torch.randn(rows, 4, dtype=torch.double), torch.randint(classes, (rows,))


def different(count):
    """Networks of several depths, widths and activations, each with its own dropout."""
    sizes = [(4, 3), (4, 5, 3), (4, 5, 3), (4, 5, 6, 3)]
    return [
        network(sizes[i % 4], ACTIVATIONS[i % 3], None if i % 5 == 0 else i / (2 * count), i, torchbp.nn.Linear)
        for i in range(count)
    ]


def close(ours, theirs, tolerance=1e-12):
    torch.testing.assert_close(ours, theirs, rtol=10 * tolerance, atol=tolerance)


NORMS = {
    "layer": lambda: torch.nn.LayerNorm(5),
    "layer, no bias": lambda: torchbp.nn.LayerNorm(5, bias=False),
    "layer, no weights": lambda: torch.nn.LayerNorm(5, elementwise_affine=False),
    "rms": lambda: torch.nn.RMSNorm(5, eps=1e-3),
}


@pytest.mark.parametrize("norm", NORMS)
def test_networks_with_a_norm_are_one_group_and_each_is_the_one_that_is_trained_alone(norm):
    nets = []
    for seed in range(3):
        torch.manual_seed(seed)
        net = torch.nn.Sequential(torch.nn.Linear(4, 5), NORMS[norm](), torch.nn.Tanh(), torch.nn.Linear(5, 3)).double()
        for p in net[1].parameters():
            torch.nn.init.uniform_(p, 0.5, 2)
        nets.append(net)
    alone, (x, y), lr = copy.deepcopy(nets), table(), [0.1, 0.2, 0.3]
    pack = Pack(nets, torchbp.AdamW, lr=lr, weight_decay=0.01, loss=torch.nn.CrossEntropyLoss())
    assert pack.groups == [[0, 1, 2]]
    pack.fit(x, y, generator=generator(), **OPTIONS)
    for i, net in enumerate(alone):
        optimizer = torchbp.AdamW(net, lr=lr[i], weight_decay=0.01, loss=torch.nn.CrossEntropyLoss())
        optimizer.fit(x, y, generator=generator(), **OPTIONS)
        close(nets[i].state_dict(), net.state_dict())


def test_norms_of_which_one_is_frozen_are_two_groups():
    nets = [torch.nn.Sequential(torch.nn.LayerNorm(4), torch.nn.Linear(4, 3)).double() for _ in range(3)]
    nets[1][0].weight.requires_grad_(False)
    before, (x, y) = copy.deepcopy(nets), table()
    pack = Pack(nets, lr=0.1, loss=torch.nn.CrossEntropyLoss())
    assert pack.groups == [[0, 2], [1]]
    pack.fit(x, y, **OPTIONS)
    assert torch.equal(nets[1][0].weight, before[1][0].weight)
    assert not torch.equal(nets[2][0].weight, before[2][0].weight)


def test_each_network_is_the_one_that_is_trained_alone():
    count = 36
    nets = different(count)
    nets[4] = torch.nn.Sequential(nets[4][0], torch.nn.BatchNorm1d(3).double())  # a group of its own
    alone, (x, y) = copy.deepcopy(nets), table()
    lr = [0.05 + 0.3 * i / count for i in range(count)]
    decay = torch.linspace(0, 0.1, count, dtype=torch.double)
    folds = torch.rand(count, 40) < 0.8
    loss = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    pack = Pack(nets, torchbp.SGD, lr=lr, weight_decay=decay, momentum=0.5, loss=loss)
    assert len(pack.groups) < 25
    history = pack.fit(x, y, rows=folds, validation="rest", generator=generator(), **OPTIONS)
    epochs = []
    for i, net in enumerate(alone):
        single = torchbp.SGD(net, lr[i], 0.5, weight_decay=decay[i].item(), loss=loss)
        expected = single.fit(x, y, rows=folds[i], validation="rest", generator=generator(), **OPTIONS)
        end = len(expected.training)
        close([of[:end, i] for of in history], list(expected))
        assert (history.validation[end:, i] == history.validation[end - 1, i]).all()
        close(nets[i].state_dict(), net.state_dict())
        for name in ("why", "epochs", "lowest", "lowest_epochs"):
            close(getattr(pack.minimum, name)[i], getattr(single.minimum, name))
        epochs.append(end)
    assert len(set(epochs)) > 3
    assert history.training.shape == (max(epochs), count)


def test_networks_with_periodic_embeddings_are_one_group():
    torch.manual_seed(3)
    nets = [
        torch.nn.Sequential(torchbp.nn.PeriodicEmbedding(3, 2, frequency, dtype=torch.double), *network((10, 5, 3)))
        for frequency in (0.1, 0.5, 1.0)
    ]
    alone, (x, y), loss = copy.deepcopy(nets), table(), torch.nn.CrossEntropyLoss()
    pack = Pack(nets, torchbp.AdamW, lr=[0.01, 0.02, 0.03], loss=loss)
    assert pack.groups == [[0, 1, 2]]
    history = pack.fit(x, y, generator=generator(), **OPTIONS)
    for i, net in enumerate(alone):
        single = torchbp.AdamW(net, [0.01, 0.02, 0.03][i], loss=loss)
        close(history[:, i], single.fit(x, y, generator=generator(), **OPTIONS), 1e-10)
        close(nets[i].state_dict(), net.state_dict(), 1e-10)


def test_a_second_fit_goes_on():
    nets, (x, y) = different(6), table()
    alone = copy.deepcopy(nets)
    loss = torch.nn.CrossEntropyLoss()
    pack, singles = Pack(nets, lr=0.2, momentum=0.5, loss=loss), []
    singles = [torchbp.SGD(net, 0.2, 0.5, loss=loss) for net in alone]
    for _ in range(2):
        pack.fit(x, y, generator=generator(), **OPTIONS)
        for net, other, single in zip(nets, alone, singles, strict=True):
            single.fit(x, y, generator=generator(), **OPTIONS)
            close(net.state_dict(), other.state_dict())


def test_rows_of_each_network_and_numbers_as_targets():
    nets = [mlp(sizes) for sizes in ((4, 5, 2), (4, 2), (4, 5, 2))]
    alone, x, y = copy.deepcopy(nets), torch.randn(3, 40, 4).double(), torch.rand(3, 40, 2).double()
    Pack(nets, lr=[0.1, 0.2, 0.3], chunk=1).fit(x, y, validation=(x, y[0]), generator=generator(), **OPTIONS)
    for i, net in enumerate(alone):
        single = torchbp.SGD(net, (0.1, 0.2, 0.3)[i])
        single.fit(x[i], y[i], validation=(x[i], y[0]), generator=generator(), **OPTIONS)
        close(nets[i].state_dict(), net.state_dict())


def test_all_networks_have_the_order_of_the_global_stream_and_masks_of_their_own():
    nets, (x, y) = [network(p=0.5) for _ in range(3)], table()
    for net in nets:
        net.load_state_dict(nets[0].state_dict())
        del net[2]._buffers["key"]
    torch.manual_seed(5)
    Pack(nets, lr=0.2, loss=torch.nn.CrossEntropyLoss()).fit(x, y, **OPTIONS)
    keys = {tuple(net[2].key.tolist()) for net in nets}
    assert len(keys) == 3
    weights = [net[0].weight.detach().clone() for net in nets]
    assert not torch.equal(weights[0], weights[1])


def test_frozen_parameters_stay_as_they_are():
    nets, (x, y) = [network() for _ in range(4)], table()
    for net in nets[:2]:
        net[0].bias.requires_grad_(False)
    before = copy.deepcopy(nets)
    pack = Pack(nets, lr=0.5, loss=torch.nn.CrossEntropyLoss())
    assert pack.groups == [[0, 1], [2, 3]]
    pack.fit(x, y, **OPTIONS)
    kept = [torch.equal(net[0].bias, old[0].bias) for net, old in zip(nets, before, strict=True)]
    assert kept == [True, True, False, False]
    assert [net[0].bias.requires_grad for net in nets] == [False, False, True, True]


def test_networks_whose_loss_is_no_number_are_named():
    nets, (x, y) = [mlp((4, 2)), mlp((4, 5, 2)), mlp((4, 2))], table()
    y = y.double().unsqueeze(1).expand(-1, 2)
    pack = Pack(nets, lr=[1e308, 0.1, 0.1], loss=torch.nn.MSELoss())
    with pytest.warns(UserWarning, match="these networks became nan or inf: 0; a smaller lr") as caught:
        pack.fit(x, y, **OPTIONS)
    assert caught[0].filename == __file__
    assert (pack.minimum.why == NOT_FINITE).tolist() == [True, False, False]
    with pytest.raises(FloatingPointError, match="these networks became nan or inf: 0, 1"):
        Pack(nets[:2], lr=1e308, loss=torch.nn.MSELoss()).fit(x, y, **OPTIONS)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Pack([]), ValueError, "there is no network"),
        (lambda: Pack([mlp((4, 2)), mlp((4, 2), 3)]), ValueError, "network 1 is an ensemble of 3 members"),
        (lambda: Pack([mlp((4, 2))] * 2), ValueError, "networks 0 and 1 share their weights"),
        (lambda: Pack([mlp((4, 2)), mlp((4, 2))], lr=[0.1]), ValueError, "lr has 1 values; give one for each of 2"),
        (lambda: Pack([torch.nn.Bilinear(3, 3, 2)]), TypeError, "a Bilinear is not supported"),
        (lambda: Pack([mlp((4, 2)), mlp((4, 3))]).fit(*table(), rows=[[0]]), ValueError, "rows has 1 parts"),
    ],
)
def test_what_is_no_pack_is_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
