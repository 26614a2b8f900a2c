"""torchbp.coverage: what of a step our formulas computed."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import torchbp


def test_a_network_of_torch_and_the_same_converted():
    net, x = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1)), torch.randn(5, 4)
    torchs, ours = torchbp.coverage(net, x), torchbp.coverage(torchbp.convert(copy.deepcopy(net)), x)
    assert (torchs.ours, ours.ours) == ({}, {"Linear": 2, "Tanh": 1})
    assert torchs.torchs == {"AddmmBackward0": 2, "TanhBackward0": 1, "SumBackward0": 1}
    assert ours.torchs == {"SumBackward0": 1}
    assert ours.parameters == torchs.parameters == {"0.weight": 12, "0.bias": 3, "2.weight": 3, "2.bias": 1}
    assert torchs.by_torch == {name: ["AddmmBackward0"] for name in ours.parameters}
    assert ours.by_torch == {}
    assert (ours.share_of_parameters, torchs.share_of_parameters) == (1, 0)
    # 2 numbers of rows × inputs × outputs of three products in the second layer, and of two in the first
    assert ours.flops == ours.flops_of_ours == torchs.flops == 2 * 5 * (2 * 4 * 3 + 3 * 3 * 1)
    assert torchs.flops_of_ours == 0


class Mixed(nn.Module):
    """Ours and torch's, side by side."""

    def __init__(self):
        super().__init__()
        self.ours = torchbp.convert(nn.Linear(4, 4))
        self.torchs = nn.Linear(4, 4, bias=False)
        self.both = nn.Parameter(torch.eye(4))  # in two products
        self.unused = nn.Parameter(torch.ones(2))
        self.frozen = nn.Parameter(torch.ones(4, 4), requires_grad=False)

    def forward(self, x):
        x = F.relu(self.torchs(self.ours(x)), inplace=True) @ self.frozen
        return torchbp.ops.linear(x, self.both.T) @ self.both


def test_each_parameter_has_the_operations_that_give_it_its_gradient():
    found = torchbp.coverage(Mixed(), torch.randn(2, 4))
    assert found.parameters == {"ours.weight": 16, "ours.bias": 4, "torchs.weight": 16, "both": 16}
    assert found.by_torch == {"torchs.weight": ["MmBackward0"], "both": ["MmBackward0"]}
    assert found.share_of_parameters == 20 / 52
    assert found.torchs == {"MmBackward0": 3, "ReluBackward0": 1, "SumBackward0": 1}
    assert found.share_of_operations == 2 / 7
    one = 2 * 2 * 4 * 4  # of a product; x needs no gradient, and neither does the frozen one
    assert (found.flops, found.flops_of_ours) == ((2 + 3 + 2 + 3 + 3) * one, (2 + 3) * one)
    lines = str(found).splitlines()
    assert lines[:4] == [
        "by torchbp's formulas:",
        "  operations  2 of 7 (28.6%)",
        "  parameters  20 of 52 numbers (38.5%)",
        f"  FLOPs       {5 * one:,} of {13 * one:,} (38.5%)",
    ]
    assert lines[4:] == [
        "by torch: MmBackward0 3, ReluBackward0 1, SumBackward0 1",
        "  gradient of both: MmBackward0",
        "  gradient of torchs.weight: MmBackward0",
    ]


def test_what_our_functions_leave_to_torch_is_torchs():
    net = nn.Sequential(torchbp.nn.Linear(4, 4), torchbp.nn.ReLU(inplace=True))
    assert torchbp.coverage(net, torch.randn(2, 4)).torchs == {"ReluBackward0": 1, "SumBackward0": 1}
    sparse = torch.eye(3).to_sparse()
    found = torchbp.coverage(Product(lambda x, w: torchbp.ops.matmul(sparse, w)), torch.randn(3, 3))
    assert (found.ours, found.flops_of_ours) == ({}, 0)
    assert list(found.by_torch) == ["w"]


class Product(nn.Module):
    def __init__(self, product):
        super().__init__()
        self.w, self.product = nn.Parameter(torch.ones(3, 3)), product

    def forward(self, x):
        return self.product(x, self.w)


def test_flops_are_those_that_torch_counts():
    net, x = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(27, 2)), torch.randn(2, 2, 5, 5)
    with FlopCounterMode(display=False) as counter:
        net(x).sum().backward()
    for model in (net, torchbp.convert(copy.deepcopy(net))):
        found = torchbp.coverage(model, x)
        assert found.flops == counter.get_total_flops() > 0
        assert found.share_of_flops == torchbp.is_converted(model[0])


def test_attention_has_flops_on_each_device(device):
    model = Product(lambda x, w: F.scaled_dot_product_attention(x, w.expand_as(x), x)).to(device)
    x = torch.randn(1, 1, 3, 3, device=device)
    torchs, ours = torchbp.coverage(model, x), torchbp.coverage(torchbp.convert(model, functional=True), x)
    assert torchs.flops > 0
    assert (torchs.share_of_flops, ours.share_of_flops) == (0, 1)


def test_the_model_is_as_before():
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout())
    net(torch.randn(4, 3)).sum().backward()
    state, gradients = copy.deepcopy(net.state_dict()), [p.grad.clone() for p in net.parameters()]
    x = torch.randn(4, 3)
    random = torch.get_rng_state()
    with torch.no_grad():  # it records a graph all the same
        assert torchbp.coverage(net, x).parameters
    torch.testing.assert_close(net.state_dict(), state, rtol=0, atol=0)
    torch.testing.assert_close([p.grad for p in net.parameters()], gradients, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), random)


def test_keywords_and_a_loss():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torchbp.nn.Linear(3, 2)

        def forward(self, x, *, scale):
            return {"logits": self.layer(x), "scale": scale}

    y = torch.tensor([0, 1])
    found = torchbp.coverage(
        Net(), torch.randn(2, 3), scale=2, loss=lambda out: torchbp.ops.cross_entropy(out["logits"], y)
    )
    assert (found.ours, found.torchs) == ({"Linear": 1, "CrossEntropy": 1}, {})
    assert found.share_of_operations == 1


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda z: z, r"the loss is of the shape \(4, 2\); give a loss that is one number"),
        (lambda z: 1.0, "the loss is a float; give a loss that is one number"),
        (lambda z: z.detach().sum(), "the loss depends on no parameter"),
    ],
)
def test_a_loss_that_cannot_be_differentiated(loss, message):
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(ValueError, match=message):
        torchbp.coverage(net, torch.randn(4, 3), loss=loss)
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)


def test_a_model_that_learns_nothing():
    with pytest.raises(ValueError, match="the loss depends on no parameter that requires a gradient"):
        torchbp.coverage(nn.Linear(3, 2).requires_grad_(False), torch.randn(4, 3, requires_grad=True))


def test_what_torch_does_not_count():
    found = torchbp.coverage(nn.LSTM(3, 2), torch.randn(4, 1, 3))
    assert "  FLOPs       0 of 0 (no operation that torch counts)" in str(found).splitlines()
    assert math.isnan(found.share_of_flops)
    assert found.share_of_parameters == 0
