"""What `check` is told: what means nothing is refused before anything runs, and the rest means what it says."""

import math
from functools import partial

import pytest
import torch
from torch import nn

import torchbp
from tests.testing.multiply import numbers
from torchbp.testing.checks import CHECKS, chosen_checks
from torchbp.testing.subject.naming import expression, name_of


def never(x):
    raise AssertionError("it ran")


@pytest.mark.parametrize(
    ("option", "value", "kind", "message"),
    [
        ("eps", 0, ValueError, "eps must be greater than 0"),
        ("eps", "1e-3", TypeError, "eps must be a number, not '1e-3'"),
        ("rtol", "a", TypeError, "rtol must be a number, not 'a'"),
        ("rtol", -1e-3, ValueError, "rtol must not be negative or nan, and is -0.001"),
        ("atol", math.nan, ValueError, "atol must not be negative or nan, and is nan"),
        ("nondet_tol", None, TypeError, "nondet_tol must be a number, not None"),
        ("nondet_tol", -1, ValueError, "nondet_tol must not be negative or nan, and is -1"),
        ("seed", 1.5, TypeError, "seed must be an integer, not 1.5"),
        ("seed", 2**62, ValueError, "seed must be between"),
        ("reference", 3, TypeError, "reference must be a function or a module, not 3"),
        ("domain", 3, TypeError, r"domain must be two numbers \(low, high\), or a dict of such by name, not 3"),
        ("domain", (1, 0), ValueError, r"domain must be \(low, high\) with low < high, and is \(1, 0\)"),
        ("domain", {"x": (0, "1")}, TypeError, r"domain must be two numbers .*, not \(0, '1'\)"),
        ("batch_dims", "a", TypeError, "batch_dims must be a number of dimensions, or a dict of such by name, not 'a'"),
        ("batch_dims", True, TypeError, "batch_dims must be a number of dimensions"),
        ("batch_dims", -1, ValueError, "batch_dims must not be negative, and is -1"),
    ],
)
def test_a_value_that_means_nothing_is_refused_before_anything_runs(option, value, kind, message):
    with pytest.raises(kind, match=message):
        torchbp.check(never, numbers(3), **{option: value})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"domain": {"inptu": (0, 1)}}, "domain: there is no input 'inptu'; did you mean input?"),
        ({"batch_dims": {"rows": 1}}, "batch_dims: there is no input 'rows'; there are input, weight"),
        (
            {"batch_dims": 3},
            r"batch_dims: input has the shape \[4, 3\], fewer than 3 dimensions; for inputs",
        ),
        ({"batch_dims": 1}, r"the leading dimensions must be alike, and are {'input': \[4\], 'weight': \[2\]}"),
    ],
)
def test_names_and_dimensions_are_those_of_the_inputs(options, message):
    with pytest.raises(ValueError, match=message):
        torchbp.check(nn.functional.linear, {"input": numbers(4, 3), "weight": numbers(2, 3)}, **options)


def test_a_class_of_modules_is_no_module():
    with pytest.raises(ValueError, match=r"ReLU is a class; give an instance, such as ReLU\(\)"):
        torchbp.check(nn.ReLU, numbers(3))


def test_levels_among_names_and_contradictions():
    assert set(chosen_checks(["fast", "jvp"])) == {*chosen_checks("fast"), "jvp"}
    assert chosen_checks(["all", "complex", "layers"]) == list(CHECKS)
    with pytest.raises(ValueError, match="'jvp' is both in require and in skip"):
        torchbp.check(never, numbers(3), require="jvp", skip=["vmap", "jvp"])
    with pytest.raises(ValueError, match="no check 'fast'; there are values"):
        torchbp.check(never, numbers(3), skip="fast")
    with pytest.raises(ValueError, match="no check 'deflaut'; did you mean default"):
        torchbp.check(never, numbers(3), checks=["deflaut"])


def shapes(function, inputs, batch_dims):
    report = torchbp.check(function, inputs, checks="shapes", batch_dims=batch_dims, raise_exception=False)
    return report["shapes"]


def test_batch_dims_is_a_number_of_dimensions():
    def of_matrices(x):  # maps over one dimension, and mixes the next
        return x.softmax(1)

    assert shapes(of_matrices, numbers(2, 3, 4), 1).status == "PASS"
    result = shapes(of_matrices, numbers(2, 3, 4), 2)
    assert (result.status, result.message) == (
        "FAIL",
        "a batch of one row along dimension 1: not the function of each row: out differs",
    )
    assert shapes(torch.sin, numbers(2, 3, 4), 2).status == "PASS"


def test_outputs_without_the_batch_are_a_false_promise():
    result = shapes(torch.sum, numbers(4, 3), 1)
    assert result.status == "FAIL"
    assert result.message == (
        "batch_dims=1 says that out has the leading dimensions [4] of the inputs, and its shape is []"
    )


def test_only_the_inputs_named_are_mapped_over():
    inputs = {"input": numbers(4, 3), "weight": numbers(2, 3)}
    assert shapes(nn.functional.linear, inputs, {"input": 1, "weight": 0}).status == "PASS"
    wrong = shapes(nn.functional.linear, inputs, {"weight": 1})
    assert wrong.message.startswith("batch_dims=1 says that out has the leading dimensions [2] of the inputs")


def test_more_leading_dimensions_than_promised_may_be_refused_but_not_wrong():
    class Linear(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            ctx.save_for_backward(x, w)
            return x @ w

        @staticmethod
        def backward(ctx, incoming):
            x, w = ctx.saved_tensors
            return incoming @ w.t(), x.reshape(-1, len(w)).t() @ incoming.reshape(-1, w.shape[1]) / (x.dim() - 1)

    assert shapes(nn.Conv2d(2, 3, 3), numbers(2, 2, 4, 4), 1).status == "PASS"
    result = shapes(Linear, (numbers(4, 3), numbers(3, 2)), {"x": 1})
    assert result.status == "FAIL"
    assert result.message.startswith("two batches: the gradient of w is wrong")


def test_the_reference_is_held_to_the_tolerances_given():
    def off(x):
        return x * (1 + 1e-4)

    def status(**options):
        report = torchbp.check(
            off, numbers(3), checks="reference", reference=lambda x: x * 1, raise_exception=False, **options
        )
        return report["reference"].status

    assert status() == "FAIL"
    assert status(rtol=1e-3) == "PASS"
    assert status(rtol=1e-5) == "FAIL"
    assert status(rtol=0, atol=1e-5) == "FAIL"
    assert status(rtol=0, atol=10) == "PASS"


def line(function, inputs, **options):
    report = torchbp.check(function, inputs, raise_exception=False, **options)
    return report.failed[0].lines()[-1].strip()


def test_the_line_to_reproduce_it_has_every_option():
    def wrong(x):
        return x.detach() * x

    assert (
        line(wrong, numbers(3), checks="values") == "reproduce: torchbp.check(wrong, inputs, checks='values', seed=0)"
    )
    said = {"eps": 1e-4, "rtol": 1e-5, "atol": 1e-8, "domain": {"x": (-math.inf, 1)}, "batch_dims": 1, "seed": 2}
    text = line(wrong, numbers(3), checks="values", reference=torch.sin, **said)
    call = text.removeprefix("reproduce: torchbp.check(wrong, inputs, ")
    again = eval(f"dict({call}", {"math": math, "torch": torch})
    assert again == {"checks": "values", "reference": torch.sin, **said}
    required = "reproduce: torchbp.check(wrong, inputs, checks='values', require='values', seed=0)"
    assert line(wrong, numbers(3), checks="values", require=["values", "jvp"]) == required


class Wrong(nn.Module):
    def forward(self, x):
        return x.detach() * x


@torch.library.custom_op("torchbp_tests::wrong", mutates_args=())
def operator(x: torch.Tensor) -> torch.Tensor:
    return x * x


operator.register_autograd(lambda ctx, incoming: incoming * 3)


@pytest.mark.parametrize(
    ("function", "words", "name"),
    [
        (lambda x: x.detach() * x, "function", "<lambda>"),
        (Wrong(), "module", "Wrong"),
        (Wrong().forward, "function", "Wrong.forward"),
        (partial(torch.mul, other=2.0, out=None), "function", "partial"),
        (operator, "torch.ops.torchbp_tests.wrong", "torchbp_tests::wrong"),
        (torch.ops.torchbp_tests.wrong, "torch.ops.torchbp_tests.wrong", "torchbp_tests::wrong"),
        (torch.ops.torchbp_tests.wrong.default, "torch.ops.torchbp_tests.wrong", "torchbp_tests::wrong"),
        (torch.sin, "torch.sin", "sin"),
        (nn.functional.mse_loss, "mse_loss", "mse_loss"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_how_a_function_is_written(function, words, name):
    assert (expression(function), name_of(function)) == (words, name)


def test_the_apply_of_a_function_has_its_name():
    class Mine(torch.autograd.Function):
        pass

    assert name_of(Mine.apply) == "Mine.apply"


def test_a_module_without_shapes_is_refused_and_audited_once_it_was_called():
    module, x = torch.nn.LazyLinear(2, dtype=torch.double), torch.randn(3, 4, dtype=torch.double)
    with pytest.raises(ValueError, match="LazyLinear has parameters without a shape; call it once, and audit it then"):
        torchbp.check(module, x)
    module(x)
    assert torchbp.check(module, x, checks="values")


def test_keywords_of_gradcheck_are_named():
    with pytest.raises(TypeError, match="check_forward_ad is of gradcheck; here it is the check jvp"):
        torchbp.check(never, numbers(3), check_forward_ad=True)
    with pytest.raises(TypeError, match="no option 'refrence'; did you mean reference"):
        torchbp.check(never, numbers(3), refrence=None)
