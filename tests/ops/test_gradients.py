"""Every formula of the table against numerical differences, once, twice and forward, for every requires_grad subset."""

import pytest
import torch
from torch.autograd import forward_ad, gradcheck, gradgradcheck

from tests.cases import CASES, marked, subsets, that_require, typical, with_gradients

# sums of products of about ten: a few last bits of them, which each kernel rounds in its own way
SINGLE, DOUBLE = {"rtol": 1e-5, "atol": 1e-4}, {"rtol": 1e-9, "atol": 1e-9}
TOLERANCE = {torch.float32: SINGLE, torch.complex64: SINGLE, torch.float64: DOUBLE, torch.complex128: DOUBLE}


CONTIGUOUS = [case for case in CASES if case.layout == "contiguous"]
TYPICAL = typical(case for case in CASES if case.is_plain)


def each_subset(case, device, chosen):
    """Our function of the leaves of each of these requires_grad subsets, the other leaves fixed; and how gradcheck
    looks at it: element by element where all leaves are together, and in random directions where some are fixed."""
    ours, _ = case.calls(device)
    leaves = case.leaves(device)
    if not ours(*leaves).isfinite().all():
        pytest.skip("the mean of an empty batch is nan, as in torch")
    for subset in chosen:

        def function(*chosen, subset=subset):
            arguments = list(leaves)
            for i, leaf in zip(subset, chosen, strict=True):
                arguments[i] = leaf
            return ours(*arguments)

        wanted = tuple(leaves[i].clone().requires_grad_() for i in subset)
        yield function, wanted, {"fast_mode": len(subset) < len(case.differentiable), "check_batched_grad": True}


@pytest.mark.parametrize("case", marked(CASES, lambda case: case.layout != "contiguous"))
def test_gradcheck(case, device):
    """In the other layouts, and with other options, all leaves together: `test_equals_torch` has their numbers."""
    chosen = subsets(case.differentiable)
    for function, leaves, how in each_subset(case, device, chosen if case.is_plain else chosen[-1:]):
        assert gradcheck(function, leaves, check_forward_ad=True, check_batched_forward_grad=True, **how)


@pytest.mark.parametrize("case", marked(CONTIGUOUS, lambda case: case not in TYPICAL))
def test_gradgradcheck(case, device):
    """All leaves together; with the first options each alone, too. In other shapes and layouts, and with other options,
    the second gradient is torch's: see `test_equals_torch`."""
    alone = [(i,) for i in case.differentiable] if case.is_plain else []
    for function, leaves, how in each_subset(case, device, {*alone, tuple(case.differentiable)}):
        assert gradgradcheck(function, leaves, check_fwd_over_rev=True, **how)


FIRST = list({case.operation.name: case for case in reversed(CASES) if 0 not in case.shapes[0]}.values())[::-1]


@pytest.mark.parametrize("case", FIRST, ids=str)
def test_forward_over_reverse_is_double_backward(case, device):
    """The tangent of the gradients, H t, once by dual numbers through a backward that records no graph."""
    ours, _ = case.calls(device)
    leaves = case.leaves(device, requires_grad=True)
    wanted = that_require(leaves)
    tangents = [torch.randn_like(leaf) for leaf in wanted]
    incoming = torch.randn_like(ours(*leaves))
    gradients = torch.autograd.grad(ours(*leaves), wanted, incoming, create_graph=True)
    loss, expected = sum((g * t).sum() for g, t in zip(gradients, tangents, strict=True)), [None] * len(wanted)
    if loss.requires_grad:
        expected = torch.autograd.grad(loss, wanted, allow_unused=True)
    with forward_ad.dual_level():
        duals, given = list(leaves), iter(tangents)
        for i, leaf in enumerate(leaves):
            duals[i] = forward_ad.make_dual(leaf, next(given)) if leaf.requires_grad else leaf
        found = torch.autograd.grad(ours(*duals), wanted, incoming)
        found = [forward_ad.unpack_dual(g).tangent for g in found]
    for got, value, leaf in zip(found, expected, wanted, strict=True):
        got, value = (torch.zeros_like(leaf) if t is None else t for t in (got, value))
        torch.testing.assert_close(got, value, **DOUBLE)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_torch(case, device):
    for dtype in (torch.float32, torch.float64):
        ours, torchs = case.calls(device, dtype)
        leaves = case.leaves(device, dtype)
        results = []
        for function in (ours, torchs):
            inputs = with_gradients([leaf.clone() for leaf in leaves])
            output = function(*inputs)
            wanted = that_require(inputs)
            incoming = torch.linspace(-1, 2, output.numel(), dtype=dtype, device=device).view(output.shape)
            first = torch.autograd.grad(output, wanted, incoming, create_graph=True)
            loss = sum((g * (1 + g)).sum() for g in first)
            second = []
            if loss.requires_grad:  # it does not where the operation is linear in all its arguments
                second = torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)
            results.append((output, *first, *second))
        for got, expected in zip(*results, strict=False):  # of torch's, some zeros more
            torch.testing.assert_close(got, expected, equal_nan=True, **TOLERANCE[dtype])


@pytest.mark.parametrize("case", [case for case in CASES if case.operation.complex], ids=str)
def test_complex_equals_torch(case, device):
    for dtype in (torch.complex64, torch.complex128):
        ours, torchs = case.calls(device, dtype)
        leaves = [torch.complex(leaf, torch.randn_like(leaf)).to(dtype) for leaf in case.leaves(device)]
        results = []
        for function in (ours, torchs):
            inputs = [leaf.clone().requires_grad_() for leaf in leaves]
            output = function(*inputs)
            incoming = torch.full_like(output, 0.5 - 2j if output.is_complex() else 0.5)
            results.append((output, *torch.autograd.grad(output, inputs, incoming)))
        torch.testing.assert_close(results[0], results[1], equal_nan=True, **TOLERANCE[dtype])
