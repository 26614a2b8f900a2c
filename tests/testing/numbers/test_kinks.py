"""Kinks, jumps and ties: where the numerical derivatives of a function say nothing, or little."""

import pytest
import torch
from torch import nn
from torch.autograd import Function

from tests.testing.corpus.entry import draw
from tests.testing.numbers.scaled import statuses


def half_zeros(*shape):
    return torch.relu(draw(*shape)).detach().requires_grad_()


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        (torch.relu, half_zeros(10, 7)),
        pytest.param(torch.abs, half_zeros(10, 7), marks=pytest.mark.exhaustive),
        (nn.functional.hardtanh, torch.arange(-40.0, 40.0).div(10).round().requires_grad_()),
        (nn.MaxPool2d(2), torch.zeros(1, 1, 20, 20, requires_grad=True)),
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2)), half_zeros(2, 1, 12, 12)),
    ],
    ids=["relu", "abs", "hardtanh", "max_pool", "convolutions"],
)
def test_kinks_under_projections_accuse_nobody(function, inputs):
    """The sizes are swept of the pooling alone: 1025 columns of kinks take seconds."""
    failed, text = statuses(function, inputs, skip=() if isinstance(function, nn.MaxPool2d) else ("shapes",))
    assert not failed, text


def test_a_wrong_sign_among_kinks_is_found():
    class Absolute(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.abs().sum()

        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            sign = x.sign()
            sign[3] = -sign[3]
            return grad * sign

    x = torch.cat([draw(100, low=0.1).detach(), torch.zeros(100)]).requires_grad_()
    failed, text = statuses(Absolute, x, "values")
    assert failed, text
    assert "nearby" not in text or "values" in text


def test_wide_relu_networks_accuse_nobody():
    for seed in range(3):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Linear(300, 300), nn.ReLU(), nn.Linear(300, 100))
        failed, text = statuses(network, torch.randn(16, 300), ["values", "second_order"])
        assert not failed, text


SORTS = {
    "sort": lambda x: x.sort(-1).values,
    "msort": torch.msort,
    "argsort": lambda x: x[x.argsort()],
    "cumsum": lambda x: x.sort(descending=True).values.cumsum(-1),
    "differences": lambda x: x.sort().values.diff(),
    "quantile": lambda x: x.quantile(0.3),
    "kth": lambda x: x.kthvalue(3).values,
}


@pytest.mark.parametrize("name", SORTS)
def test_sorts_of_equal_entries_accuse_nobody(name):
    """17 of them: torch sorts up to 16 by another kernel. Also those of the audit's own expanded input."""
    for inputs in (draw(17), torch.zeros(17, dtype=torch.float64, requires_grad=True)):
        failed, text = statuses(SORTS[name], inputs, ["values", "layouts", "extremes"])
        assert not failed, text


def test_a_sort_that_is_wrong_is_found_at_ties_too():
    class Sort(Function):
        @staticmethod
        def forward(ctx, x):
            values, order = x.sort()
            ctx.save_for_backward(order)
            return values

        @staticmethod
        def backward(ctx, grad):
            return grad[ctx.saved_tensors[0]]  # where the inverse of the order belongs

    for inputs in (draw(17), torch.zeros(17)):
        assert "values" in statuses(Sort, inputs, "values")[0]


class Sort(Function):
    """In an order that torch leaves open where entries are equal."""

    @staticmethod
    def forward(ctx, x, descending):
        values, ctx.order = x.sort(descending=descending)
        return values

    @staticmethod
    def backward(ctx, g):
        return torch.zeros_like(g).scatter(-1, ctx.order, g), None


@pytest.mark.parametrize("descending", [False, True])
def test_equal_entries_may_have_the_place_of_each_other(descending):
    for seed in range(3):
        failed, text = statuses(lambda x: Sort.apply(x, descending), draw(17), "extremes", seed=seed)
        assert not failed, text


def cusp(x):
    return x * (x.abs() + 1e-10) ** -0.25


@pytest.mark.parametrize("seed", [1, 7])
@pytest.mark.parametrize(
    ("function", "x"),
    [(lambda x: x.median(dim=0).values, torch.zeros(3, 4)), (cusp, torch.zeros(3))],
    ids=["tie", "cusp"],
)
def test_where_there_is_no_slope_nobody_is_accused(function, x, seed):
    """Of equal numbers, two directions may have one median by chance; at a cusp, the slope grows without end."""
    torch.manual_seed(seed)
    failed, text = statuses(function, torch.randn_like(x), "extremes", seed=seed)
    assert not failed, text
