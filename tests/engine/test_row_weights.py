"""`RowWeighted`: a row of weight 2 counts as if it were there twice, and one of weight 0 as if it were not."""

import copy

import pytest
import torch

import torchbp
from tests.networks import mlp
from torchbp.engine import RowWeighted, with_weight

ROWS = 20
LOSSES = {  # loss, outputs
    "mse": (torchbp.nn.MSELoss(), 2),
    "huber": (torch.nn.HuberLoss(delta=0.3), 2),
    "logits": (torchbp.nn.BCEWithLogitsLoss(), 1),
    "classes": (torchbp.nn.CrossEntropyLoss(label_smoothing=0.1), 3),
    "log probabilities": (torch.nn.NLLLoss(), 3),
    "labels": (torchbp.nn.BCEWithLogitsLoss(pos_weight=torch.tensor([2.0, 0.5]).double()), 2),
    "sum": (torchbp.nn.MSELoss(reduction="sum"), 2),
}


@pytest.fixture(params=LOSSES)
def task(request):
    """The loss; and x, y, the weights of the rows, and the outputs."""
    loss, outputs = LOSSES[request.param]
    y = torch.randint(3, (ROWS,)) if outputs == 3 else torch.rand(ROWS, outputs).double().round()
    weight = torch.arange(ROWS).remainder(4).double()
    return loss, torch.randn(ROWS, 4).double(), y, weight, outputs


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("members", [None, 3])
@pytest.mark.parametrize("optimizer", [torchbp.SGD, torchbp.AdamW])
def test_a_weight_is_a_number_of_rows(task, members, optimizer):
    loss, x, y, weight, outputs = task
    places = torch.arange(ROWS).repeat_interleave(weight.long())
    nets = [mlp((4, 5, outputs), members)]
    nets.append(copy.deepcopy(nets[0]))
    options = {"batch_size": 100, "max_epochs": 5, "shuffle": False}
    ours = optimizer(nets[0], lr=0.01, loss=RowWeighted(loss)).fit(x, with_weight(y, weight, outputs), **options)
    theirs = optimizer(nets[1], lr=0.01, loss=loss).fit(x[places], y[places], **options)
    close(ours, theirs)
    close(nets[0].state_dict(), nets[1].state_dict())


def test_it_is_a_module_whose_gradient_is_autograds(task):
    loss, x, y, weight, outputs = task
    net, places = mlp((4, 5, outputs)), torch.arange(ROWS).repeat_interleave(weight.long())
    value = RowWeighted(loss)(net(x), with_weight(y, weight, outputs))
    close(value, loss(net(x[places]), y[places]))
    expected = torch.autograd.grad(value, list(net.parameters()))
    torchbp.backprop(net, x, with_weight(y, weight, outputs), loss=RowWeighted(loss))
    for p, gradient in zip(net.parameters(), expected, strict=True):
        close(p.grad, gradient)


def test_members_of_different_rows_are_as_alone(task):
    loss, x, y, weight, outputs = task
    nets = [mlp((4, 5, outputs), seed=seed) for seed in range(3)]
    ensemble = torchbp.stack(nets)
    masks = torch.rand(3, ROWS) < torch.tensor([[0.4], [0.7], [0.9]])
    options = {"validation": "rest", "batch_size": 3, "max_epochs": 4, "shuffle": False}
    target = with_weight(y, weight + 0.5, outputs)
    together = torchbp.AdamW(ensemble, loss=RowWeighted(loss)).fit(x, target, rows=masks, **options)
    for e, net in enumerate(nets):
        alone = torchbp.AdamW(net, loss=RowWeighted(loss)).fit(x, target, rows=masks[e], **options)
        close(together.training[:, e], alone.training)
        close(together.validation[:, e], alone.validation)
        close(torchbp.unstack(ensemble)[e].state_dict(), net.state_dict())


def test_divided_by_rows_the_gradients_of_parts_are_that_of_the_whole(task):
    loss, x, y, weight, outputs = task
    net, target = mlp((4, 5, outputs)), with_weight(y, weight, outputs)
    by_rows = RowWeighted(loss, divide_by="rows")
    whole = torchbp.backprop(net, x, target, by_rows)
    gradients = [p.grad.clone() for p in net.parameters()]
    close(whole, RowWeighted(loss)(net(x), target).detach() * (1 if loss.reduction == "sum" else weight.sum() / ROWS))
    total = [torch.zeros_like(g) for g in gradients]
    for part in (slice(0, 4), slice(4, None)):
        net.zero_grad()
        torchbp.backprop(net, x[part], target[part], by_rows)
        share = 1 if loss.reduction == "sum" else len(x[part]) / ROWS
        total = [t + share * p.grad for t, p in zip(total, net.parameters(), strict=True)]
    close(total, gradients)
    value = by_rows(net(x), target)
    close(value, whole)
    close(list(torch.autograd.grad(value, list(net.parameters()))), gradients)


def test_what_does_not_fit():
    with pytest.raises(ValueError, match="divide_by='N' is not known; use weights or rows"):
        RowWeighted(torch.nn.MSELoss(), divide_by="N")
    with pytest.raises(TypeError, match="ignores a class; give its rows the weight 0 instead"):
        RowWeighted(torch.nn.NLLLoss(ignore_index=0))
    with pytest.raises(ValueError, match=r"y is torch\.int64, so it has classes; say how many"):
        with_weight(torch.tensor([1]), torch.ones(1))
    for y in ([0, 3], [-1, 2]):
        with pytest.raises(ValueError, match=rf"y has classes from {y[0]} to {y[1]}, and the 3 are from 0 to 2"):
            with_weight(torch.tensor(y), torch.ones(2), 3)
    ensemble = torchbp.SGD(mlp((4, 5, 2), 2), loss=RowWeighted(torchbp.nn.MSELoss(), divide_by="rows"))
    with pytest.raises(ValueError, match="needs as many rows of each member"):
        ensemble.fit(torch.rand(6, 4).double(), torch.rand(6, 3).double(), rows=[torch.arange(3), torch.arange(6)])
    optimizer = torchbp.SGD(torchbp.nn.MLP(4, 5, 2), loss=RowWeighted(torchbp.nn.MSELoss()))
    with pytest.raises(ValueError, match="the last column of the target is the weight of the row"):
        optimizer.backprop_step(torch.randn(6, 4), torch.randn(6, 5))
    with pytest.raises(ValueError, match=r"the target has the shape \(6, 2\)"):
        optimizer.backprop_step(torch.randn(6, 4), torch.randn(6, 2))
