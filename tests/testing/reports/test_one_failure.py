"""One cause is one failure, which says what to do; the other checks refer to it."""

import pytest
import torch

import torchbp
from torchbp.testing.diagnosis.one_cause import referred
from torchbp.testing.report import Result

X = torch.tensor([0.3, -1.2, 2.1, 0.7], dtype=torch.float64, requires_grad=True)


def check(*args, **options):
    return torchbp.check(*args, raise_exception=False, **options)


class Raises(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, incoming):
        return incoming * ctx.saved_tensors[1]


class Tripled(Raises):
    @staticmethod
    def backward(ctx, incoming):
        return 3 * incoming


def test_a_backward_that_always_raises_is_one_failure_that_says_whose_line_it_is():
    report = check(Raises, X)
    assert [result.check for result in report.failed] == ["values"]
    assert report["values"].message == "the backward raises IndexError: tuple index out of range"
    assert "raised in backward, test_one_failure.py, line " in report["values"].details[0]
    assert "ctx.saved_tensors[1]" in report["values"].details[0]
    assert report["linearity"].status == "SKIP"
    assert report["linearity"].message.startswith("see values: ")


def test_a_wrong_gradient_is_one_failure():
    assert [result.check for result in check(Tripled, X).failed] == ["values"]
    alone = check(Tripled, X, checks=["extremes", "magnitudes"])  # without the values, each tells
    assert alone.failed


def linear_returning(gradients_of):
    """The lines of `values` for a linear layer with this backward of (incoming, x, w, b)."""

    class Returning(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w, b):
            ctx.save_for_backward(x, w, b)
            return x @ w.t() + b

        @staticmethod
        def backward(ctx, incoming):
            return gradients_of(incoming, *ctx.saved_tensors)

    inputs = tuple(torch.randn(shape, requires_grad=True) for shape in ((4, 3), (2, 3), (2,)))
    return str(check(Returning, inputs, checks="values"))


@pytest.mark.parametrize(
    ("gradients_of", "words"),
    [
        (
            lambda g, x, w, b: (g @ w, x.t() @ g, g.sum(0)),
            "gradient 1 (from 0, in the order of the forward's arguments): it is the transpose",
        ),
        (
            lambda g, x, w, b: (g @ w, g.t() @ x[:, :2], g.sum(0)),
            "sum it over the dimensions that the forward has broadcast",
        ),
        (lambda g, x, w, b: (g @ w, g.t() @ x), "return one gradient for each argument of the forward but ctx"),
    ],
)
def test_what_autograd_says_of_a_backward_is_explained(gradients_of, words):
    assert words in linear_returning(gradients_of)


class FixedShape(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, incoming):
        return (2 * incoming).view(4)


def test_an_error_that_differs_in_a_size_alone_is_the_same():
    report = check(FixedShape, X, checks=["shapes", "precision"])
    assert [result.check for result in report.failed] == ["shapes"]
    assert report["precision"].message.startswith("see shapes: ")
    assert report["precision"].message.endswith("the backward raises the same error")


def test_an_error_is_told_once_also_where_a_check_takes_it_for_a_refusal():
    report = check(Raises, X, checks=["values", "linearity", "meta"])
    assert report["linearity"].message == "see values: the backward raises the same error"
    assert (report["meta"].status, report["meta"].message) == ("SKIP", "see values: the same error")


class WritesIntoIncoming(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx, incoming):
        return incoming.mul_(ctx.saved_tensors[0].cos())


def test_a_write_into_the_incoming_gradient_spoils_no_other_check():
    checks = ["values", "second_order", "linearity", "side_effects", "extremes", "shapes", "batched_grad"]
    assert [result.check for result in check(WritesIntoIncoming, X, checks=checks).failed] == ["side_effects"]


class WrongTwice(torch.autograd.Function):
    """Its gradient is wrong; and where `detached` is true, it has no graph either."""

    @staticmethod
    def forward(ctx, x, detached):
        y = x.sigmoid()
        ctx.save_for_backward(y.detach().clone() if detached else y)
        return y

    @staticmethod
    def backward(ctx, incoming):
        (y,) = ctx.saved_tensors
        return incoming * y * (1 + y), None


@pytest.mark.parametrize(("detached", "failed"), [(False, ["values"]), (True, ["values", "second_order"])])
def test_a_second_derivative_fails_on_its_own_only_if_it_has_a_cause_of_its_own(detached, failed):
    report = check(WrongTwice, (X, detached), checks=["values", "second_order"])
    assert [result.check for result in report.failed] == failed


def test_an_error_of_one_word_is_not_looked_for_in_a_refusal():
    failure = Result("values", "FAIL", "the backward raises KeyError: 0", cause="KeyError: 0")
    refusal = Result("vmap", "UNSUPPORTED", "a batch of 3 rows is refused")
    assert referred([failure, refusal]) == [failure, refusal]
