"""The modules beside torch's: class, initialisation, state_dict, results; and the MLP."""

import copy
import itertools
import pickle

import pytest
import torch

import torchbp

PAIRS = [
    (torchbp.nn.Linear, torch.nn.Linear, (5, 3)),
    (torchbp.nn.Sigmoid, torch.nn.Sigmoid, ()),
    (torchbp.nn.BCELoss, torch.nn.BCELoss, ()),
    (torchbp.nn.BCEWithLogitsLoss, torch.nn.BCEWithLogitsLoss, ()),
]


@pytest.mark.parametrize(("ours", "torchs", "arguments"), PAIRS, ids=lambda value: getattr(value, "__name__", ""))
def test_construction_is_torchs(ours, torchs, arguments):
    torch.manual_seed(1)
    a = ours(*arguments)
    after_a = torch.random.get_rng_state()
    torch.manual_seed(1)
    b = torchs(*arguments)
    assert torch.equal(after_a, torch.random.get_rng_state())
    assert isinstance(a, torchs)
    assert repr(a) == repr(b)
    assert a.state_dict().keys() == b.state_dict().keys()
    for name, value in a.state_dict().items():
        assert torch.equal(value, b.state_dict()[name])
    for twin in (copy.deepcopy(a), pickle.loads(pickle.dumps(a))):
        assert type(twin) is ours


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_losses_use_their_settings(reduction):
    y = torch.rand(4, 3).round()
    weight, pos_weight = torch.rand(3), torch.rand(3)
    for name, options in [("BCELoss", {}), ("BCEWithLogitsLoss", {"pos_weight": pos_weight})]:
        results = []
        for package in (torchbp.nn, torch.nn):
            a = torch.linspace(0.1, 0.9, 12).view(4, 3).requires_grad_()
            loss = getattr(package, name)(weight=weight, reduction=reduction, **options)(a, y)
            results.append((loss, *torch.autograd.grad(loss.sum(), a)))
        torch.testing.assert_close(*results)


def sequential(*sizes):
    layers = []
    for a, b in itertools.pairwise(sizes):
        layers += [torch.nn.Linear(a, b), torch.nn.Sigmoid()]
    return torch.nn.Sequential(*layers[:-1])


def test_mlp_is_a_sequential(device):
    net = torchbp.nn.MLP(5, 4, 3, 2, device=device, dtype=torch.float64)
    assert isinstance(net, torch.nn.Sequential)
    peer = sequential(5, 4, 3, 2).to(device, torch.float64)
    assert [type(layer) for layer in peer] == [type(layer).__mro__[1] for layer in net]
    peer.load_state_dict(net.state_dict())
    x = torch.randn(7, 5, device=device, dtype=torch.float64)
    torch.testing.assert_close(net(x), peer(x))
    torch.testing.assert_close(net.predict_proba(x), peer(x).sigmoid())
    torch.testing.assert_close(net[:2](x), peer[:2](x))
    assert net[-1] is list(net)[-1]


@pytest.mark.parametrize("sizes", [(), (3,), (3, 0), (3, -1, 2), (3, 2.0), (3, True), (3, "4")])
def test_mlp_names_the_bad_size(sizes):
    with pytest.raises(ValueError, match="MLP"):
        torchbp.nn.MLP(*sizes)


def test_an_ensemble_stays_on_its_device(device, tmp_path):
    nets = [torchbp.nn.MLP(3, 4, 2, activation="tanh", device=device) for _ in range(3)]
    ensemble = torchbp.stack(nets)
    x = torch.randn(5, 3, device=device)
    torch.testing.assert_close(ensemble(x), torch.stack([net(x) for net in nets]))
    assert {p.device.type for net in (ensemble, *torchbp.unstack(ensemble)) for p in net.parameters()} == {device}
    mean, spread = ensemble.predict_proba(x)
    assert (mean.device.type, spread.shape) == (device, (5, 2))
    torch.save(ensemble.state_dict(), tmp_path / "weights.pt")
    there = torchbp.nn.MLP(3, 4, 2, activation="tanh", members=3)
    there.load_state_dict(torch.load(tmp_path / "weights.pt", map_location="cpu"))
    torch.testing.assert_close(there(x.cpu()), ensemble(x).cpu())
