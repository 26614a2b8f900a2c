"""The measure itself: numerical derivatives where they are hard to have, and what is then said."""

import math

import pytest
import torch
from torch import nn
from torch.autograd import Function

import torchbp
from tests.testing.corpus.entry import draw
from tests.testing.numbers.scaled import scaled, statuses
from torchbp.testing.diagnosis.message import chance_to_miss
from torchbp.testing.numerics.finite_differences import slopes
from torchbp.testing.numerics.tensors import evened, symmetric, weights
from torchbp.testing.numerics.verdict import Block, judge

MASK = torch.ones(3, 3, dtype=torch.bool).triu(1)


def masked(x):
    return (2 * x).masked_fill(MASK, -math.inf)


@pytest.mark.parametrize(("wrong", "found"), [(1.0, set()), (1.5, {"values"})])
def test_outputs_that_are_infinite_hide_no_others(wrong, found):
    failed, text = statuses(scaled(masked, wrong), draw(3, 3), ["values", "layouts"])
    assert failed == found, text


@pytest.mark.parametrize("size", [1e-6, 1e-3, 1.0, 1e6, 1e12])
@pytest.mark.parametrize("shape", [torch.sin, torch.exp])
def test_inputs_of_any_size(shape, size):
    x = (draw(4).detach() * size).requires_grad_()

    def function(x):
        return shape(x / size)

    failed, text = statuses(function, x, ["values", "second_order", "hessian"])
    assert not failed, text
    assert "values" in statuses(scaled(function, 1.001), x, "values")[0]
    assert "values" in statuses(scaled(function, -1.0), x, "values")[0]


@pytest.mark.parametrize("periods", [1e4, 1e6, 1e8])
def test_a_step_over_several_periods_accuses_nobody(periods):
    for seed in range(3):
        x = (draw(4, seed=seed).detach() / periods).requires_grad_()
        failed, text = statuses(lambda x: torch.sin(periods * x), x, ["values", "second_order", "hessian"])
        assert not failed, text


def positive_definite(*batch, n):
    a = draw(*batch, n, n).detach()
    return (a @ a.mT + n * torch.eye(n, dtype=a.dtype)).requires_grad_()


@pytest.mark.parametrize("inputs", [positive_definite(n=5), positive_definite(n=9), positive_definite(8, n=3)])
@pytest.mark.parametrize("function", [torch.linalg.cholesky, torch.linalg.eigvalsh])
def test_functions_of_symmetric_matrices(function, inputs):
    failed, text = statuses(function, inputs)
    assert not failed, text
    assert "values" in statuses(scaled(function, 1.01), inputs, "values")[0]


@pytest.mark.parametrize(
    ("dtype", "made_double"), [(torch.float32, False), (torch.float32, True), (torch.float64, False)]
)
def test_a_matrix_is_symmetric_up_to_rounding(dtype, made_double):
    """As A Aᵀ is, with some kernels: every entry is off by a little."""
    even = positive_definite(n=4).detach().to(dtype)
    rounded = even * (1 + 4 * torch.finfo(dtype).eps * torch.rand(4, 4, dtype=dtype))
    rounded = rounded.double() if made_double else rounded
    assert not torch.equal(rounded, rounded.mT)
    assert symmetric(rounded)
    assert torch.equal(evened(rounded), evened(rounded).mT)
    names = ["values", "jvp", "hessian"]
    report = torchbp.check(torch.linalg.cholesky, rounded, checks=names)
    assert report.notes == ("input is symmetric up to rounding, and audited as (A + Aᵀ) / 2",)
    assert "values" in statuses(scaled(torch.linalg.cholesky, 1.01), rounded, "values")[0]
    uneven = even + torch.tensor([[0, 1e-2], [0, 0]], dtype=dtype).repeat(2, 2)
    assert not symmetric(uneven)
    assert evened(uneven) is uneven
    assert "values" in statuses(torch.linalg.cholesky, uneven, "values")[0]


def test_a_function_that_refuses_what_is_outside_of_its_domain():
    def acosh(x):
        if bool((x < 1).any()):
            raise ValueError("x must be at least 1")
        return torch.acosh(x)

    x = torch.tensor([1.01, 2.0, 3.0], requires_grad=True)
    failed, text = statuses(acosh, x, domain=(1.01, 100))
    assert not failed, text
    assert "values" in statuses(scaled(acosh, 1.01), x, "values", domain=(1.01, 100))[0]


def test_errors_that_cancel_are_seen_in_projections():
    """Two errors, one the other's opposite: projections by ±1 miss them half of the time."""

    class Doubled(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            error = torch.zeros_like(grad)
            error[3, 4], error[3, 5] = 1e-3, -1e-3
            return 2 * grad + error

    for seed in range(8):
        assert statuses(Doubled, draw(20, 30), "values", seed=seed)[0]


@pytest.mark.parametrize(("n", "m"), [(0, 1), (1, 0), (1, 1), (2, 2), (1, 2), (3, 1)])
def test_the_chance_to_miss_an_error_is_bounded(n, m):
    source, k, times = torch.Generator().manual_seed(0), 10.0, 20_000
    error = torch.tensor([[1.0, -0.5], [-0.4, 1.0]], dtype=torch.float64)
    rows = weights((times, n, 2), source) if n else torch.eye(2, dtype=torch.float64).expand(times, 2, 2)
    columns = weights((times, 2, m), source) if m else torch.eye(2, dtype=torch.float64).expand(times, 2, 2)
    unseen = ((rows @ error @ columns).abs() < 1 / k).all(dim=2).all(dim=1).double().mean()
    projections = [weights((2,), source)] * 3
    assert float(unseen) <= chance_to_miss(projections[:n], projections[:m], k) + 0.005


@pytest.mark.parametrize(("n", "m"), [(0, 2), (1, 1), (2, 2), (1, 3), (4, 2)])
def test_the_bound_is_its_integral(n, m):
    k, projections = 10.0, [weights((2,), torch.Generator())] * 4
    x = (torch.arange(1_000_000, dtype=torch.float64) + 0.5) / 1_000_000
    density = n * x ** (n - 1) if n else torch.ones_like(x)
    integral = float((density * (k * x if n else torch.full_like(x, k)).pow(-m).clamp(max=1)).mean())
    assert chance_to_miss(projections[:n], projections[:m], k) == pytest.approx(integral, rel=1e-4)


def test_the_error_of_a_slope_is_that_of_rounding_at_least():
    found = slopes(lambda t: torch.tensor([2 * t, -t]), 0.5, torch.tensor([1e-3, 0.0]))
    assert torch.allclose(found.value, torch.tensor([2.0, -1.0]))
    assert found.error.tolist() == pytest.approx([8e-3, 0.0], abs=1e-6)


def test_what_is_further_off_than_three_errors_is_wrong():
    def block(gap, error):
        one = torch.ones(1, 1, dtype=torch.float64)
        made = Block(0, [0], one + gap, torch.zeros(1, 1, dtype=torch.bool), True, one, 1e-2)
        made.numerical, made.left, made.right = one, one, one
        made.error, made.tolerance = error * one, 1e-6 * one
        judge(made)
        return bool(made.wrong), bool(made.uncertain)

    assert block(0.04, 0.008) == (True, False)
    assert block(0.02, 0.008) == (False, True)
    assert block(0.0, 1e-9) == (False, False)


def test_many_parameters_take_few_calls():
    """Not one for each of them, but for some projections."""
    network = nn.Sequential(nn.Linear(400, 400), nn.Tanh(), nn.Linear(400, 10))
    calls = []

    class Counted(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, x):
            calls.append(1)
            return self.network(x)

    assert torchbp.check(Counted(), torch.randn(2, 400), checks=["values", "extremes"])
    assert len(calls) < 1000
