"""torchbp.check as its callers see it: arguments, results, the report; what it finds and how it says so."""

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd.gradcheck import GradcheckError

import torchbp
from tests.testing.multiply import Multiply, failure, numbers
from torchbp.testing.checks import CHECKS, LEVELS


def test_the_exception_is_gradchecks_and_carries_the_report():
    with pytest.raises(GradcheckError, match="the gradient of weight is wrong") as caught:
        torchbp.check(Multiply, (numbers(3), numbers(3)), checks="fast")
    assert isinstance(caught.value, torchbp.testing.GradientError)
    assert [result.check for result in caught.value.report.failed] == ["values"]


def test_every_check_runs_and_the_first_failure_stops_none():
    report = torchbp.check(Multiply, (numbers(3), numbers(3)), raise_exception=False)
    assert [result.check for result in report.results] == [n for n, row in CHECKS.items() if row.level in LEVELS[:2]]


def test_levels_names_skip_and_require():
    x = numbers(3)

    def names(**options):
        report = torchbp.check(torch.sin, x, raise_exception=False, **options)
        return {result.check for result in report.results}

    fast, default = names(checks="fast"), names()
    assert fast < default
    assert "compile" not in default
    assert names(checks="values") == {"values"}
    assert names(checks=["values", "jvp"], skip="jvp") == {"values"}
    assert names(checks="values", require=["complex"]) == {"values", "complex"}
    with pytest.raises(ValueError, match="no check 'value'; did you mean values"):
        torchbp.check(torch.sin, x, checks="value")
    with pytest.raises(ValueError, match="no check 'slow'; there are fast, default, all, values, "):
        torchbp.check(torch.sin, x, checks="slow")


def test_a_missing_feature_fails_only_where_it_is_required():
    inputs = numbers(3), numbers(3)
    report = torchbp.check(Multiply, inputs, checks="jvp")
    assert report["jvp"].status == "UNSUPPORTED"
    assert "to add it: a staticmethod jvp" in report["jvp"].message
    with pytest.raises(GradcheckError, match="required, but unsupported"):
        torchbp.check(Multiply, inputs, checks="values", require=("jvp",), skip="values")


def test_nothing_of_the_callers_is_altered():
    module = nn.BatchNorm1d(3)
    x = numbers(4, 3)
    before = [t.clone() for t in (x, *module.state_dict().values())]
    torch.manual_seed(3)
    random.seed(3)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    torchbp.check(module, x)
    torchbp.check(nn.Dropout(), x)
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()
    assert (states[2] == np.random.get_state()[1]).all()  # noqa: NPY002
    assert all(map(torch.equal, before, (x, *module.state_dict().values())))
    assert x.grad is None
    assert all(p.grad is None and p.dtype == torch.float32 for p in module.parameters())


@pytest.mark.parametrize("inputs", [{"input": 0, "weight": 1}, (0, 1)], ids=["keywords", "positions"])
def test_inputs_by_position_and_by_keyword(inputs):
    def product(input, weight, scale=2):
        return input * weight * scale

    made = {name: numbers(3) for name in inputs} if isinstance(inputs, dict) else (numbers(3), numbers(3), 3)
    torchbp.check(product, made)


def test_inputs_that_say_nothing_are_all_audited_but_may_have_no_gradient():
    class Scaled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, constant):
            ctx.save_for_backward(constant)
            return x * constant

        @staticmethod
        def backward(ctx, incoming):
            return incoming * ctx.saved_tensors[0], None

    plain = torch.randn(3), torch.randn(3)
    report = torchbp.check(Scaled, plain, checks="values")
    assert "no gradient for constant" in report["values"].message
    failure(Scaled, tuple(t.requires_grad_() for t in plain), "values")


def test_what_cannot_run_is_an_error():
    with pytest.raises(ValueError, match="raises RuntimeError: "):
        torchbp.check(torch.matmul, (numbers(2, 3), numbers(2, 3)))
    with pytest.raises(ValueError, match=r"^'sin' is not callable; give a function, "):
        torchbp.check("sin", numbers(3))
    with pytest.raises(ValueError, match="input of sin on the meta device: a tensor there has no numbers"):
        torchbp.check(torch.sin, torch.ones(3, device="meta"))


@pytest.mark.parametrize("size", [1e-5, 1e-3, 1.0])
def test_a_relative_error_of_1e_5_is_seen_whatever_the_scale(size):
    class Off(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return size * x.sin()

        @staticmethod
        def backward(ctx, incoming):
            (x,) = ctx.saved_tensors
            return incoming * size * x.cos() * (1 + 1e-5)

    failure(Off, numbers(3), "values")


def test_a_large_jacobian_is_projected_and_one_wrong_entry_found():
    class Tanh(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = x.tanh()
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx, incoming):
            (y,) = ctx.saved_tensors
            gradient = incoming * (1 - y**2)
            gradient[7, 5] = gradient[7, 5] * 1.01
            return gradient

    x = numbers(20, 30)
    assert "d out[7, 5] / d x[7, 5]" in failure(Tanh, x, "values")
    sound = torchbp.check(torch.tanh, x, checks="values")
    assert "in random projections: an error of" in sound["values"].message


def test_a_length_of_rows_that_is_built_in_is_found():
    class Mean(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.length = x.shape[-1]
            return x.mean(dim=-1)

        @staticmethod
        def backward(ctx, incoming):
            return (incoming / 3).unsqueeze(-1).expand(-1, ctx.length)

    assert torch.autograd.gradcheck(Mean.apply, numbers(4, 3).detach().double().requires_grad_())
    assert "with 4 instead of 3 in a row" in failure(Mean, numbers(4, 3), "shapes")


def test_a_module_is_audited_over_its_parameters():
    class Frozen(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(3, 2)

        def forward(self, x):
            return nn.functional.linear(x, self.inner.weight.detach(), self.inner.bias)

    report = torchbp.check(Frozen(), numbers(4, 3), raise_exception=False)
    assert "the gradient of inner.weight is wrong" in report["values"].message
    assert "inner.weight never gets a gradient" in report["module"].message


def test_a_reference_must_agree():
    def clipped(x):
        return x.clamp(max=50)

    report = torchbp.check(clipped, numbers(3), reference=lambda x: x * 1, raise_exception=False)
    assert {result.check for result in report.failed} == {"reference"}
    assert "x = 100" in report["reference"].message
    torchbp.check(torch.sigmoid, numbers(3), reference=lambda x: 1 / (1 + (-x).exp()), checks="reference")


def test_a_domain_bounds_the_extremes():
    def logit(p):
        return torch.where(p < 0.5, 1 / (1 - p), 1 / p)  # 1/0 at either edge, in the branch that is not taken

    p = torch.rand(3, requires_grad=True)
    assert "p = 0" in failure(logit, p, "extremes", domain=(0, 1))
    torchbp.check(logit, p, checks="extremes", domain=(0.1, 0.9))


def test_the_auditor_imports_nothing_of_the_package():
    from pathlib import Path

    folder, of_python_alone = Path(torchbp.testing.__file__).parent, ("printing", "_imports", "cli.parser")
    for path in folder.rglob("*.py"):
        for line in path.read_text().splitlines():
            if "import" in line and "torchbp" in line and not line.strip().startswith(('"', "#", "@", "`")):
                of_python = line.startswith(tuple(f"from torchbp.{name} import" for name in of_python_alone))
                assert "torchbp.testing" in line or of_python, f"{path.name}: {line}"


def test_a_wrong_hessian_fails_by_itself():
    class Sine(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x):
            return x.sin()

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx, incoming):
            (x,) = ctx.saved_tensors
            return incoming * x.detach().cos()

    assert "the Hessian of torch.func by x, reverse over reverse, is wrong" in failure(Sine, numbers(3), "hessian")


def test_chance_that_no_seed_governs_fails_by_itself():
    import os

    def noisy(x):
        return x * (1 + int.from_bytes(os.urandom(4)))

    assert "two runs with one seed differ" in failure(noisy, numbers(3), "determinism")
    report = torchbp.check(nn.Dropout(), numbers(3), checks="determinism")
    assert "random state forked and seeded" in report["determinism"].message
