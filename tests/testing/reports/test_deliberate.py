"""What is deliberate is not condemned: surrogates, approximations, dropped backwards, and more."""

import pytest
import torch
from torch.autograd import Function
from torch.utils.checkpoint import checkpoint

import torchbp

X = torch.tensor([0.3, -0.7, 1.2, 0.4], dtype=torch.float64)


def check(*args, **options):
    return torchbp.check(*args, raise_exception=False, **options)


class Rounded(Function):
    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, g):
        return g


class Reversed(Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        return -g


class Approximate(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0].cos() * 1.0003


@pytest.mark.parametrize(
    ("function", "surrogate"),
    [(Rounded, lambda x: x), (Reversed, lambda x: -x), (lambda x: x + (x.round() - x).detach(), lambda x: x)],
)
def test_a_surrogate_is_the_derivative_that_is_meant(function, surrogate):
    report = check(function, X)
    assert "if this gradient is deliberate" in str(report["values"])
    assert check(function, X, surrogate=surrogate).sound
    assert not check(function, X, surrogate=lambda x: 2 * surrogate(x), checks="values").sound


def test_a_backward_that_the_compiler_drops_is_no_failure(fresh_compiler):
    """torch does it; and the forward of a surrogate is not meant to be differentiated."""
    result = check(Reversed, X, surrogate=lambda x: -x, checks="compiled_grad")["compiled_grad"]
    assert result.status == "UNSUPPORTED"
    assert "drops the backward of Reversed, and gives another gradient of x" in result.message
    assert check(Reversed, X, checks="compiled_grad")["compiled_grad"].status == "SKIP"  # it is wrong, as values says


def test_nothing_is_compiled_where_the_forward_has_the_derivative(monkeypatch):
    monkeypatch.setattr(torch, "compile", None)
    before = vars(Approximate)["forward"]

    class Inherits(Approximate):
        pass

    report = check(lambda x: Approximate.apply(2 * x) + Inherits.apply(x), X, rtol=1e-3, checks="compiled_grad")
    assert not report.failed
    assert vars(Approximate)["forward"] is before
    assert "forward" not in vars(Inherits)


def test_a_surrogate_of_a_module_is_given_the_module():
    class Ternary(torch.nn.Linear):
        def forward(self, x):
            return x @ (self.weight + (self.weight.sign() - self.weight).detach()).t()

    module = Ternary(4, 2, bias=False)
    assert not check(module, X[None], checks="values").sound
    assert check(module, X, checks="values", surrogate=lambda m, x: x @ m.weight.t()).failed  # not of the weights given
    assert check(torch.nn.Linear(4, 2), X, checks="values", surrogate=lambda m, x: m(x)).sound


def test_a_surrogate_of_other_shapes_is_refused():
    with pytest.raises(ValueError, match="the surrogate returns the shapes"):
        check(Rounded, X, surrogate=lambda x: x.sum())
    with pytest.raises(TypeError, match="surrogate must be a function"):
        check(Rounded, X, surrogate=2)


def test_an_approximation_is_told_of_rtol():
    report = check(Approximate, X, checks="values")
    assert "rtol=6e-04" in str(report)
    assert check(Approximate, X, checks="values", rtol=6e-4)


class BackwardAlone(torch.autograd.Function):
    """It runs again in the backward, as the checkpoints of several packages do."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.tanh() * x

    @staticmethod
    def backward(ctx, incoming):
        if not torch.autograd._is_checkpoint_valid():
            raise RuntimeError("BackwardAlone is not compatible with .grad(), please use .backward() if possible")
        x = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad():
            y = x.tanh() * x
        torch.autograd.backward(y, incoming)
        return x.grad


@pytest.mark.parametrize(
    "function",
    [lambda x: checkpoint(lambda y: y.tanh() * y, x, use_reentrant=True), BackwardAlone],
    ids=["torch", "other"],
)
def test_code_that_supports_backward_alone_is_audited_by_it(function):
    report = check(function, X)
    assert not report.failed, str(report)
    assert report["values"].status == "PASS"
    assert report["second_order"].status == "UNSUPPORTED"
