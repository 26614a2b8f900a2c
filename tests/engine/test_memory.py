"""What a step allocates: the activations and one delta, and nothing as large as a weight."""

import pytest
import torch

import torchbp
from torchbp.benchmarks.helpers.memory_use import peak_bytes
from torchbp.engine.fitting import epoch, fit_arguments

SIZES = (256, 192, 224, 40)


def step_of(kind):
    net = torchbp.nn.MLP(*SIZES, activation="tanh")
    if kind == "backprop":
        run = lambda x, y: torchbp.backprop(net, x, y)  # noqa: E731
    else:
        run = torchbp.SGD(net, lr=0.1, momentum=0.9 if kind == "momentum" else 0).backprop_step
    return net, run


@pytest.mark.parametrize("kind", ["plain", "momentum", "backprop"])
def test_the_peak_is_the_activations_and_one_delta(kind):
    rows = 512
    net, run = step_of(kind)
    x, y = torch.randn(rows, SIZES[0]), torch.rand(rows, SIZES[-1])
    run(x, y)  # velocities, or gradients, are there from the first step on
    peak = peak_bytes(lambda: None, lambda: run(x, y))
    activations, delta = 4 * rows * sum(SIZES[1:]), 4 * rows * max(SIZES[1:])
    assert activations < peak <= 1.01 * (activations + delta)
    parameters = 4 * sum(p.numel() for p in net.parameters())
    there = parameters + 4 * x.numel()
    assert there + peak <= 1.1 * (there + activations + delta)


@pytest.mark.parametrize("kind", ["plain", "momentum", "backprop"])
def test_nothing_as_large_as_a_weight_is_allocated(kind):
    net, run = step_of(kind)
    x, y = torch.randn(4, SIZES[0]), torch.rand(4, SIZES[-1])
    run(x, y)
    smallest_weight = 4 * min(p.numel() for p in net.parameters() if p.dim() == 2)
    assert 0 < peak_bytes(lambda: None, lambda: run(x, y)) < smallest_weight


@pytest.mark.parametrize("place", [None, 0, -1], ids=["finite", "first", "last"])
@pytest.mark.parametrize("of_each", [False, True])
def test_looking_for_nan_takes_no_memory_that_grows_with_the_rows(place, of_each, monkeypatch):
    monkeypatch.setattr(fit_arguments, "AT_ONCE", 1024)
    x = torch.randn(3, 4000, 16) if of_each else torch.randn(12_000, 16)
    expected = None
    if place is not None:
        x[..., place, 5] = torch.nan
        expected = f"x[{'0, ' if of_each else ''}{range(x.shape[-2])[place]}, 5] is nan, one of {3 if of_each else 1};"
    found = []

    def look():
        try:
            fit_arguments.check_finite("x", x)
            found.append(None)
        except ValueError as error:
            found.append(str(error))

    assert peak_bytes(lambda: None, look) < x.nbytes / 20
    assert all(message is None if expected is None else message.startswith(expected) for message in found)


@pytest.mark.parametrize("wrong", [False, True])
def test_looking_at_classes_takes_no_memory_that_grows_with_the_rows(wrong, monkeypatch):
    monkeypatch.setattr(fit_arguments, "AT_ONCE", 1024)
    y, loss, found = torch.randint(5, (300_000,)), torch.nn.CrossEntropyLoss(), []
    y[7] = -100  # which the loss ignores
    y[200_000] = 5 if wrong else 0

    def look():
        try:
            fit_arguments.check_classes("y", y, loss, 5)
            found.append("")
        except ValueError as error:
            found.append(str(error))

    assert peak_bytes(lambda: None, look) < y.nbytes / 20
    assert all(
        words.startswith("y[200000] is 5, one of 1; give classes from 0 to 4" if wrong else "") for words in found
    )
    assert bool(found[0]) == wrong


def test_bags_of_rows_take_the_memory_of_a_block(monkeypatch):
    members, batch, features = 16, 64, 256
    one = 4 * members * batch * features  # bytes of a batch of all members
    x, y = torch.randn(4 * batch, features), torch.rand(4 * batch, 1)
    peaks = {}
    for blocks, chunk in ((2, None), (1, 4)):
        monkeypatch.setattr(epoch, "GATHERED", int(1.01 * blocks * one))
        optimizer = torchbp.SGD(torchbp.nn.MLP(features, 4, 1, members=members), chunk=chunk)
        options = {"batch_size": batch, "max_epochs": 1, "bagging": True, "min_grad_norm": 1e-9, "progress": False}
        peaks[blocks, chunk] = peak_bytes(lambda: None, lambda o=optimizer, options=options: o.fit(x, y, **options))
    assert 2 * one < peaks[2, None] < 2.5 * one
    assert peaks[1, 4] < one / 2
