"""Rounding: functions that round inside, and what is left where numbers cancel."""

import pytest
import torch
from torch import nn
from torch.autograd import Function

from tests.testing.corpus.entry import draw
from tests.testing.numbers.scaled import scaled, statuses
from torchbp.testing.numerics.rounding import Overflows

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


def test_an_error_too_small_for_a_guess_has_no_cause():
    for factor in (2e-6, 5e-6, 1e-5):
        failed, text = statuses(scaled(torch.sin, 1 + factor), draw(4), "values")
        assert failed
        assert "likely cause" not in text


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
