"""torchbp.check as its callers see it: arguments, results, the report; what it finds and how it says so."""

import io
import json
import random

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn
from torch.autograd.gradcheck import GradcheckError

import torchbp
from torchbp.testing.checks import CHECKS, LEVELS


class Multiply(torch.autograd.Function):
    """input ∘ weight; the gradient of the weight is that of the input."""

    @staticmethod
    def forward(ctx, input, weight):
        ctx.save_for_backward(input, weight)
        return input * weight

    @staticmethod
    def backward(ctx, incoming):
        _, weight = ctx.saved_tensors
        return incoming * weight, incoming * weight


def numbers(*shape):
    return torch.randn(*shape, requires_grad=True)


def failure(function, inputs, check, **options):
    report = torchbp.check(function, inputs, checks=check, raise_exception=False, **options)
    assert report[check].status == "FAIL", str(report)
    return "\n".join(report[check].lines())


def test_a_failure_names_the_argument_the_entry_and_the_cause():
    inputs = numbers(2, 2), numbers(2, 2)
    text = failure(Multiply, inputs, "values")
    assert "the gradient of weight is wrong" in text
    assert "4 of 16 derivatives by weight are wrong" in text
    assert "d out[" in text
    assert " / d weight[" in text
    assert "analytical" in text
    assert " ± " in text
    assert "likely cause: the factor is weight where input belongs" in text
    assert "reproduce: torchbp.check(Multiply, inputs, checks='values', seed=0)" in text
    assert len(text.splitlines()) <= 15


def test_the_exception_is_gradchecks_and_carries_the_report():
    with pytest.raises(GradcheckError, match="the gradient of weight is wrong") as caught:
        torchbp.check(Multiply, (numbers(3), numbers(3)), checks="fast")
    assert isinstance(caught.value, torchbp.testing.GradientError)
    assert [result.check for result in caught.value.report.failed] == ["values"]


def test_every_check_runs_and_the_first_failure_stops_none():
    report = torchbp.check(Multiply, (numbers(3), numbers(3)), raise_exception=False)
    assert [result.check for result in report.results] == [n for n, row in CHECKS.items() if row.level in LEVELS[:2]]


def test_the_report_as_text_json_and_on_a_terminal():
    report = torchbp.check(Multiply, (numbers(3), numbers(3)), checks="fast", raise_exception=False)
    content = json.loads(report.to_json())
    assert (content["name"], content["sound"]) == ("Multiply", False)
    assert {row["check"]: row["status"] for row in content["results"]}["values"] == "FAIL"
    assert printed(report, 200) == str(report).splitlines()
    assert str(report).splitlines()[-1] == "Multiply: 5 passed, 1 failed"
    assert repr(report) == str(report)  # in a notebook
    assert repr(report["values"]).splitlines() == report["values"].lines()


def printed(report, width, **options):
    file = io.StringIO()
    Console(file=file, width=width, **options).print(report)
    return file.getvalue().splitlines()


def test_a_narrow_terminal_keeps_the_indents():
    """What goes on is indented more than what it goes on from, and takes few lines."""
    report = torchbp.check(Multiply, (numbers(3, 4), numbers(3, 4)), raise_exception=False)
    lines = printed(report, 80)
    assert max(map(len, lines)) <= 80
    assert " ".join(" ".join(lines).split()) == " ".join(str(report).split())
    starts = tuple(f"{status} " for status in ("PASS", "FAIL", "SKIP", "UNSUPPORTED"))
    begun = [i for i, line in enumerate(lines) if line.startswith(starts)]
    assert len(begun) == len(report.results)
    for result, i, end in zip(report.ordered(), begun, begun[1:], strict=False):
        more = lines[i + 1 : end] if not result.details else []
        assert all(line.startswith(" " * 12) for line in more)
        assert len(more) <= 2, result.message
    place = next(i for i, line in enumerate(lines) if line.startswith("      d out["))
    assert lines[place + 1].startswith(("      at weight", "        "))
    assert "\x1b[" not in "".join(lines)
    assert "\x1b[1;31mFAIL" in "".join(printed(report, 80, force_terminal=True))


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


def test_lists_of_tensors_have_names():
    def joined(parts, scale):
        return torch.cat([part.detach() for part in parts]) * scale

    text = failure(joined, ([numbers(2), numbers(2)], numbers(4)), "values")
    assert "parts[0]" in text
    assert "zero everywhere: the graph is cut" in text


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


def test_kinks_are_noted_and_noise_is_inconclusive():
    report = torchbp.check(torch.relu, torch.zeros(3, requires_grad=True), checks="values")
    assert "3 entries lie at a kink" in report["values"].message

    class Rough(torch.autograd.Function):
        """Rounded as float16 is, by ways that nobody sees."""

        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return torch.tensor(x.detach().numpy().astype(np.float16).astype(np.float64)).sin()

        @staticmethod
        def backward(ctx, incoming):
            return incoming * ctx.saved_tensors[0].cos()

    report = torchbp.check(Rough, numbers(3), checks="values", raise_exception=False)
    assert report["values"].status != "FAIL", str(report)
    assert "inconclusive" in report["values"].message


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


def test_the_readme_shows_real_output():
    """Numbers and all, of the block that it shows; and the table of checks."""
    import re

    from tests.documentation import all_documentation, code_blocks

    readme = all_documentation()
    block = next(block for block in code_blocks("python", readme) if "class Scale" in block)
    names = {}
    exec(compile(block, "README.md", "exec"), names)
    shown = re.search(r"^```text\n(FAIL .*?)\n```", readme, re.MULTILINE | re.DOTALL)[1]
    assert shown in str(names["report"])
    for name, row in CHECKS.items():
        assert f"| `{name}` | {row.level} | {row.meaning} |" in readme


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
