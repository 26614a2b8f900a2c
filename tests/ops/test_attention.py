"""Attention: numbers from outside, keys that nobody sees, memory, errors; and multi-head attention beside torch's."""

import copy
import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import profile

import torchbp
from tests.graphs import nodes_of
from torchbp import ops
from torchbp.ops.attention import scaled_dot_product_attention as formulas


def draw(*shapes, dtype=torch.float64):
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


def test_the_mean_of_two_values_by_hand():
    """Scores ln 3 and 0: P = (3/4, 1/4), O = 3/4 · 8 + 1/4 · 4 = 7, and D = O for dO = 1."""
    q, k = torch.tensor([[1.0]], requires_grad=True), torch.tensor([[math.log(3)], [0.0]], requires_grad=True)
    v = torch.tensor([[8.0], [4.0]], requires_grad=True)
    o = ops.scaled_dot_product_attention(q, k, v)
    assert o.item() == pytest.approx(7)
    dq, dk, dv = torch.autograd.grad(o.sum(), (q, k, v))
    assert dv.flatten().tolist() == pytest.approx([3 / 4, 1 / 4])
    assert dk.flatten().tolist() == pytest.approx([3 / 4 * (8 - 7), 1 / 4 * (4 - 7)])  # q = 1: dK = dS
    assert dq.item() == pytest.approx(3 / 4 * math.log(3))


def test_numpy_gives_the_same():
    q, k, v = (t.detach().numpy() for t in draw((5, 4), (7, 4), (7, 3)))
    p = np.exp(0.3 * q @ k.T)
    expected = torch.tensor(p / p.sum(1, keepdims=True) @ v)
    leaves = [torch.tensor(t, requires_grad=True) for t in (q, k, v)]
    torch.testing.assert_close(ops.scaled_dot_product_attention(*leaves, scale=0.3).detach(), expected)


CASES = {
    "more rows than one block": (((1, 2, 300, 8), (1, 2, 600, 8), (1, 2, 600, 8)), {}),
    "causal": (((2, 300, 8), (2, 700, 8), (2, 700, 5)), {"is_causal": True}),
    "causal, more queries than keys": (((2, 700, 8), (2, 300, 8), (2, 300, 8)), {"is_causal": True}),
    "shared heads": (((1, 6, 40, 4), (1, 2, 512, 4), (1, 2, 512, 4)), {"enable_gqa": True, "is_causal": True}),
    "no dimension of heads": (((20, 4), (9, 4), (9, 4)), {}),
    "five dimensions": (((2, 3, 2, 9, 4), (2, 3, 2, 8, 4), (2, 3, 2, 8, 4)), {}),
}


@pytest.mark.parametrize(("shapes", "options"), CASES.values(), ids=CASES)
def test_rows_give_what_the_whole_matrix_gives(shapes, options, monkeypatch):
    """In blocks of some rows of several heads, with a small block, as for many rows with a large one."""
    monkeypatch.setattr("torchbp.ops.attention._rows.CACHED", 4096)
    leaves = draw(*shapes)
    found = with_gradients(ops.scaled_dot_product_attention, leaves, options)
    monkeypatch.setattr(formulas, "needs_whole_matrix", lambda: True)
    torch.testing.assert_close(found, with_gradients(ops.scaled_dot_product_attention, leaves, options))
    torch.testing.assert_close(found, with_gradients(F.scaled_dot_product_attention, leaves, options))


def with_gradients(function, leaves, options):
    o = function(*leaves, **options)
    return [o.detach(), *torch.autograd.grad(o.cos().sum(), leaves)]


@pytest.mark.parametrize("kind", ["boolean", "numbers"])
@pytest.mark.parametrize("dropout_p", [0.0, 0.4])
def test_a_row_that_sees_no_key_is_0_and_has_no_gradient(kind, dropout_p):
    leaves = draw((2, 2, 3, 4), (2, 2, 5, 4), (2, 2, 5, 4))
    mask = torch.tensor([[1, 1, 0, 1, 0], [0, 0, 0, 0, 0], [0, 1, 1, 0, 0]], dtype=torch.bool)
    if kind == "numbers":
        mask = torch.zeros(3, 5, dtype=torch.float64).masked_fill(~mask, -math.inf).requires_grad_()
        leaves.append(mask)
    o = ops.scaled_dot_product_attention(*leaves[:3], mask, dropout_p)
    assert o[..., 1, :].eq(0).all()
    assert o[..., 0, :].ne(0).any()
    gradients = torch.autograd.grad(o.sum(), leaves)
    assert all(g.isfinite().all() for g in gradients)
    assert gradients[0][..., 1, :].eq(0).all()


def test_large_scores_cancel_in_the_gradient():
    """All keys have the coordinate 10⁴: dQ has the factor Σ_j dS = 0 for it. It is as exact as P sums to 1."""
    torch.manual_seed(0)
    q, k, v = draw((2, 8, 4), (2, 8, 4), (2, 8, 4))
    with torch.no_grad():
        k[..., 0] = 1e4
    exact = with_gradients(ops.scaled_dot_product_attention, (q, k, v), {})
    inexact = [t.detach().float().requires_grad_() for t in (q, k, v)]
    errors = {}
    for function in (ops.scaled_dot_product_attention, F.scaled_dot_product_attention):
        dq = with_gradients(function, inexact, {})[1]
        errors[function] = (dq - exact[1]).abs().max().item()
    assert errors[ops.scaled_dot_product_attention] <= 2 * errors[F.scaled_dot_product_attention] < 0.01


def peak(function):
    """The most memory that is held at once while it runs, beyond what there was."""
    with profile(profile_memory=True) as profiled:
        function()
    held = most = 0
    events = [e for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]"]
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"dropout_p": 0.1}], ids=str)
def test_peak_of_memory(options):
    leaves = draw(*[(2, 12, 512, 64)] * 3, dtype=torch.float32)
    ours, torchs = (
        peak(lambda f=f: torch.autograd.grad(f(*leaves, **options).sum(), leaves))
        for f in (ops.scaled_dot_product_attention, F.scaled_dot_product_attention)
    )
    matrix = 4 * 24 * 512 * 512  # bytes
    if "dropout_p" in options:  # what is kept is one byte for each element of P
        assert ours < matrix < torchs
    else:
        assert ours <= 1.1 * torchs < matrix


@pytest.mark.usefixtures("fresh_compiler")
def test_a_compiled_program_has_no_whole_matrix():
    mask = (torch.rand(1024, 1024) < 0.5).index_fill(0, torch.tensor([3]), False)
    leaves = draw(*[(2, 1024, 8)] * 3, dtype=torch.float32)

    def step(function):
        o = function(*leaves, attn_mask=mask)
        return [o, *torch.autograd.grad(o.cos().sum(), leaves)]

    compiled = torch.compile(ops.scaled_dot_product_attention, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(step(compiled), step(ops.scaled_dot_product_attention), rtol=1e-4, atol=1e-5)
    of_mask, matrix = 4 * 1024 * 1024, 2 * 4 * 1024 * 1024  # bytes: the mask as numbers, as of torch; S of two heads
    assert peak(lambda: step(compiled)) < 2 * of_mask + matrix


@pytest.mark.usefixtures("fresh_compiler")
def test_a_transform_in_a_compiled_program():
    def gradient(q, k, v):
        return torch.func.grad(lambda q: ops.scaled_dot_product_attention(q, k, v).square().sum())(q)

    leaves = [t.detach() for t in draw((3, 2, 5, 4), (3, 2, 5, 4), (3, 2, 5, 4))]
    compiled = torch.compile(torch.vmap(gradient), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*leaves), torch.vmap(gradient)(*leaves))


Q, K = torch.zeros(2, 3, 4), torch.zeros(2, 5, 4)
ERRORS = {
    "size": ((Q, torch.zeros(2, 5, 3), K), {}, r"query \[2, 3, 4\], key \[2, 5, 3\].* 4 and 3"),
    "length": ((Q, K, torch.zeros(2, 6, 4)), {}, "keys and values differ, 5 and 6"),
    "dtype": ((Q, K.double(), K), {}, "key torch.float64"),
    "dimensions": ((Q[0, 0], K, K), {}, r"query \[4\].*two dimensions"),
    "batch": ((Q, K[:1].expand(3, 5, 4), K), {}, "leading dimensions"),
    "heads": ((torch.zeros(3, 3, 4), K, K), {"enable_gqa": True}, "heads of key and value must divide the 3"),
    "mask": ((Q, K, K, torch.zeros(4, 5)), {}, r"attn_mask \[4, 5\].*\[2, 3, 5\]"),
    "mask of integers": ((Q, K, K, torch.zeros(3, 5).long()), {}, "attn_mask is torch.int64"),
    "dropout": ((Q, K, K), {"dropout_p": 1.5}, "dropout_p=1.5"),
}


@pytest.mark.parametrize(("arguments", "options", "message"), ERRORS.values(), ids=ERRORS)
def test_errors_are_torchs_and_name_the_argument(arguments, options, message):
    with pytest.raises(RuntimeError):
        F.scaled_dot_product_attention(*arguments, **options)
    with pytest.raises(RuntimeError, match=message):
        ops.scaled_dot_product_attention(*arguments, **options)


# multi-head attention

SETTINGS = {
    "plain": {},
    "other sizes": {"kdim": 3, "vdim": 5},
    "one more key": {"add_bias_kv": True, "add_zero_attn": True},
    "no bias": {"bias": False},
    "dropout": {"dropout": 0.3},
}


def pair(**settings):
    modules = []
    for package in (torchbp.nn, nn):
        torch.manual_seed(0)
        modules.append(package.MultiheadAttention(8, 2, dtype=torch.float64, **settings))
    return modules


def assert_alike(modules, inputs, **options):
    results = []
    for module in modules:
        torch.manual_seed(1)  # of dropout
        z, weights = module(*inputs, **options)
        loss = z.cos().sum() + (0 if weights is None else weights.square().sum())
        learnt = [t for t in (*module.parameters(), *inputs) if t.requires_grad]
        results.append([z, weights, *torch.autograd.grad(loss, learnt, allow_unused=True)])
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("need_weights", [True, False])
def test_multi_head_attention_is_torchs(settings, need_weights):
    padding = torch.zeros(2, 6, dtype=torch.bool)
    padding[0, 4:] = True
    causal = torch.ones(5, 6, dtype=torch.bool).triu(1)
    numbers = torch.randn(4, 5, 6, dtype=torch.float64)
    for batch_first in (True, False):
        modules = pair(batch_first=batch_first, **settings)
        for ours, torchs in zip(modules[0].state_dict().items(), modules[1].state_dict().items(), strict=True):
            assert ours[0] == torchs[0]
            assert torch.equal(ours[1], torchs[1])
        inputs = draw((2, 5, 8), (2, 6, settings.get("kdim", 8)), (2, 6, settings.get("vdim", 8)))
        if not batch_first:
            inputs = [t.detach().transpose(0, 1).requires_grad_() for t in inputs]
        for masks in ({}, {"attn_mask": causal, "key_padding_mask": padding}, {"attn_mask": numbers}):
            assert_alike(modules, inputs, need_weights=need_weights, **masks)
        assert_alike(modules, inputs, need_weights=need_weights, average_attn_weights=False)
        alone = [t.detach().select(0 if batch_first else 1, 0) for t in inputs]
        assert_alike(modules, alone, need_weights=need_weights, key_padding_mask=padding[0])


@pytest.mark.parametrize("need_weights", [True, False])
def test_of_one_tensor(need_weights):
    """Self-attention and keys that are the values have their projections in one product."""
    (x,), (y,) = draw((5, 2, 8)), draw((7, 2, 8))
    modules, causal = pair(), nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64)
    for module in modules:
        module(x, x, x)
    assert_alike(modules, (x, x, x)[:1] * 3, need_weights=need_weights, attn_mask=causal, is_causal=True)
    assert_alike(modules, (x, y, y)[:3], need_weights=need_weights)


def test_without_gradients_torchs_kernel_runs(monkeypatch):
    ran = []
    monkeypatch.setattr(torch, "_native_multi_head_attention", lambda *args: ran.append(args) or (args[0], None))
    attention = torchbp.convert(nn.MultiheadAttention(8, 2, batch_first=True).eval())
    x = torch.randn(2, 3, 8)
    attention(x, x, x)
    assert not ran
    with torch.no_grad():
        attention(x, x, x)
    assert ran


def test_weights_come_from_our_formulas():
    attention, x = torchbp.convert(nn.MultiheadAttention(8, 2)), torch.randn(3, 2, 8)
    assert type(attention) is nn.MultiheadAttention
    for need_weights in (True, False):
        z, _ = attention(x, x, x, need_weights=need_weights)
        names = {node.name() for node in nodes_of(z)}
        assert not names & {"AddmmBackward0", "BmmBackward0", "BaddbmmBackward0", "SoftmaxBackward0"}
        assert ("ScaledDotProductAttentionBackward" in names) is not need_weights
        assert "LinearBackward" in names


@pytest.mark.parametrize("decoder", [False, True])
def test_transformer_layers_train_as_before(decoder):
    torch.manual_seed(0)
    cls = nn.TransformerDecoderLayer if decoder else nn.TransformerEncoderLayer
    model = cls(8, 2, dim_feedforward=12, dropout=0.2, batch_first=True, dtype=torch.float64)
    converted, inputs = torchbp.convert(copy.deepcopy(model)), draw(*[(2, 5, 8)] * (2 if decoder else 1))
    causal = nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64)
    mask = {"tgt_mask" if decoder else "src_mask": causal, "tgt_is_causal" if decoder else "is_causal": True}
    for train in (True, False):
        results = []
        for net in (converted.train(train), model.train(train)):
            torch.manual_seed(1)
            out = net(*inputs, **mask)
            results.append([out, *torch.autograd.grad(out.cos().sum(), [*net.parameters(), *inputs])])
        torch.testing.assert_close(*results)
        with torch.no_grad():
            torch.manual_seed(1)
            expected = model(*inputs, **mask)
            torch.manual_seed(1)
            torch.testing.assert_close(converted(*inputs, **mask), expected)


X = torch.zeros(3, 2, 8)
MHA_ERRORS = {
    "dimensions": ((X, X[0], X), {}, AssertionError, r"query \[3, 2, 8\], key \[2, 8\]"),
    "features": ((X[..., :6], X, X), {}, AssertionError, r"query \[3, 2, 6\].*embed_dim=8"),
    "length": ((X, X, X[:2]), {}, AssertionError, "key and value must be of the same length"),
    "mask": ((X, X, X), {"attn_mask": torch.zeros(3, 4)}, RuntimeError, r"attn_mask \[3, 4\] must be \[3, 3\]"),
    "3-D mask": ((X, X, X), {"attn_mask": torch.zeros(3, 3, 3)}, RuntimeError, r"must be \[4, 3, 3\]"),
    "integers": ((X, X, X), {"attn_mask": torch.zeros(3, 3).long()}, AssertionError, "attn_mask is torch.int64"),
    "padding": ((X, X, X), {"key_padding_mask": torch.zeros(2, 4)}, AssertionError, r"\[2, 4\] must be \[2, 3\]"),
    "causal": ((X, X, X), {"is_causal": True}, RuntimeError, "is_causal=True"),
}


@pytest.mark.parametrize(("arguments", "options", "error", "message"), MHA_ERRORS.values(), ids=MHA_ERRORS)
def test_errors_of_multi_head_attention(arguments, options, error, message):
    ours, torchs = (package.MultiheadAttention(8, 2) for package in (torchbp.nn, nn))
    with pytest.raises(error):
        torchs(*arguments, **options)
    with pytest.raises(error, match=message):
        ours(*arguments, **options)


def test_two_masks_of_two_dtypes_warn():
    masks = {"attn_mask": torch.zeros(3, 3), "key_padding_mask": torch.zeros(2, 3, dtype=torch.bool)}
    with pytest.warns(UserWarning, match=re.escape("key_padding_mask is torch.bool and attn_mask torch.float32")):
        torchbp.nn.MultiheadAttention(8, 2)(X, X, X, **masks)


def by_mathematics(*args, **kwargs):
    with sdpa_kernel(SDPBackend.MATH):
        return F.scaled_dot_product_attention(*args, **kwargs)


@pytest.mark.parametrize("leading", [(), (2,), (2, 3)], ids=str)
def test_scores_of_nothing_are_equal(leading):
    """With E = 0 each row of O is the mean of V."""
    shapes = (*leading, 4, 0), (*leading, 5, 0), (*leading, 5, 3)
    leaves = [torch.randn(shape, requires_grad=True) for shape in shapes]
    out = ops.scaled_dot_product_attention(*leaves)
    torch.testing.assert_close(out, leaves[2].mean(-2, keepdim=True).expand_as(out))
    out.sum().backward()
    torch.testing.assert_close(leaves[2].grad, torch.full_like(leaves[2], 4 / 5))


@pytest.mark.parametrize("leading", [(), (2,), (2, 3)], ids=str)
def test_numbers_that_a_kernel_gets_wrong(leading):
    """torch's kernel makes numbers of a query that is nan, and nan of later keys times a scale that is not positive."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(*leading, 5, 4, requires_grad=True) for _ in range(3))
    for scale in (-0.5, 0.0):
        found = ops.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)
        torch.testing.assert_close(found, by_mathematics(q, k, v, is_causal=True, scale=scale))
    with torch.no_grad():
        q[..., 1, 0] = math.nan
    found = ops.scaled_dot_product_attention(q, k, v)
    assert found[..., 1, :].isnan().all()
    torch.testing.assert_close(found, by_mathematics(q, k, v), equal_nan=True)
