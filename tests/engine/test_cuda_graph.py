"""CUDA graphs: the same trajectory as the steps one by one."""

import copy

import pytest
import torch

import torchbp
from tests.networks import rows
from torchbp.engine import recently_used
from torchbp.engine.optimizers import cuda_graph
from torchbp.engine.optimizers.optimizer import EngineOptimizer


def trained(model, x, y, optimizer=torchbp.SGD, **options):
    """The losses of steps on the batches, with a learning rate that changes on the way."""
    model = copy.deepcopy(model)
    optimizer = optimizer(model, **options)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    losses = []
    for start in (0, 2, 4):
        losses.append(optimizer.backprop_steps(x[start : start + 2], y[start : start + 2]))
        schedule.step()
    return torch.cat(losses), model.state_dict()


@pytest.fixture
def captures(monkeypatch):
    """The functions that were captured, and what makes every optimizer capture. It is everything but the capture
    itself, which needs a GPU: a graph here is a function that is called once more."""
    recorded = []

    def record(function, written, pool):
        before = [t.clone() for t in written]
        result = function().clone()
        for tensor, value in zip(written, before, strict=True):
            tensor.copy_(value)
        recorded.append(function)
        return lambda: result.copy_(function()), result

    init = EngineOptimizer._prepare

    def prepare(self):
        init(self)
        self.captured = cuda_graph.CapturedStep(self._run, self.network, self.loss)

    def start_capturing():
        monkeypatch.setattr(cuda_graph, "record", record)
        monkeypatch.setattr(EngineOptimizer, "_prepare", prepare)

    return recorded, start_capturing


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 0.3},
        {"lr": 0.3, "momentum": 0.9, "dampening": 0.2, "weight_decay": 0.1},
        {"lr": [0.1, 0.2, 0.3], "momentum": [0.9, 0.5, 0.0], "nesterov": False},
        {"optimizer": torchbp.AdamW, "lr": 0.3},
        {"optimizer": torchbp.Adam, "lr": [0.1, 0.2, 0.3], "betas": (0.5, [0.9, 0.8, 0.7]), "weight_decay": 0.1},
    ],
    ids=str,
)
def test_a_captured_step_reads_what_changes(options, captures, monkeypatch):
    torch.manual_seed(0)
    options, members = dict(options), 3 if isinstance(options["lr"], list) else None
    model = torchbp.nn.MLP(3, 4, 2, members=members, dtype=torch.double)
    x, y = rows(6, 8)
    recorded, start_capturing = captures
    expected = trained(model, x, y, **options)
    start_capturing()
    torch.testing.assert_close(trained(model, x, y, **options), expected, rtol=1e-12, atol=1e-13)
    assert len(recorded) == 1

    # a graph for each number of rows and for each weight of the loss, of which the last ones used are kept
    monkeypatch.setattr(recently_used, "LARGEST", 2)
    other, loss = copy.deepcopy(model), torchbp.nn.BCEWithLogitsLoss(pos_weight=torch.ones(2, dtype=torch.double))
    optimizer = options.pop("optimizer", torchbp.SGD)
    optimizers = [optimizer(net, **options, loss=copy.deepcopy(loss)) for net in (model, other)]
    optimizers[1].captured = None
    for optimizer in optimizers:
        for size in (8, 3, 8, 5, 8, 3):
            optimizer.backprop_step(x[0, :size], y[0, :size])
        optimizer.loss.pos_weight = torch.tensor([2.0, 0.5], dtype=torch.double)
        optimizer.backprop_step(x[0, :3], y[0, :3])
    torch.testing.assert_close(model.state_dict(), other.state_dict(), rtol=1e-12, atol=1e-13)
    assert len(optimizers[0].captured.graphs) == 2
    assert len(recorded) == 6


def test_the_steps_before_a_capture_leave_running_statistics_alone(captures):
    torch.manual_seed(0)
    layers = [torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Tanh(), torch.nn.Linear(4, 2)]
    model, (x, y) = torch.nn.Sequential(*layers).double(), rows(6, 8)
    recorded, start_capturing = captures
    expected = trained(model, x, y, lr=0.3)
    start_capturing()
    torch.testing.assert_close(trained(model, x, y, lr=0.3), expected, rtol=1e-12, atol=1e-13)
    assert len(recorded) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="a CUDA graph needs a GPU")
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_cuda_graph_takes_the_same_steps(momentum):
    torch.manual_seed(0)
    model = torchbp.nn.MLP(3, 4, 2, dtype=torch.double, device="cuda")
    x, y = (t.cuda() for t in rows(6, 8))
    options = {"lr": 0.3, "momentum": momentum}
    torch.testing.assert_close(
        trained(model, x, y, **options, capture=True), trained(model, x, y, **options), rtol=1e-12, atol=1e-12
    )
