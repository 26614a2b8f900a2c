"""Each of our formulas with one mistake: the auditor finds it, and mostly names it."""

import pytest
import torch
import torch.nn.functional as F

import torchbp

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
# mistake: the mutant, shapes of the inputs, what the cause must say (None where it cannot be told from the numbers)
MUTANTS = {
    "sigmoid without 1 − a": (activation(S, lambda a, z: a), [(3, 4)], "factor 1 − out is missing"),
    "sigmoid without a": (activation(S, lambda a, z: 1 - a), [(3, 4)], "factor out is missing"),
    "sigmoid without either": (activation(S, lambda a, z: a * 0 + 1), [(3, 4)], "out(1 − out) is missing"),
    "sigmoid wrong sign": (activation(S, lambda a, z: -a * (1 - a)), [(3, 4)], "sign is wrong everywhere"),
    "sigmoid of z, not of a": (activation(S, lambda a, z: z * (1 - z)), [(3, 4)], "where out(1 − out) belongs"),
    "sigmoid twice": (activation(S, lambda a, z: (a * (1 - a)) ** 2), [(3, 4)], "out(1 − out) is too much"),
    "sigmoid 1 + a": (activation(S, lambda a, z: a * (1 + a)), [(3, 4)], "1 + out where 1 − out belongs"),
    "tanh without 1 − a²": (activation(T, lambda a, z: a * 0 + 1), [(3, 4)], "factor 1 − out² is missing"),
    "tanh without the square": (activation(T, lambda a, z: 1 - a), [(3, 4)], "factor 1 + out is missing"),
    "tanh of z": (activation(T, lambda a, z: 1 - z**2), [(3, 4)], "where 1 − out² belongs"),
    "tanh wrong sign": (activation(T, lambda a, z: a**2 - 1), [(3, 4)], "sign is wrong everywhere"),
    "tanh + a²": (activation(T, lambda a, z: 1 + a**2), [(3, 4)], "1 + out² where 1 − out² belongs"),
    "relu without the mask": (activation(R, lambda a, z: z * 0 + 1), [(3, 4)], "sign(out) is missing"),
    "relu with the other mask": (activation(R, lambda a, z: (z < 0).double()), [(3, 4)], None),
    "relu times a": (activation(R, lambda a, z: a), [(3, 4)], "is too much"),
    "relu of z": (activation(R, lambda a, z: z), [(3, 4)], None),
    "relu leaks": (activation(R, lambda a, z: torch.where(z > 0, 1.0, 0.01)), [(3, 4)], "sign(out) is missing"),
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
    "bce without 1 − a": (loss(bce, lambda a, y: (a - y) / a / 12), ["p", "p", N], "is too much"),
    "bce without a(1 − a)": (loss(bce, lambda a, y: (a - y) / 12), ["p", "p", N], "is too much"),
    "bce wrong sign": (loss(bce, lambda a, y: -bce_da(a, y)), ["p", "p", N], "sign is wrong everywhere"),
    "bce summed": (loss(bce, lambda a, y: 12 * bce_da(a, y)), ["p", "p", N], "12 times"),
    "bce without 1/a": (loss(bce, lambda a, y: (a - y) / (1 - a) / 12), ["p", "p", N], "is too much"),
    "logits without σ": (loss(B, lambda z, y: (z - y) / 12), ["z", "p", N], "belongs"),
    "logits tanh": (loss(B, lambda z, y: (z.tanh() - y) / 12), ["z", "p", N], "tanh(inputs[0]) is another"),
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
    mutant, shapes, said = MUTANTS[name]
    report = torchbp.check(mutant, inputs_of(shapes), checks="values", raise_exception=False)
    lines = "\n".join(report["values"].lines())
    return report["values"].status, lines, said


@pytest.mark.parametrize("name", MUTANTS)
def test_every_mistake_is_found(name):
    status, lines, _ = finding(name)
    assert status == "FAIL", lines
    assert len(lines.splitlines()) <= 15


def test_four_of_five_causes_are_named():
    told = {}
    for name in MUTANTS:
        _, lines, said = finding(name)
        told[name] = "likely cause: " in lines and said is not None and said in lines
    missed = [name for name, fits in told.items() if not fits]
    assert sum(told.values()) >= 0.8 * len(told), missed


def test_a_missing_conj_is_named():
    wrong = function(lambda a, b: a * b, lambda g, y, a, b: (g * b, g * a))
    pair = tuple(torch.randn(3, dtype=torch.complex128, requires_grad=True) for _ in range(2))
    report = torchbp.check(wrong, pair, checks="values", raise_exception=False)
    assert "a conj() is missing" in str(report)


def test_where_it_is_not_finite_is_named():
    wrong = function(torch.abs, lambda g, y, x: (g * x / y,))
    report = torchbp.check(wrong, torch.tensor([1.0, 0.0, -2.0]), checks="values", raise_exception=False)
    assert "nan where inputs[0][1] = 0" in str(report), str(report)
