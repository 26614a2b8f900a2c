"""Sums over very many rows, as far as the function takes them within memory and time."""

import sys

import torch

import torchbp
from torchbp.testing.numerics.rounding import PythonCalls


class Sum(torch.autograd.Function):
    """The sum of the rows times w, whose gradient is added up in the dtype of w."""

    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x * w

    @staticmethod
    def backward(ctx, incoming):
        x, w = ctx.saved_tensors
        total = torch.zeros_like(w)
        for part in (incoming * x).split(2):
            total = total + part.sum(0)
        return incoming * w, total


class RowByRow(Sum):
    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return torch.stack([row * w for row in x]) if len(x) else x * w


def inputs():
    return torch.rand(3, 2, requires_grad=True), torch.rand(2, requires_grad=True)


def check(function, checks="precision"):
    return torchbp.check(function, inputs(), checks=checks, raise_exception=False)["precision"]


def test_a_sum_in_float16_stops_growing():
    assert "rows, float16: the gradient of w[" in check(Sum).message


def test_a_loop_over_the_rows_is_not_called_with_very_many():
    result = check(RowByRow)
    assert result.status == "PASS"
    assert result.message.endswith("not with 20000 rows, as it loops over the rows")


def test_what_pairs_its_rows_is_not_called_with_very_many():
    class Pairs(Sum):
        @staticmethod
        def forward(ctx, x, w):
            ctx.save_for_backward(x, w)
            return x * w + 0 * (x @ x.T).sum()

    result = check(Pairs)
    assert result.message.endswith("as it makes a tensor that grows with the square of the rows")


def test_calls_are_counted_beside_no_profiler():
    def profile(*_):
        pass

    with PythonCalls() as counted:
        len(str(1))
    assert counted.count >= 2
    assert sys.getprofile() is None
    sys.setprofile(profile)
    try:
        with PythonCalls() as counted:
            len(str(1))
        assert sys.getprofile() is profile
    finally:
        sys.setprofile(None)
    assert counted.count == 0
