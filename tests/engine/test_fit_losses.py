"""fit with every loss that has a rule, beside a loop of autograd; classes, in chunks, and with unequal counts."""

from functools import partial

import pytest
import torch

import torchbp
from tests.networks import mlp
from torchbp.engine.fitting import fit
from torchbp.engine.fitting.rows import Rows

double = partial(torch.tensor, dtype=torch.double)
CLASSES = {
    "plain": {},
    "smoothed": {"label_smoothing": 0.1},
    "weighted": {"weight": double([0.5, 2.0, 1.0])},
    "both": {"weight": double([0.5, 2.0, 1.0]), "label_smoothing": 0.2},
    "ignored": {"ignore_index": 1},
    "all": {"weight": double([0.5, 2.0, 1.0]), "label_smoothing": 0.2, "ignore_index": 1},
    "sum": {"reduction": "sum", "weight": double([0.5, 2.0, 1.0])},
}
NUMBERS = {
    "huber": torch.nn.HuberLoss(delta=0.5),
    "smooth_l1": torch.nn.SmoothL1Loss(beta=0.3),
    "l1": torchbp.nn.L1Loss(),
    "mse": torch.nn.MSELoss(),
    "kl": torch.nn.KLDivLoss(reduction="sum"),
    "weighted": torchbp.nn.BCEWithLogitsLoss(pos_weight=double([3.0, 0.2, 1.0])),
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def table(rows=50):
    torch.manual_seed(1)
    return torch.randn(rows, 4, dtype=torch.double), torch.randint(3, (rows,))


def by_autograd(net, x, y, loss, epochs=3, batch_size=8, lr=0.2, momentum=0.5):
    """The mean loss of each epoch: the mean over what counts."""
    order, descent, history = generator(), torch.optim.SGD(net.parameters(), lr, momentum), []
    for _ in range(epochs):
        total = count = 0
        for batch in torch.randperm(len(x), generator=order).split(batch_size):
            descent.zero_grad(set_to_none=False)
            value = loss(net(x[batch]), y[batch])
            if counts(loss, y[batch]):
                value.backward()
                total += value.item() * (counts(loss, y[batch]) if loss.reduction == "mean" else 1)
            descent.step()  # a batch of which nothing counts has the gradient 0
            count += counts(loss, y[batch])
        history.append(total / (count if loss.reduction == "mean" else 1))
    return torch.tensor(history, dtype=torch.double)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int32, torch.bool], ids=str)
def test_a_step_takes_classes_of_other_integers(dtype):
    x, y = table()
    y = y.clamp(max=1)
    found = [torchbp.backprop(mlp((4, 3)), x, classes, torch.nn.CrossEntropyLoss()) for classes in (y, y.to(dtype))]
    torch.testing.assert_close(*found, rtol=0, atol=0)


def counts(loss, y):
    """Σ w_y."""
    if y.is_floating_point():
        return len(y)
    weight = torch.ones(3) if loss.weight is None else loss.weight
    return weight[y][y != loss.ignore_index].sum().item()


def fitted(net, x, y, loss, **options):
    options = {"batch_size": 8, "max_epochs": 3, "progress": False} | options
    return torchbp.SGD(net, lr=0.2, momentum=0.5, loss=loss).fit(x, y, generator=generator(), **options)


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("options", CLASSES.values(), ids=CLASSES)
@pytest.mark.parametrize("of", [torch.nn, torchbp.nn], ids=["torch", "torchbp"])
def test_classes(of, options):
    (x, y), loss = table(), of.CrossEntropyLoss(**options)
    ours, theirs = mlp((4, 5, 3)), mlp((4, 5, 3))
    close(fitted(ours, x, y, loss), by_autograd(theirs, x, y, torch.nn.CrossEntropyLoss(**options)))
    close(ours.state_dict(), theirs.state_dict())


def test_the_likelihood_of_probabilities():
    (x, y), loss = table(), torch.nn.NLLLoss(weight=double([0.5, 2.0, 1.0]), ignore_index=1)
    ours, theirs = (torch.nn.Sequential(*mlp((4, 5, 3)), torch.nn.LogSoftmax(-1)) for _ in range(2))
    close(fitted(ours, x, y, loss), by_autograd(theirs, x, y, loss))
    close(ours.state_dict(), theirs.state_dict())


@pytest.mark.parametrize("loss", NUMBERS.values(), ids=NUMBERS)
def test_numbers(loss):
    x, _ = table()
    y = torch.rand(50, 3, dtype=torch.double)
    ours, theirs = mlp((4, 5, 3)), mlp((4, 5, 3))
    close(fitted(ours, x, y, loss), by_autograd(theirs, x, y, loss))
    close(ours.state_dict(), theirs.state_dict())


@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("own", [False, True], ids=["shared", "of each"])
@pytest.mark.parametrize("options", [CLASSES["all"], CLASSES["plain"], CLASSES["sum"]], ids=["all", "plain", "sum"])
def test_the_classes_of_members_are_those_of_the_networks_alone(options, own, chunk):
    loss, ensemble = torch.nn.CrossEntropyLoss(**options), mlp((4, 5, 3), 3)
    alone, (x, y) = torchbp.unstack(ensemble), table()
    ys = torch.stack([y, y.roll(1), y.roll(2)]) if own else y.expand(3, -1)
    together = torchbp.SGD(ensemble, lr=[0.1, 0.2, 0.0], momentum=0.5, loss=loss, chunk=chunk)
    options = {"batch_size": 8, "max_epochs": 8, "patience": 3, "min_delta": 0.01, "min_grad_norm": 1e-3}
    history = together.fit(x, ys if own else y, generator=generator(), progress=False, bagging=False, **options)
    for number, (one, net) in enumerate(zip(torchbp.unstack(ensemble), alone, strict=True)):
        single = torchbp.SGD(net, lr=[0.1, 0.2, 0.0][number], momentum=0.5, loss=loss)
        expected = single.fit(x, ys[number], generator=generator(), progress=False, **options)
        close(history[: len(expected), number], expected)
        assert together.minimum.epochs[number] == len(expected)
        close(one.state_dict(), net.state_dict())


@pytest.mark.parametrize("chunk", [None, 2])
def test_bags_of_classes(chunk):
    ensemble, (x, y) = mlp((4, 5, 3), 3), table()
    alone, loss = torchbp.unstack(ensemble), torch.nn.CrossEntropyLoss(ignore_index=1)
    options = {"max_epochs": 2, "batch_size": 8, "progress": False}
    torchbp.SGD(ensemble, 0.2, loss=loss, chunk=chunk).fit(x, y, bagging=True, generator=generator(), **options)
    for number, (one, net) in enumerate(zip(torchbp.unstack(ensemble), alone, strict=True)):
        order = generator()
        bag = torch.randint(50, (3, 50), generator=order)[number]
        torchbp.SGD(net, 0.2, loss=loss).fit(x[bag], y[bag], generator=order, **options)
        close(one.state_dict(), net.state_dict())


@pytest.mark.parametrize("members", [None, 2])
@pytest.mark.parametrize("options", [CLASSES["all"], CLASSES["sum"]], ids=["mean", "sum"])
def test_the_norm_over_pieces_with_unequal_counts_is_autograds(options, members):
    (x, y), net, loss = table(), mlp((4, 5, 3), members), torch.nn.CrossEntropyLoss(**options)
    norms = fit.norms_of(torchbp.SGD(net, loss=loss), Rows(x, y, row_dims=0), 1)
    for number, one in enumerate([net] if members is None else torchbp.unstack(net)):
        gradients = torch.autograd.grad(loss(one(x), y), one.parameters())
        close(norms.flatten()[number], torch.cat([g.flatten() for g in gradients]).norm())


def test_a_batch_of_which_nothing_counts_changes_nothing():
    for members in (None, 2):
        net, before, x = mlp((4, 3), members), mlp((4, 3), members), table()[0]
        optimizer = torchbp.SGD(net, lr=0.5, loss=torch.nn.CrossEntropyLoss())
        assert optimizer.backprop_step(x, torch.full((50,), -100)).isnan().all()  # as in torch
        close(net.state_dict(), before.state_dict())


def at(t, place, value):
    t = t.clone()
    t[place] = value
    return t


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x, y.unsqueeze(1)), r"y has the shape \(50, 1\); give \(N\), a class for each row"),
        (lambda x, y: (x, y.int()), r"y is torch.int32, and CrossEntropyLoss takes classes; give y.to\(torch.int64\)"),
        (lambda x, y: (x, y.double()), "y is torch.float64, and CrossEntropyLoss takes classes"),
        (
            lambda x, y: (x, at(y, 7, 3)),
            r"y\[7\] is 3, one of 1; give classes from 0 to 2, for the model has 3",
        ),
        (lambda x, y: (x, at(y, 9, -1)), r"y\[9\] is -1, one of 1"),
        (lambda x, y: (x, y[:5]), "x has 50 rows and y 5"),
    ],
)
def test_what_are_no_classes_is_named_and_nothing_is_trained(change, message):
    net, before = mlp((4, 3)), mlp((4, 3))
    with pytest.raises(ValueError, match=message):
        fitted(net, *change(*table()), torch.nn.CrossEntropyLoss())
    close(net.state_dict(), before.state_dict())


def test_classes_are_no_numbers():
    x, y = table()
    with pytest.raises(ValueError, match=r"y has the shape \(50,\); give \(N, outputs\)"):
        fitted(mlp((4, 3)), x, y, torch.nn.MSELoss())
    with pytest.raises(ValueError, match=r"y is torch.int64, and MSELoss takes real numbers; give y.to\("):
        fitted(mlp((4, 3)), x, y.unsqueeze(1), torch.nn.MSELoss())
