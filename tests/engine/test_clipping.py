"""Steps by a clipped gradient, `max_grad_norm`: those of torch's optimizers after clip_grad_norm_."""

import copy

import pytest
import torch

import torchbp
from tests.networks import assert_same, mlp, rows

KINDS = {
    "SGD": (torchbp.SGD, torch.optim.SGD, {"lr": 0.5, "weight_decay": 0.1}),
    "momentum": (torchbp.SGD, torch.optim.SGD, {"lr": 0.3, "momentum": 0.9, "nesterov": True}),
    "Adam": (torchbp.Adam, torch.optim.Adam, {"lr": 0.05, "weight_decay": 0.1}),
    "AdamW": (torchbp.AdamW, torch.optim.AdamW, {"lr": 0.05, "eps": 1e-3}),
}
NORM = 0.2  # of a gradient that is sometimes longer and sometimes not


@pytest.fixture(params=[False, True], ids=["engine", "program"])
def compile(request):
    if request.param:
        request.getfixturevalue("native")
    return request.param


def batches(*shape):
    """Rows whose gradients are longer in every second batch."""
    x, y = rows(10, *shape)
    y[::2] = 3  # far from any answer
    return x, y


def clipped_steps(model, optimizer, x, y):
    """The number of gradients that were longer than NORM."""
    loss, longer = torch.nn.BCEWithLogitsLoss(), 0
    for x_, y_ in zip(x, y, strict=True):
        optimizer.zero_grad()
        loss(model(x_), y_).backward()
        longer += (torch.nn.utils.clip_grad_norm_(model.parameters(), NORM) > NORM).item()
        optimizer.step()
    return longer


@pytest.mark.parametrize("kind", KINDS)
def test_of_one_network(kind, compile):
    ours, torchs, options = KINDS[kind]
    model, (x, y) = mlp((3, 4, 2)), batches(6)
    other, single = copy.deepcopy(model), copy.deepcopy(model)
    assert 0 < clipped_steps(other, torchs(other.parameters(), **options), x, y) < len(x)
    optimizer = ours(model, max_grad_norm=NORM, compile=compile, **options)
    optimizer.backprop_steps(x, y)
    assert_same(model, other, 1e-10)
    assert not compile or all(optimizer.compiled.programs.values())
    optimizer = ours(single, max_grad_norm=NORM, compile=False, **options)
    for batch in zip(x, y, strict=True):
        optimizer.backprop_step(*batch)
    assert_same(single, other, 1e-10)


@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_each_member_is_the_network_alone(kind, chunk, compile):
    ours, _, options = KINDS[kind]
    ensemble, (x, y) = mlp((3, 4, 2), 3), batches(3, 6)
    nets = torchbp.unstack(ensemble)
    ours(ensemble, max_grad_norm=NORM, chunk=chunk, compile=compile, **options).backprop_steps(x, y)
    for number, net in enumerate(nets):
        ours(net, max_grad_norm=NORM, compile=False, **options).backprop_steps(x[:, number], y[:, number])
    for found, net in zip(torchbp.unstack(ensemble), nets, strict=True):
        assert_same(found, net, 1e-10)


def test_fit(compile):
    x, y = (t.flatten(0, 1) for t in batches(6))
    found = []
    for max_grad_norm in (NORM, 1e9, None):
        model = mlp((3, 4, 2))
        optimizer = torchbp.AdamW(model, lr=0.05, max_grad_norm=max_grad_norm, compile=compile)
        optimizer.fit(x, y, batch_size=7, max_epochs=3, shuffle=False)
        found.append(model.state_dict())
    torch.testing.assert_close(found[1], found[2], rtol=1e-10, atol=1e-10)
    assert (found[0]["0.weight"] - found[2]["0.weight"]).abs().max() > 1e-4


@pytest.mark.parametrize("norm", [0, -1.0, float("inf"), float("nan")])
def test_a_norm_that_is_none(norm):
    with pytest.raises(ValueError, match=r"max_grad_norm=.* must be a positive, finite number, or None"):
        torchbp.SGD(mlp((3, 2)), lr=0.1, max_grad_norm=norm)
