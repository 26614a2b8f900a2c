"""Programs around our layers: published architectures, low-rank adapters, two processes."""

import copy

import pytest
import rtdl_revisiting_models as rtdl
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

import torchbp


def transformer():
    layer = nn.TransformerEncoderLayer(16, 4, dim_feedforward=32, dropout=0.1, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    return nn.Sequential(nn.Unflatten(1, (8, 1)), nn.Linear(1, 16), encoder, nn.Flatten(), nn.Linear(128, 1))


def ft_transformer():
    settings = rtdl.FTTransformer.get_default_kwargs(1) | {"d_out": 1, "n_cont_features": 8, "cat_cardinalities": []}
    model = rtdl.FTTransformer(**settings)

    class OfNumbers(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x):
            return self.model(x, None)

    return OfNumbers()


MODELS = {
    "torch.nn.TransformerEncoder": transformer,
    "rtdl MLP": lambda: rtdl.MLP(d_in=8, d_out=1, n_blocks=3, d_block=32, dropout=0.1),
    "rtdl ResNet": lambda: rtdl.ResNet(
        d_in=8, d_out=1, n_blocks=2, d_block=16, d_hidden=None, d_hidden_multiplier=2.0, dropout1=0.1, dropout2=0.1
    ),
    "rtdl FT-Transformer": ft_transformer,
}


def train(model, x, y, steps=20):
    loss_function = torchbp.convert(nn.BCEWithLogitsLoss()) if is_ours(model) else nn.BCEWithLogitsLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    torch.manual_seed(2)  # of dropout
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_function(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def is_ours(model):
    return any(torchbp.is_converted(module) for module in model.modules())


@pytest.mark.parametrize("name", MODELS)
def test_published_architecture_trains_as_before(name, device):
    torch.manual_seed(0)
    model = MODELS[name]().to(device)
    reports = []
    converted = torchbp.convert(copy.deepcopy(model), report=reports.append)
    assert len(reports[0].swapped) >= 4
    x, y = torch.randn(32, 8, device=device), torch.rand(32, 1, device=device).round()
    before, after = train(model, x, y), train(converted, x, y)
    assert before[-1] < before[0]
    assert after == pytest.approx(before, rel=1e-4)
    converted.eval()
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(converted(x), model(x), rtol=1e-3, atol=1e-3)


class LowRank(nn.Module):
    """What low-rank adapters do: find every nn.Linear, freeze it, and add a product of two thin matrices."""

    def __init__(self, layer, rank=2):
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(rank, layer.in_features))
        self.up = nn.Parameter(torch.randn(layer.out_features, rank))

    def forward(self, x):
        return self.layer(x) + nn.functional.linear(nn.functional.linear(x, self.down), self.up)


def test_low_rank_adapters_find_our_layers():
    torch.manual_seed(0)
    gradients = []
    torchs = nn.Sequential(nn.Linear(5, 4), nn.Sigmoid(), nn.Linear(4, 1))
    for model in (torchs, torchbp.convert(copy.deepcopy(torchs))):
        torch.manual_seed(1)
        for name, module in list(model.named_children()):
            if isinstance(module, nn.Linear):
                setattr(model, name, LowRank(module))
        model(torch.randn(6, 5)).sum().backward()
        assert all((p.grad is not None) == p.requires_grad for p in model.parameters())
        gradients.append([p.grad for p in model.parameters() if p.requires_grad])
    assert len(gradients[0]) == 4
    torch.testing.assert_close(*gradients)


def worker(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    try:
        for wrapping in ("ddp", "fsdp2"):
            trains_as_one(rank, wrapping)
        dist.barrier()
    finally:
        dist.destroy_process_group()


def trains_as_one(rank, wrapping):
    torch.manual_seed(0)
    model = torchbp.nn.MLP(5, 8, 4, 1, dtype=torch.float64)
    x, y = torch.randn(8, 5, dtype=torch.float64), torch.rand(8, 1, dtype=torch.float64)
    alone = copy.deepcopy(model)
    if wrapping == "ddp":
        model = nn.parallel.DistributedDataParallel(model)
    else:
        for layer in (model[0], model[2], model[4], model):
            fully_shard(layer)
    for net, rows in ((model, slice(4 * rank, 4 * rank + 4)), (alone, slice(None))):
        optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
        for _ in range(5):
            optimizer.zero_grad()
            torchbp.nn.BCEWithLogitsLoss()(net(x[rows]), y[rows]).backward()
            optimizer.step()
    for a, b in zip(model.parameters(), alone.parameters(), strict=True):
        if wrapping == "fsdp2":
            assert isinstance(a, DTensor)
            a = a.full_tensor()
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12, msg=lambda m: f"{wrapping}: {m}")


def test_two_processes_train_as_one_with_ddp_and_fsdp2(tmp_path, processes):
    mp.start_processes(worker, (str(tmp_path),), nprocs=2, start_method=processes.get_start_method())
