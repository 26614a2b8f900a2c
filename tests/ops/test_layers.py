"""Embedding and dropout: what has random numbers, options, and integers beside numbers."""

import pytest
import torch
import torch.nn.functional as F

import torchbp
from tests.inputs.layers import with_cosines
from torchbp import ops

DROPOUTS = [
    ("dropout", (1000,)),
    ("dropout1d", (7, 5, 4)),
    ("dropout1d", (7, 5)),
    ("dropout2d", (6, 5, 2, 2)),
    ("dropout3d", (6, 5, 1, 2, 2)),
]


@pytest.mark.parametrize(("name", "shape"), DROPOUTS)
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_dropout_has_torchs_mask_for_the_same_seed(name, shape, p, dtype):
    x, results = torch.randn(shape, dtype=dtype), []
    for package in (ops, F):
        torch.manual_seed(1)
        leaf = x.clone().requires_grad_()
        z = getattr(package, name)(leaf, p)
        results.append(
            [z, *torch.autograd.grad(z, leaf, torch.ones_like(z)), torch.rand(3)]
        )  # the stream goes on alike
    torch.testing.assert_close(*results, rtol=0, atol=0)
    if name == "dropout" and p == 0.3:
        assert 0.6 < (results[0][0] != 0).double().mean() < 0.8


def test_dropout_that_does_nothing_or_overwrites():
    x = torch.randn(4)
    assert ops.dropout(x, 0.5, training=False) is x
    assert ops.dropout(x, 0.0) is x
    z = x.clone()
    torch.manual_seed(0)
    assert ops.dropout(z, 0.5, inplace=True) is z
    torch.manual_seed(0)
    assert torch.equal(z, ops.dropout(x, 0.5))
    for p in (-0.1, 1.5):
        with pytest.raises(ValueError, match="dropout probability has to be between 0 and 1"):
            ops.dropout(x, p)
    with pytest.raises(RuntimeError, match="Expected 2D or 3D input"):
        ops.dropout1d(x)


OPTIONS = [
    {},
    {"padding_idx": 1},
    {"padding_idx": -2},
    {"scale_grad_by_freq": True},
    {"scale_grad_by_freq": True, "padding_idx": 4},
    {"max_norm": 1.0},
    {"max_norm": 0.5, "norm_type": 1.0},
    {"sparse": True},
    {"sparse": True, "padding_idx": 1},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("integer", [torch.int32, torch.int64])
def test_embedding_has_torchs_gradient(options, integer):
    i, table = torch.tensor([[1, 4, 4], [3, 1, 4]], dtype=integer), torch.randn(5, 3).double()
    dz, results = torch.randn(2, 3, 3).double(), []
    for function in (ops.embedding, F.embedding):
        weight = table.clone().requires_grad_()
        z = function(i, weight, **options)
        (dweight,) = torch.autograd.grad(z, weight, dz)
        assert dweight.is_sparse == options.get("sparse", False)
        results.append([z.detach(), dweight.to_dense(), weight.detach()])
    torch.testing.assert_close(*results)


def test_embedding_sums_half_precision_in_float32():
    """1 added 1000 times: in bfloat16 the sum stays at 256."""
    weight = torch.zeros(2, 1, dtype=torch.bfloat16, requires_grad=True)
    ops.embedding(torch.zeros(1000, dtype=torch.long), weight).sum().backward()
    assert weight.grad[0].item() == 1000


def test_what_embedding_refuses():
    weight, i = torch.randn(5, 3, requires_grad=True), torch.tensor([0])
    for wrong in (5, -1):
        message = rf"input \(2,\) has indices from {min(wrong, 0)} to {max(wrong, 0)}, which are out of .* \(5, 3\)"
        with pytest.raises(IndexError, match=message):
            ops.embedding(torch.tensor([0, wrong]), weight)
    for padding_idx in (5, -6):
        with pytest.raises(AssertionError, match=f"padding_idx={padding_idx} is not in"):
            ops.embedding(i, weight, padding_idx)
    with pytest.raises(RuntimeError, match="scale_grad_by_freq"):
        ops.embedding(i, weight, sparse=True, scale_grad_by_freq=True)
    with pytest.raises(RuntimeError, match=r"weight has the shape \(5,\)"):
        ops.embedding(i, torch.randn(5))
    with pytest.raises(RuntimeError, match=r"'indices' to have one of the following .* got torch.FloatTensor instead"):
        ops.embedding(torch.tensor([0.5]), weight)
    for option, words in (
        ({"sparse": True}, "its gradient is sparse"),
        ({"max_norm": 1.0}, "its max_norm is not None"),
    ):
        net = torch.nn.Sequential(torch.nn.Embedding(5, 3, **option), torch.nn.Linear(3, 1))
        with pytest.raises(TypeError, match=words):
            torchbp.backprop(net, i, torch.ones(1, 1), torch.nn.MSELoss())


@pytest.mark.parametrize("options", [{}, {"padding_idx": 1}, {"scale_grad_by_freq": True}], ids=str)
def test_the_engine_runs_embeddings_and_dropout_of_channels(options):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Embedding(5, 3, **options), torch.nn.Dropout1d(0.4), torch.nn.Linear(3, 2))
    i, y, loss = torch.tensor([[1, 4], [4, 0], [1, 1]]), torch.randn(3, 2, 2), torch.nn.MSELoss()
    torch.manual_seed(1)
    loss(net(i), y).backward()
    expected = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    torch.manual_seed(1)
    torchbp.backprop(net, i, y, loss)
    torch.testing.assert_close([p.grad for p in net.parameters()], expected)


@pytest.mark.parametrize(
    "shapes", [((3,), (3, 2)), ((0, 3), (2, 2)), ((1, 3), (3, 1)), ((4, 3), (0, 2)), ((4, 3), (2, 0))]
)
def test_periodic_embedding_of_few_numbers(shapes):
    x, weight, bias = (torch.randn(shape, dtype=torch.double, requires_grad=True) for shape in (*shapes, shapes[1]))
    results = []
    for function in (ops.periodic_embedding, with_cosines):
        z = function(x, weight, bias)
        results.append([z, *torch.autograd.grad(z.square().sum(), (x, weight, bias), materialize_grads=True)])
    torch.testing.assert_close(*results)


def test_periodic_embedding_refuses_shapes_that_do_not_fit():
    x = torch.randn(4, 3)
    for weight, bias in [((3, 2), (3, 1)), ((4, 2), (4, 2)), ((3,), (3,))]:
        with pytest.raises(RuntimeError, match=r"have the shapes \(4, 3\), .*; give \(…, in_features\)"):
            ops.periodic_embedding(x, torch.ones(weight), torch.ones(bias))
    with pytest.raises(RuntimeError, match=r"give \(N, in_features\), or \(2, N, in_features\)"):
        ops.periodic_embedding(torch.randn(5, 4, 3), torch.ones(2, 3, 1), torch.ones(2, 3, 1))
