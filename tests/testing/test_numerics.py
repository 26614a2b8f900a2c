"""The measure itself: numerical derivatives where they are hard to have, and what is then said."""

import math

import pytest
import torch
from torch import nn
from torch.autograd import Function

import torchbp
from tests.testing.corpus.entry import draw
from torchbp.testing.diagnosis.message import chance_to_miss
from torchbp.testing.numerics.finite_differences import slopes
from torchbp.testing.numerics.rounding import Overflows
from torchbp.testing.numerics.tensors import evened, symmetric, weights
from torchbp.testing.numerics.verdict import Block, judge


def scaled(right, wrong=1.0):
    """A Function of a function, whose gradient is multiplied by a number."""

    class Scaled(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return right(x)

        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                return wrong * torch.autograd.grad(right(x), x, grad)[0]

    return Scaled


def statuses(function, inputs, checks="default", **options):
    report = torchbp.check(function, inputs, checks=checks, raise_exception=False, **options)
    return {result.check for result in report.failed}, str(report)


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


WEIGHT = draw(3, 2, seed=3).detach()


def half_product(x):
    return (x.bfloat16() @ WEIGHT.bfloat16()).to(x).softmax(-1)


def autocast_product(x):
    with torch.autocast("cpu", torch.bfloat16):
        return 1.1 * (x.float() @ WEIGHT.float()).float().tanh().to(x)


def buffered(x):
    buffer = torch.zeros_like(x, dtype=torch.float16)
    return buffer.copy_(x).double().tanh()


HALVES = {
    "half": lambda x: x.half().sin().double(),
    "inside": lambda x: x.half().double().sin(),
    "residual": lambda x: x + x.bfloat16().sin().to(x),
    "product": half_product,
    "autocast": autocast_product,
    "buffer": buffered,
    "norm": lambda x: nn.functional.layer_norm(x.bfloat16(), (3,)).to(x),
    "single": lambda x: 1.1 * x.float().sin().double(),
}


@pytest.mark.parametrize("name", HALVES)
def test_functions_that_round_inside_are_held_to_that_precision(name):
    names = ["values", "linearity", "second_order", "extremes", "dtypes", "jvp", "hessian"]
    failed, text = statuses(HALVES[name], draw(2, 3), names)
    assert not failed, text
    for factor in (1.3, -1.0, 0.0):
        failed, text = statuses(scaled(HALVES[name], factor), draw(2, 3), "values")
        assert failed, text


def test_a_half_precision_that_changes_nothing_costs_no_precision():
    failed, text = statuses(scaled(lambda x: x.sin() * (x.half() > 0), 1 + 1e-5), draw(4, 3), "values")
    assert failed, text


def test_a_function_that_refuses_what_is_outside_of_its_domain():
    def acosh(x):
        if bool((x < 1).any()):
            raise ValueError("x must be at least 1")
        return torch.acosh(x)

    x = torch.tensor([1.01, 2.0, 3.0], requires_grad=True)
    failed, text = statuses(acosh, x, domain=(1.01, 100))
    assert not failed, text
    assert "values" in statuses(scaled(acosh, 1.01), x, "values", domain=(1.01, 100))[0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)),
        lambda: nn.Sequential(nn.Linear(3, 4), nn.Softmax(-1)),
        lambda: nn.BatchNorm1d(3, affine=False),
        lambda: lambda x: x.softmax(-1).sum(-1),
        lambda: lambda x: (x / x.norm(dim=1, keepdim=True)).norm(dim=1),
    ],
    ids=["bias_before_norm", "shift_of_softmax", "batch_norm", "constant_sum", "constant_norm"],
)
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.exhaustive) for seed in (1, 2))])
def test_what_is_left_where_numbers_cancel_is_no_gradient(make, seed):
    torch.manual_seed(seed)
    failed, text = statuses(make(), torch.randn(4, 3, requires_grad=True))
    assert not failed, text


def test_the_norm_of_one_number_is_a_constant():
    """Its gradient is 0 but for rounding, which a weight and 1/√eps magnify; and the output is 0 but for rounding."""

    def norm(x, weight, bias):
        return nn.functional.layer_norm(x, (1,), weight, bias)

    failed, text = statuses(nn.LayerNorm(1), torch.tensor([4.827]), ["values", "dtypes"])
    assert not failed, text
    numbers = [draw(1, seed=seed) for seed in range(3)]
    failed, text = statuses(norm, tuple(numbers), ["magnitudes", "dtypes"])
    assert not failed, text


class Faint(Function):
    """1e-20 x² with a wrong factor in the gradient: small numbers are no rounding errors."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return 1e-20 * x * x

    @staticmethod
    def backward(ctx, g):
        return g * 3e-20 * ctx.saved_tensors[0]


def test_a_wrong_gradient_of_small_outputs_is_wrong():
    failed, text = statuses(Faint, draw(3), "values")
    assert failed, text
    assert not statuses(lambda x: 1e-20 * x * x, draw(3), ["values", "magnitudes"])[0]


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


def test_an_error_too_small_for_a_guess_has_no_cause():
    for factor in (2e-6, 5e-6, 1e-5):
        failed, text = statuses(scaled(torch.sin, 1 + factor), draw(4), "values")
        assert failed
        assert "likely cause" not in text


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


def test_what_lies_in_new_memory_is_no_overflow():
    """It is by chance: attention's backward, correct, was accused where an infinity lay there."""
    for _ in range(100):
        infinite = torch.full((54,), torch.inf)
        del infinite
        with Overflows() as found:
            memory = torch.empty(54)
        assert not found.seen
        if bool(memory.isinf().any()):
            break
    with Overflows() as found:
        torch.full((2,), 300.0).exp()
    assert found.seen
