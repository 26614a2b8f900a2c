"""Each of our formulas with one mistake: the auditor finds it, and mostly names it."""

import pytest
import torch
import torch.nn.functional as F

import torchbp
from torchbp.testing.diagnosis.likely_cause import digits

N = None  # of no consequence


def function(forward, backward):
    """A Function that saves its inputs and its output, and has this backward of (dy, y, *inputs)."""

    class Mutated(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *inputs):
            y = forward(*inputs)
            ctx.save_for_backward(y, *inputs)
            return y

        @staticmethod
        def backward(ctx, dy):
            found = backward(dy, *ctx.saved_tensors)
            return found if len(found) > 1 else found[0]

    return Mutated.apply


def linear(dx=None, dweight=None, dbias=None):
    def backward(dz, z, x, weight, bias):
        return (
            (dx or (lambda dz, x, w: dz @ w))(dz, x, weight),
            (dweight or (lambda dz, x, w: dz.t() @ x))(dz, x, weight),
            (dbias or (lambda dz, x, w: dz.sum(0)))(dz, x, weight),
        )

    return function(F.linear, backward)


def activation(forward, dz):
    return function(forward, lambda dy, y, z: (dy * dz(y, z),))


def loss(forward, dx, dy=None):
    """A mean over all entries; dy is left out where the target needs no gradient."""
    return function(forward, lambda g, out, x, y: (g * dx(x, y), g * dy(x, y) if dy else None))


def mse_dx(x, y):
    return 2 * (x - y) / x.numel()


def bce(a, y):
    return -(y * a.log() + (1 - y) * (1 - a).log()).mean()


def bce_da(a, y):
    return (a - y) / (a * (1 - a)) / a.numel()


def logits_dz(z, y):
    return (z.sigmoid() - y) / z.numel()


SQUARE, TALL = ((3, 3), (3, 3), (3,)), ((5, 3), (2, 3), (2,))
TWO = ((3, 4), (3, 4))
S, T, R = torch.sigmoid, torch.tanh, torch.relu
B = F.binary_cross_entropy_with_logits
# mistake: the mutant, shapes of the inputs, what the cause must say (None where it cannot be named from the numbers)
MUTANTS = {
    "sigmoid without 1 − a": (activation(S, lambda a, z: a), [(3, 4)], "factor 1 − out is missing"),
    "sigmoid without a": (activation(S, lambda a, z: 1 - a), [(3, 4)], "factor out is missing"),
    "sigmoid without either": (activation(S, lambda a, z: a * 0 + 1), [(3, 4)], "out(1 − out) is missing"),
    "sigmoid wrong sign": (activation(S, lambda a, z: -a * (1 - a)), [(3, 4)], "sign is wrong everywhere"),
    "sigmoid of z, not of a": (activation(S, lambda a, z: z * (1 - z)), [(3, 4)], "where out(1 − out) belongs"),
    "sigmoid twice": (activation(S, lambda a, z: (a * (1 - a)) ** 2), [(3, 4)], "out(1 − out) should not be there"),
    "sigmoid 1 + a": (activation(S, lambda a, z: a * (1 + a)), [(3, 4)], "1 + out where 1 − out belongs"),
    "tanh without 1 − a²": (activation(T, lambda a, z: a * 0 + 1), [(3, 4)], "factor 1 − out² is missing"),
    "tanh without the square": (activation(T, lambda a, z: 1 - a), [(3, 4)], "factor 1 + out is missing"),
    "tanh of z": (activation(T, lambda a, z: 1 - z**2), [(3, 4)], "where 1 − out² belongs"),
    "tanh wrong sign": (activation(T, lambda a, z: a**2 - 1), [(3, 4)], "sign is wrong everywhere"),
    "tanh + a²": (activation(T, lambda a, z: 1 + a**2), [(3, 4)], "1 + out² where 1 − out² belongs"),
    "relu without the mask": (activation(R, lambda a, z: z * 0 + 1), [(3, 4)], "sign(out) is missing"),
    "relu with the other mask": (activation(R, lambda a, z: (z < 0).double()), [(3, 4)], None),
    "relu times a": (activation(R, lambda a, z: a), [(3, 4)], "should not be there"),
    "relu of z": (activation(R, lambda a, z: z), [(3, 4)], None),
    "relu leaks": (activation(R, lambda a, z: torch.where(z > 0, 1.0, 0.01)), [(3, 4)], "where inputs[0] < 0"),
    "relu zero": (activation(R, lambda a, z: z * 0), [(3, 4)], "zero everywhere"),
    "linear dx of wᵀ": (linear(dx=lambda dz, x, w: dz @ w.t()), SQUARE, "transposed"),
    "linear dw transposed": (linear(dweight=lambda dz, x, w: x.t() @ dz), SQUARE, "transpose of the right gradient"),
    "linear dw averaged": (linear(dweight=lambda dz, x, w: dz.t() @ x / len(x)), TALL, "1/5 of the right value"),
    "linear dw wrong sign": (linear(dweight=lambda dz, x, w: -dz.t() @ x), TALL, "sign is wrong everywhere"),
    "linear dw zero": (linear(dweight=lambda dz, x, w: w * 0), TALL, "zero everywhere"),
    "linear dbias averaged": (linear(dbias=lambda dz, x, w: dz.mean(0)), TALL, "1/5 of the right value"),
    "linear dbias first row": (linear(dbias=lambda dz, x, w: dz[0]), TALL, "zero"),
    "linear dbias wrong sign": (linear(dbias=lambda dz, x, w: -dz.sum(0)), TALL, "sign is wrong everywhere"),
    "linear dbias flipped": (linear(dbias=lambda dz, x, w: dz.sum(0).flip(0)), TALL, "permuted"),
    "linear dx times 2": (linear(dx=lambda dz, x, w: 2 * dz @ w), TALL, "2 times the right value"),
    "linear dw without the last row": (linear(dweight=lambda dz, x, w: dz[:-1].t() @ x[:-1]), TALL, "only out[4, :]"),
    "mse without 2": (loss(F.mse_loss, lambda x, y: (x - y) / 12, lambda x, y: (y - x) / 6), TWO, "half"),
    "mse summed": (loss(F.mse_loss, lambda x, y: 2 * (x - y), lambda x, y: (y - x) / 6), TWO, "12 times"),
    "mse swapped": (loss(F.mse_loss, lambda x, y: -mse_dx(x, y), lambda x, y: (y - x) / 6), TWO, "sign is wrong"),
    "mse without x − y": (loss(F.mse_loss, lambda x, y: x * 0 + 1 / 6), [*TWO, N], "− inputs[1]) is missing"),
    "mse + instead of −": (loss(F.mse_loss, lambda x, y: 2 * (x + y) / 12), [*TWO, N], "a term with"),
    "mse without the target": (loss(F.mse_loss, lambda x, y: 2 * x / 12), [*TWO, N], "belongs"),
    "mse over rows": (loss(F.mse_loss, lambda x, y: 2 * (x - y) / 3), [*TWO, N], "4 times"),
    "bce without 1 − a": (loss(bce, lambda a, y: (a - y) / a / 12), ["p", "p", N], "should not be there"),
    "bce without a(1 − a)": (loss(bce, lambda a, y: (a - y) / 12), ["p", "p", N], "should not be there"),
    "bce wrong sign": (loss(bce, lambda a, y: -bce_da(a, y)), ["p", "p", N], "sign is wrong everywhere"),
    "bce summed": (loss(bce, lambda a, y: 12 * bce_da(a, y)), ["p", "p", N], "12 times"),
    "bce without 1/a": (loss(bce, lambda a, y: (a - y) / (1 - a) / 12), ["p", "p", N], "should not be there"),
    "logits without σ": (loss(B, lambda z, y: (z - y) / 12), ["z", "p", N], "belongs"),
    "logits tanh": (loss(B, lambda z, y: (z.tanh() - y) / 12), ["z", "p", N], "tanh(inputs[0]) is wrong"),
    "logits without y": (loss(B, lambda z, y: z.sigmoid() / 12), ["z", "p", N], "a term with"),
    "logits y − σ": (loss(B, lambda z, y: -logits_dz(z, y)), ["z", "p", N], "sign is wrong everywhere"),
    "logits summed": (loss(B, lambda z, y: 12 * logits_dz(z, y)), ["z", "p", N], "12 times"),
    "logits times a(1 − a)": (
        loss(B, lambda z, y: logits_dz(z, y) * z.sigmoid() * (1 - z.sigmoid())), ["z", "p", N], None,
    ),
}  # fmt: skip


def inputs_of(shapes):
    """Tensors of the shapes; after N the target needs no gradient; p is a probability, z a logit."""
    target_is_fixed = shapes[-1] is N
    made = []
    for shape in shapes[:-1] if target_is_fixed else shapes:
        tensor = torch.rand(3, 4) * 0.8 + 0.1 if shape == "p" else torch.randn(*((3, 4) if shape == "z" else shape))
        made.append(tensor.double())
    return tuple(t.requires_grad_(k == 0 or not target_is_fixed) for k, t in enumerate(made))


def finding(name):
    mutant, shapes, cause = MUTANTS[name]
    report = torchbp.check(mutant, inputs_of(shapes), checks="values", raise_exception=False)
    lines = "\n".join(report["values"].lines())
    return report["values"].status, lines, cause


@pytest.fixture(scope="module")
def findings():
    """Each mutant audited once."""
    torch.manual_seed(0)
    return {name: finding(name) for name in MUTANTS}


@pytest.mark.parametrize("name", MUTANTS)
def test_every_mistake_is_found(name, findings):
    status, lines, _ = findings[name]
    assert status == "FAIL", lines
    assert len(lines.splitlines()) <= 15


def test_four_of_five_causes_are_named(findings):
    named = {
        n: "likely cause: " in lines and cause is not None and cause in lines
        for n, (_, lines, cause) in findings.items()
    }
    missed = [name for name, fits in named.items() if not fits]
    assert sum(named.values()) >= 0.8 * len(named), missed


def layer_norm(x):
    return (x - x.mean(-1, keepdim=True)) / x.std(-1, correction=0, keepdim=True)


def layer_norm_dx(g, y, x):
    """Without the mean of g."""
    return ((g - y * (g * y).mean(-1, keepdim=True)) / x.std(-1, correction=0, keepdim=True),)


@pytest.mark.parametrize(
    ("forward", "backward", "shape", "words"),
    [
        (layer_norm, layer_norm_dx, (3, 5), "its mean over dimension 1 of inputs[0] is not subtracted"),
        (lambda x: x - x.mean(0), lambda g, y, x: (g.clone(),), (3, 5), "its mean over dimension 0"),
        (F.normalize, lambda g, y, x: (g / x.norm(dim=1, keepdim=True),), (3, 4), "its part along inputs[0]"),
        (lambda x: x / x.norm(), lambda g, y, x: (g / x.norm(),), (5,), "over dimension 0, is not subtracted"),
    ],
)
def test_what_a_normalisation_forgets_is_named(forward, backward, shape, words):
    torch.manual_seed(0)
    assert words in causes(backward, torch.randn(shape, dtype=torch.float64), forward=forward)[1]


@pytest.mark.parametrize(("convolution", "sizes"), [(F.conv1d, (5,)), (F.conv2d, (4, 3))])
def test_a_kernel_that_is_not_flipped_is_named(convolution, sizes):
    def dx(g, y, x, w):
        return convolution(g, w.transpose(0, 1), padding=1), None

    torch.manual_seed(0)
    x = torch.randn(1, 2, *sizes, dtype=torch.float64, requires_grad=True)
    kernel = torch.randn(2, 2, *[3] * len(sizes), dtype=torch.float64)
    assert "the kernel is not flipped" in causes(dx, x, kernel, forward=lambda x, w: convolution(x, w, padding=1))[1]


def test_an_index_that_repeats_is_one_failure():
    """An assignment keeps the last of several gradients. One that drops those of negative indices has another cause."""
    rows, index = torch.randn(5, 3, dtype=torch.float64, requires_grad=True), torch.tensor([0, 2, 4])

    def failed(backward, checks="variations"):
        chosen = function(lambda x, i: x[i], backward)
        return torchbp.check(chosen, (rows, index), checks=checks, raise_exception=False).failed

    def added(g, y, x, i):
        return torch.zeros_like(x).index_put((i,), g, accumulate=True), None

    (found,) = failed(lambda g, y, x, i: (torch.zeros_like(x).index_put((i,), g), None), ["variations", "shapes"])
    assert found.check == "variations"
    assert "likely cause: where an index repeats, gradients add up" in str(found)
    assert not failed(added)
    (other,) = failed(lambda g, y, x, i: added(g * (i >= 0)[:, None], y, x, i))
    assert "an index repeats" not in str(other)


def test_a_missing_conj_is_named():
    wrong = function(lambda a, b: a * b, lambda g, y, a, b: (g * b, g * a))
    pair = tuple(torch.randn(3, dtype=torch.complex128, requires_grad=True) for _ in range(2))
    report = torchbp.check(wrong, pair, checks="values", raise_exception=False)
    assert "a conj() is missing" in str(report)


def test_where_it_is_not_finite_is_named():
    wrong = function(torch.abs, lambda g, y, x: (g * x / y,))
    report = torchbp.check(wrong, torch.tensor([1.0, 0.0, -2.0]), checks="values", raise_exception=False)
    assert "nan where inputs[0][1] = 0" in str(report), str(report)


def causes(backward, *inputs, forward=torch.sin, **options):
    """The lines of the finding, and the cause that it names, or ""."""
    report = torchbp.check(function(forward, backward), inputs, checks="values", raise_exception=False, **options)
    assert report["values"].status == "FAIL", str(report)
    lines = report["values"].lines()
    return "\n".join(lines), next((line for line in lines if "likely cause" in line), "")


@pytest.mark.parametrize("size", [1, 2, 200])
def test_what_fits_by_chance_alone_is_no_cause(size):
    """Few numbers fit one of many guesses: noise has no cause, whatever its seed."""
    for seed in range(4):
        source = torch.Generator().manual_seed(seed)
        x = torch.rand(size, generator=source, dtype=torch.float64) + 0.5
        noise = torch.rand(size, generator=source, dtype=torch.float64) + 0.1
        text, cause = causes(lambda g, y, x, noise=noise: (g * noise,), x)
        assert not cause, text


@pytest.mark.parametrize("size", [1, 5, 200])
@pytest.mark.parametrize("factor", [1 + 2e-6, 1 + 2e-5, 1 + 2e-4])
def test_nothing_is_1_times_the_right_value(size, factor):
    text, cause = causes(lambda g, y, x: (g * x.cos() * factor,), torch.linspace(0.1, 1.5, size).double())
    assert "1 times" not in text
    assert not text.rstrip().endswith("ratio 1")
    assert all(not line.endswith("ratio 1") for line in text.splitlines())
    assert (factor > 1 + 1e-4 and size > 1) == ("times the right value" in cause), text


@pytest.mark.parametrize("size", [5, 200])
def test_a_constant_factor_is_named(size):
    x = torch.linspace(0.1, 1.5, size).double()
    assert "3.7 times the right value" in causes(lambda g, y, x: (g * x.cos() * 3.7,), x)[1]
    assert "sign is wrong everywhere" in causes(lambda g, y, x: (-g * x.cos(),), x)[1]
    assert "not finite" in causes(lambda g, y, x: (g * x.cos() / 0,), x)[1] or size == 5
    floor = causes(lambda g, y, x: (g.clone(),), x, forward=torch.floor)[0]
    assert "nan" not in floor


@pytest.mark.parametrize(
    ("ratio", "error", "shown"),
    [(2.00066, 1e-3, "2"), (3.70001, 1e-4, "3.7"), (-0.51234, 1e-3, "-0.51"), (1 / 3, 0, "0.333333")],
)
def test_a_ratio_has_the_digits_that_are_certain(ratio, error, shown):
    assert digits(ratio, error) == shown


def test_a_single_entry_has_a_cause_only_where_it_is_a_usual_one():
    x = torch.tensor([0.3], dtype=torch.float64)
    assert "twice the right value" in causes(lambda g, y, x: (2 * g * x.cos(),), x)[1]
    assert not causes(lambda g, y, x: (3.7 * g * x.cos(),), x)[1]


def test_a_permutation_is_one_that_moves_something():
    x = torch.linspace(0.1, 1.5, 5).double()
    assert "rolled by 4" in causes(lambda g, y, x: ((g * x.cos()).roll(1),), x)[1]
    assert "flipped" in causes(lambda g, y, x: ((g * x.cos()).flip(0),), x)[1]
    shifted = torch.tensor([0, 0, 3e-6, 0, 2e-6], dtype=torch.float64)
    for options in ({}, {"rtol": 0, "atol": 1e-6}):
        assert "permuted" not in causes(lambda g, y, x: (g * x.cos() * (1 + shifted),), x, **options)[0]


def test_a_hint_suits_what_lacks_the_rule():
    class Inner(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, incoming):
            return incoming * 2

    class Module(torch.nn.Module):
        def forward(self, x):
            return Inner.apply(x).sin()

    x = torch.rand(3)

    def hint(subject, check):
        result = torchbp.check(subject, x, checks=check)[check]
        assert result.status == "UNSUPPORTED", str(result)
        return result.message

    assert "to add it: a staticmethod jvp" in hint(Inner, "jvp")
    assert "to add it in Inner: a staticmethod jvp" in hint(Module(), "jvp")
    assert "to add it in Inner: forward and setup_context" in hint(Module(), "vmap")
    choice = hint(lambda x: x.sin() if x.sum() > 0 else x.cos(), "vmap")
    assert "without .item() or a choice by the numbers" in choice
    assert "setup_context" not in choice
