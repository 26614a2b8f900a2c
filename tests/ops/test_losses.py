"""The losses: numbers from outside, kinks, what broadcasts or is cast, and bad input: torch's error that says more."""

import copy
import re
import warnings

import numpy as np
import pytest
import scipy.special
import torch
import torch.nn.functional as F

import torchbp
from tests.ops.test_rules import trained_alike
from torchbp import ops
from torchbp.ops.registry import rules
from torchbp.ops.rules import Loss

DIFFERENCES = "mse_loss", "l1_loss", "huber_loss", "smooth_l1_loss"
REAL = "huber_loss", "smooth_l1_loss", "mse_loss"
WITHOUT_WARNING = {"kl_div": {"reduction": "batchmean"}}


def of_both(name, *tensors, **options):
    """[value, gradients] of ours and of torch's, of those tensors that are floating or complex."""
    results = []
    for package in (ops, F):
        leaves = [t.clone().requires_grad_(t.is_floating_point() or t.is_complex()) for t in tensors]
        loss = getattr(package, name)(*leaves, **options)
        wanted = [leaf for leaf in leaves if leaf.requires_grad]
        results.append([loss.detach(), *torch.autograd.grad(loss.sum(), wanted)])
    return results


# --- numbers from outside ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0.25, 1.0, 3.0])
def test_huber_and_smooth_l1_are_scipys(size):
    x, y = torch.linspace(-4, 4, 33, dtype=torch.double), torch.full((33,), 0.5, dtype=torch.double)
    expected = scipy.special.huber(size, (x - y).numpy())
    np.testing.assert_allclose(ops.huber_loss(x, y, "none", size), expected, rtol=1e-14)
    np.testing.assert_allclose(ops.smooth_l1_loss(x, y, reduction="none", beta=size), expected / size, rtol=1e-14)
    for weight in (None, torch.ones_like(x)):  # of huber's, the mean divides by the number of elements
        mean = ops.huber_loss(x.requires_grad_(), y, delta=size, weight=weight)
        np.testing.assert_allclose(mean.item(), expected.mean(), rtol=1e-14)


def test_the_divergence_is_scipys():
    p, y = torch.rand(2, 5, 4, dtype=torch.double).softmax(-1).unbind()
    y[0, 1] = 0
    expected = scipy.special.rel_entr(y.numpy(), p.numpy())
    x = p.log().requires_grad_()
    np.testing.assert_allclose(ops.kl_div(x, y, reduction="none").detach(), expected, rtol=1e-13, atol=1e-16)
    np.testing.assert_allclose(ops.kl_div(x, y, reduction="batchmean").item(), expected.sum() / 5, rtol=1e-13)
    t = y.log()
    t[0, 1] = -1000  # e^T is 0
    np.testing.assert_allclose(
        ops.kl_div(x, t, reduction="none", log_target=True).detach(), expected, rtol=1e-13, atol=1e-16
    )


def test_the_softmax_example_of_cs231n():
    """https://cs231n.github.io/linear-classify: scores of the classes, of which the third is right."""
    z = torch.tensor([-2.85, 0.86, 0.28], requires_grad=True)
    loss = ops.cross_entropy(z, torch.tensor(2))
    loss.backward()
    assert f"{loss.item():.2f}" == "1.04"
    np.testing.assert_allclose(z.grad, [0.016, 0.631, 0.353 - 1], atol=6e-4)


# --- kinks and edges -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("l1_loss", {}),
        ("huber_loss", {"delta": 0.5}),
        ("smooth_l1_loss", {"beta": 0.5}),
        ("smooth_l1_loss", {"beta": 0.0}),
    ],
)
def test_two_derivatives_at_the_kinks_are_torchs(name, options):
    x = torch.tensor([0.5, -0.5, 0.0, -0.0, 0.25, 2.0, torch.inf, -torch.inf, torch.nan], dtype=torch.double)
    results = []
    for package in (ops, F):
        leaf = x.clone().requires_grad_()
        loss = getattr(package, name)(leaf, torch.zeros_like(x), reduction="none", **options)
        (first,) = torch.autograd.grad(loss.sum(), leaf, create_graph=True)
        second = torch.autograd.grad(first.sum(), leaf)[0] if first.requires_grad else torch.zeros_like(x)
        results.append([loss.detach(), first.detach(), second[:-1]])
    torch.testing.assert_close(*results, rtol=0, atol=0, equal_nan=True)


def test_the_divergence_of_a_class_that_cannot_be():
    """Where Y = 0, ℓ = Y ln Y − Y X is 0, its slope by X too, and that by Y is ln 0; torch's is nan there."""
    x, y = torch.tensor([-1.0, -2.0, 0.0]).requires_grad_(), torch.tensor([0.0, 1.0, 0.0]).requires_grad_()
    loss = ops.kl_div(x, y, reduction="none")
    dx, dy = torch.autograd.grad(loss.sum(), (x, y))
    assert loss.tolist() == [0, 2, 0]
    assert dx.tolist() == [0, -1, 0]
    assert dy.tolist() == [-torch.inf, 3, -torch.inf]


def test_an_ignored_row_has_no_gradient_and_no_weight():
    z, y = torch.randn(4, 3, dtype=torch.double), torch.tensor([0, -100, 2, -100])
    ours, torchs = of_both("cross_entropy", z, y)
    torch.testing.assert_close(ours, torchs)
    assert ours[1][[1, 3]].abs().sum() == 0
    torch.testing.assert_close(ours[0], F.cross_entropy(z[::2], y[::2]))
    for name in ("cross_entropy", "nll_loss"):
        ours, torchs = of_both(name, z, torch.full((4,), -100))  # 0 / 0
        torch.testing.assert_close(ours, torchs, equal_nan=True)
        assert ours[0].isnan()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_gradient_of_a_class_that_is_nearly_sure_keeps_its_digits(dtype):
    """P_y − 1 rounds to 0 where P_y is 1: it is −Σ of the others' P."""
    margin = {torch.float64: 50.0, torch.float32: 20.0, torch.bfloat16: 12.0}[dtype]
    z = torch.tensor([[margin, 0.0]], dtype=dtype, requires_grad=True)
    for loss in (ops.cross_entropy(z, torch.tensor([0])), ops.cross_entropy(z, torch.tensor([0]), torch.ones(2).to(z))):
        (dz,) = torch.autograd.grad(loss, z)
        exact = np.exp(-margin) / (1 + np.exp(-margin)) * np.array([-1, 1])
        np.testing.assert_allclose(dz[0].double(), exact, rtol=8 * torch.finfo(dtype).eps)
    for members in ({}, {"members": 2}):
        model = torchbp.nn.MLP(1, 2, dtype=dtype, **members)
        *_, bias = model.parameters()
        with torch.no_grad():
            bias.copy_(z[0])
        torchbp.backprop(model, torch.zeros(1, 1, dtype=dtype), torch.tensor([0]), torch.nn.CrossEntropyLoss())
        for found in bias.grad.view(-1, 2):
            np.testing.assert_allclose(found.double(), exact, rtol=8 * torch.finfo(dtype).eps)


def test_in_float16_the_probabilities_of_many_classes_are_not_lost():
    """Each is 1.5e-8, less than half the smallest number of float16, and their sum is 7.6e-4."""
    z = torch.zeros(1, 50_000, dtype=torch.float16)
    z[0, 0] = 18
    z.requires_grad_()
    (dz,) = torch.autograd.grad(ops.cross_entropy(z, torch.tensor([0])), z)
    log_p = z.detach().log_softmax(1).double()  # in 16 bits: the relative error of dZ is its absolute one
    np.testing.assert_allclose(float(dz[0, 0]), -float(log_p[0, 1:].exp().sum()), rtol=1e-3)
    others = 49_999 * np.exp(-18)
    np.testing.assert_allclose(float(dz[0, 0]), -others / (1 + others), rtol=1e-2)


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 2)])
def test_classes_may_be_bytes(name, shape):
    z, y = torch.randn(shape), torch.randint(3, (shape[0], *shape[2:]))
    options = {"weight": torch.rand(3), "ignore_index": 1}
    of_bytes, _ = (getattr(ops, name)(z.requires_grad_(), classes, **options) for classes in (y.byte(), y))
    torch.testing.assert_close(of_bytes, getattr(F, name)(z, y, **options))
    of_bytes.backward()


@pytest.mark.parametrize("name", DIFFERENCES)
@pytest.mark.parametrize(
    "shapes", [((2, 3), (3,)), ((3,), (2, 3)), ((2, 3), (2, 1)), ((), (3,)), ((2, 3), ())], ids=str
)
def test_a_target_of_another_shape_is_broadcast_with_a_warning(name, shapes):
    x, y = (torch.randn(shape, dtype=torch.double) for shape in shapes)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ours, torchs = of_both(name, x, y)
    torch.testing.assert_close(ours, torchs)
    assert [w.category for w in caught] == [UserWarning] * 2
    said = f"target has the shape {tuple(y.shape)} and input {tuple(x.shape)}: they are broadcast"
    assert str(caught[0].message).startswith(said)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("shapes", [((2, 3), (3,)), ((3,), (2, 3)), ((), (3,))], ids=str)
def test_the_divergence_broadcasts_and_counts_the_rows_of_its_input(shapes):
    x, y = (torch.rand(shape, dtype=torch.double) for shape in shapes)
    torch.testing.assert_close(*of_both("kl_div", x, y, reduction="batchmean"))


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "huber_loss"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_a_weight_of_each_element(name, reduction, device):
    x, y, weight = torch.randn(3, 4, 3, dtype=torch.double, device=device).unbind()
    torch.testing.assert_close(*of_both(name, x, y, weight=weight.abs() + 0.1, reduction=reduction))


@pytest.mark.parametrize("name", [*DIFFERENCES, "kl_div"])
@pytest.mark.parametrize("dtypes", [(torch.float32, torch.float64), (torch.bfloat16, torch.float32)], ids=str)
def test_tensors_of_two_dtypes_are_promoted(name, dtypes):
    x, y = torch.rand(4, 3).to(dtypes[0]).requires_grad_(), torch.rand(4, 3).to(dtypes[1]).requires_grad_()
    loss = getattr(ops, name)(x, y, **WITHOUT_WARNING.get(name, {}))
    expected = getattr(F, name)(x.to(dtypes[1]), y, **WITHOUT_WARNING.get(name, {}))  # of huber, torch has no gradient
    torch.testing.assert_close(loss, expected)
    found, expected = (torch.autograd.grad(value, (x, y)) for value in (loss, expected))
    torch.testing.assert_close(found, expected, rtol=0.02 if torch.bfloat16 in dtypes else 1e-6, atol=1e-3)


@pytest.mark.parametrize("name", DIFFERENCES)
def test_integers_are_targets(name):
    x, y = torch.randn(4, 3, requires_grad=True), torch.randint(-2, 3, (4, 3))
    losses = getattr(ops, name)(x, y), getattr(F, name)(x, y.float())  # of huber, torch has no gradient
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*(torch.autograd.grad(loss, x) for loss in losses))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", [rule.name for rule in rules(Loss).values() if rule.name != "binary_cross_entropy"])
def test_autocast(name, dtype):
    x, y = torch.rand(4, 3).to(dtype), torch.rand(4, 3)
    if rules(Loss)[name].target == "classes":
        y = torch.tensor([0, 2, 1, 1])
    with torch.autocast("cpu", dtype):
        ours, torchs = of_both(name, x, y, **WITHOUT_WARNING.get(name, {}))
    assert ours[0].dtype is torch.float32
    torch.testing.assert_close(ours, torchs, rtol=1e-2, atol=1e-3)


# --- the engine ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("L1Loss", {}),
        ("HuberLoss", {"delta": 0.3}),
        ("SmoothL1Loss", {"beta": 0.3}),
        ("KLDivLoss", {"log_target": True}),
    ],
)
@pytest.mark.filterwarnings("ignore:reduction.{1,2}.mean. divides")
def test_the_engine_descends_on_it(name, options, reduction):
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()
    x, y = torch.randn(6, 3).double(), torch.randn(6, 2).double()
    trained_alike(model, getattr(torch.nn, name)(reduction=reduction, **options), x, y, lr=0.01)


@pytest.mark.parametrize("name", ["L1Loss", "HuberLoss", "SmoothL1Loss"])
def test_fit_descends_on_it(name):
    model = torchbp.nn.MLP(3, 4, 2, dtype=torch.double)
    theirs, loss = copy.deepcopy(model), getattr(torch.nn, name)()
    x, y = torch.randn(6, 3).double(), torch.randn(6, 2).double()
    torchbp.SGD(model, lr=0.1, loss=loss).fit(x, y, batch_size=6, max_epochs=5, shuffle=False)
    reference = torch.optim.SGD(theirs.parameters(), lr=0.1)
    for _ in range(5):
        reference.zero_grad()
        loss(theirs(x), y).backward()
        reference.step()
    torch.testing.assert_close(model.state_dict(), theirs.state_dict())


@pytest.mark.parametrize("name", ["L1Loss", "HuberLoss", "SmoothL1Loss"])
def test_each_member_of_an_ensemble_descends_on_its_own_loss(name):
    nets = [torchbp.nn.MLP(3, 4, 2, dtype=torch.double) for _ in range(2)]
    x, y = torch.randn(6, 3).double(), torch.randn(6, 2).double()
    loss, ensemble = getattr(torch.nn, name)(), torchbp.stack(nets)
    values = torchbp.SGD(ensemble, lr=0.1, loss=loss).backprop_step(x, y)
    for e, net in enumerate(nets):
        torch.testing.assert_close(values[e], torchbp.SGD(net, lr=0.1, loss=loss).backprop_step(x, y))
        torch.testing.assert_close({k: t[e] for k, t in ensemble.state_dict().items()}, dict(net.state_dict()))


# --- bad input -----------------------------------------------------------------------------------------------------

half, classes = torch.full((2, 3), 0.5), torch.tensor([0, 2])
BOTH_ENTROPIES = "binary_cross_entropy", "binary_cross_entropy_with_logits"
ENTROPIES = (*BOTH_ENTROPIES, "cross_entropy")
OF_CLASSES = "cross_entropy", "nll_loss"
REDUCTION = "reduction='median' is not known; use "
GRADIENT = "of the shape (3,), requires grad, but a loss is not differentiable in its"
BAD = [  # names, arguments, options, what the message says
    (BOTH_ENTROPIES, (half, half[0]), {}, "target has the shape (3,) and input (2, 3)"),
    (BOTH_ENTROPIES, (half, half[:, :1]), {}, "target has the shape (2, 1) and input (2, 3)"),
    (BOTH_ENTROPIES, (half, half.long()), {}, "target is torch.int64"),
    (BOTH_ENTROPIES, (half, half * 1j), {}, "target is torch.complex64"),
    (BOTH_ENTROPIES, (half.long(), half), {}, "input is torch.int64"),
    (BOTH_ENTROPIES, (half, half), {"weight": torch.ones(2)}, "weight has the shape (2,), which does not broadcast"),
    (BOTH_ENTROPIES, (half, half), {"weight": torch.ones(1, 2, 3)}, "weight has the shape (1, 2, 3), which does not"),
    (BOTH_ENTROPIES, (half, half), {"weight": torch.ones(3, requires_grad=True)}, f"weight, {GRADIENT} weight"),
    (BOTH_ENTROPIES, (half, half), {"weight": torch.ones(3) * 1j}, "weight, of the shape (3,), is torch.complex64"),
    (BOTH_ENTROPIES[1:], (half, half), {"pos_weight": torch.ones(2)}, "pos_weight has the shape (2,), which does not"),
    (BOTH_ENTROPIES[1:], (half, half), {"pos_weight": torch.ones(3, requires_grad=True)}, f"pos_weight, {GRADIENT}"),
    (BOTH_ENTROPIES[1:], (half, half), {"pos_weight": torch.ones(3) * 1j}, "pos_weight, of the shape (3,), is torch.c"),
    (BOTH_ENTROPIES[1:], (half, half), {"pos_weight": 2.0}, "pos_weight=2.0 is no tensor; give torch.tensor(2.0)"),
    (BOTH_ENTROPIES[1:], (half, half), {"weight": 2.0}, "weight=2.0 is no tensor; give torch.tensor(2.0)"),
    (BOTH_ENTROPIES[:1], (half, half + 1), {}, "all elements of target should be between 0 and 1"),
    (BOTH_ENTROPIES[:1], (half, half - 1), {}, "all elements of target should be between 0 and 1"),
    (BOTH_ENTROPIES[:1], (half + 1, half), {}, "all elements of input should be between 0 and 1"),
    (BOTH_ENTROPIES[:1], (half * torch.nan, half), {}, "all elements of input should be between 0 and 1"),
    (BOTH_ENTROPIES[:1], (half, half.double()), {}, "target is torch.float64 and input torch.float32"),
    (BOTH_ENTROPIES, (half, half), {"reduction": "median"}, f'{REDUCTION}"mean", "sum" or "none"'),
    (DIFFERENCES, (half, half), {"reduction": "median"}, f'{REDUCTION}"mean", "sum" or "none"'),
    (OF_CLASSES, (half, classes), {"reduction": "median"}, f'{REDUCTION}"mean", "sum" or "none"'),
    (("kl_div",), (half, half), {"reduction": "median"}, f'{REDUCTION}"batchmean", "mean", "sum" or "none"'),
    (
        ("mse_loss", "l1_loss", "huber_loss"),
        (half, half),
        {"weight": half[0]},
        "weight has the shape (3,) and input (2,",
    ),
    (
        DIFFERENCES[:1],
        (half, half),
        {"weight": torch.ones(2, 3, device="meta")},
        "weight of the shape (2, 3) is on meta",
    ),
    (REAL, (half.long(), half.long()), {}, "input and target are torch.int64; give real floating numbers"),
    (REAL, (half * 1j, half * 1j), {}, "input and target are torch.complex64; give real floating numbers"),
    (("huber_loss",), (half, half), {"delta": 0.0}, "delta=0.0 is not positive"),
    (("huber_loss",), (half, half), {"delta": -1}, "delta=-1 is not positive"),
    (("smooth_l1_loss",), (half, half), {"beta": -1.0}, "beta=-1.0 is negative; use 0 or more"),
    (("kl_div",), (half, half.long()), {"reduction": "sum"}, "input is torch.float32 and target torch.int64"),
    (("kl_div",), (half, half * 1j), {"reduction": "sum"}, "input is torch.float32 and target torch.complex64"),
    (
        ("kl_div",),
        (half, half[:, :2]),
        {"reduction": "sum"},
        "target has the shape (2, 2) and input (2, 3), which do n",
    ),
    (
        OF_CLASSES,
        (half, torch.tensor([0, 3])),
        {},
        "Target 3 is out of bounds: input has the shape (2, 3), so classes are 0",
    ),
    (OF_CLASSES, (half, torch.tensor([0, -1])), {}, "Target -1 is out of bounds: input has the shape (2, 3)"),
    (OF_CLASSES, (half, classes.int()), {}, "target is torch.int32 in the shape (2,), and input has the shape (2, 3)"),
    (OF_CLASSES, (half, classes.float()), {}, "target is torch.float32 in the shape (2,), and input"),
    (
        OF_CLASSES,
        (half, classes[:1]),
        {},
        "target is torch.int64 in the shape (1,), and input has the shape (2, 3); give",
    ),
    (
        OF_CLASSES,
        (half, classes[:, None]),
        {},
        "target is torch.int64 in the shape (2, 1), and input has the shape (2, 3)",
    ),
    (OF_CLASSES, (half[..., None], classes), {}, "of each row, as int64 in the shape (2, 1)"),
    (OF_CLASSES, (half[0], classes), {}, "of each row, as int64 in the shape ()"),
    (OF_CLASSES[1:], (half[0, 0], classes[0]), {}, "input is a single number"),
    (
        OF_CLASSES[:1],
        (half, half[:, :2]),
        {},
        "target is torch.float32 in the shape (2, 2), and input has the shape (2, 3)",
    ),
    (
        OF_CLASSES[:1],
        (half, half.long()),
        {},
        "target has the shape of input, (2, 3), as probabilities have, and is torch.i",
    ),
    (OF_CLASSES[:1], (half, half), {"ignore_index": 1}, "ignore_index=1 has no meaning for a target of probabilities"),
    (OF_CLASSES, (half.long(), classes), {}, "input is torch.int64; give real floating numbers"),
    (
        OF_CLASSES,
        (half, classes),
        {"weight": torch.ones(2)},
        "weight has the shape (2,); give one number for each of the 3",
    ),
    (
        OF_CLASSES,
        (half, classes),
        {"weight": torch.ones(3).double()},
        "weight is torch.float64 and input torch.float32",
    ),
    (OF_CLASSES, (half, classes), {"weight": torch.ones(3, requires_grad=True)}, f"weight, {GRADIENT} weight"),
    (OF_CLASSES[:1], (half, classes), {"label_smoothing": 1.5}, "label_smoothing=1.5 is not in [0, 1]"),
]


def each_bad():
    for names, arguments, options, message in BAD:
        for name in names:
            yield pytest.param(name, arguments, options, message, id=f"{name}, {message}")


@pytest.mark.parametrize(("name", "arguments", "options", "message"), list(each_bad()))
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_bad_input_raises_torchs_class_and_says_what_is_wrong(name, arguments, options, message):
    value, target = arguments
    if value.is_floating_point() or value.is_complex():
        value = value.clone().requires_grad_()
    with pytest.raises(error_of(getattr(F, name), value, target, **options), match=re.escape(message)):
        getattr(ops, name)(value, target, **options)


def error_of(function, *args, **options):
    """The class of the error that it raises."""
    try:
        function(*args, **options)
    except Exception as error:
        return type(error)
    raise AssertionError("no error")


@pytest.mark.parametrize("name", DIFFERENCES)
def test_shapes_that_do_not_broadcast_are_named(name):
    with pytest.raises(RuntimeError, match=r"target has the shape \(2, 2\) and input \(2, 3\), which do not broadcast"):
        getattr(ops, name)(half, half[:, :2])


def test_a_negative_label_smoothing_is_refused():
    with pytest.raises(RuntimeError, match=r"label_smoothing=-0\.5 is not in"):  # torch takes it as 0
        ops.cross_entropy(half, classes, label_smoothing=-0.5)


@pytest.mark.parametrize(
    ("loss", "y", "message"),
    [
        (torch.nn.BCEWithLogitsLoss(weight=torch.ones(2)), half, "weight has the shape (2,)"),
        (torch.nn.BCEWithLogitsLoss(pos_weight=torch.ones(2)), half, "pos_weight has the shape (2,)"),
        (torch.nn.BCELoss(weight=torch.ones(2)), half, "weight has the shape (2,)"),
        (torch.nn.CrossEntropyLoss(weight=torch.ones(2)), classes, "weight has the shape (2,)"),
        (torch.nn.NLLLoss(weight=torch.ones(2)), classes, "weight has the shape (2,)"),
        (torch.nn.CrossEntropyLoss(), classes + 1, "Target 3 is out of bounds: input has the shape"),
    ],
    ids=str,
)
def test_a_wrong_weight_is_named_by_our_modules_and_by_the_engine(loss, y, message):
    x, model = torch.randn(2, 4), torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Sigmoid())
    error = IndexError if "Target" in message else RuntimeError
    ours = getattr(torchbp.nn, type(loss).__name__)()
    ours.__dict__.update(loss.__dict__)
    with pytest.raises(error, match=re.escape(message)):
        ours(model(x), y)
    with pytest.raises(error, match=re.escape(message)):
        torchbp.backprop(model, x, y, loss)
    with pytest.raises(error, match=re.escape(message)):
        torchbp.SGD(torchbp.nn.MLP(4, 3, members=2), loss=loss).backprop_step(x, y)


def test_the_engine_takes_a_weight_of_another_dtype():
    loss = torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor([2.0, 3.0]).double())
    model, x, y = torch.nn.Linear(3, 2), torch.randn(4, 3), torch.rand(4, 2)
    expected = torch.autograd.grad(loss(model(x), y), list(model.parameters()))
    torchbp.backprop(model, x, y, loss)
    torch.testing.assert_close([p.grad for p in model.parameters()], list(expected))
