"""The step of a whole training: losses of classes, dropout and norms, the optimizers, and many steps, against torch."""

import copy
import json

import pytest
import torch
from torch import nn

import torchbp
from tests.explanation.lines import check_numbers
from tests.explanation.samples import XOR
from torchbp.explanation.render.numpy_code import name_of

X, Y = (tensor.double() for tensor in XOR)


def network(*layers):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 4), *layers).double()


def off(explanation):
    return [(record.name, check) for record in explanation.records for check in record.checks if check.ok is False]


CLASSES = torch.tensor([0, 2, 1, 2])
WEIGHT = torch.tensor([0.5, 1.0, 3.0]).double()


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("rows", [1, 4])
def test_softmax_cross_entropy(rows, weight, smoothing, reduction):
    loss = nn.CrossEntropyLoss(weight, label_smoothing=smoothing, reduction=reduction)
    net = network(nn.Tanh(), nn.Linear(4, 3).double())
    explanation = torchbp.explain(net, X[:rows], CLASSES[:rows], loss=loss)
    z = net(X[:rows]).detach().requires_grad_()
    value = loss(z, CLASSES[:rows])
    (gradient,) = torch.autograd.grad(value, z)
    assert explanation.loss == pytest.approx(value.item())
    torch.testing.assert_close(explanation["dL/dZ2"].tensor, gradient)
    torch.testing.assert_close(explanation["A2"].tensor, z.detach().softmax(1))
    assert explanation.values["y"].argmax(1).tolist() == CLASSES[:rows].tolist()
    assert off(explanation) == []
    check_numbers(explanation.records)
    assert ("w" in explanation.step.given) == (weight is not None)


def test_the_equations_of_the_softmax_and_its_loss():
    net = network(nn.Tanh(), nn.Linear(4, 3).double())
    explanation = torchbp.explain(net, X, CLASSES, loss=nn.CrossEntropyLoss())
    assert explanation["A2"].equation == "A2 = exp(Z2)/(Σₖ exp(Z2))"
    assert explanation["A2"].sizes == "(4×3), row by row"
    assert explanation["L"].equation == "L = −(1/N) Σ y ln A2"
    assert explanation["dL/dZ2"].equation == "dL/dZ2 = A2 ∘ (dL/dA2 − Σₖ dL/dA2 ∘ A2) = (A2 − y)/N"
    one = torchbp.explain(net, X[0], 0, loss=nn.CrossEntropyLoss())
    assert one["L"].numbers == f"L = −ln({one['A2'].tensor[0, 0].item():.4g}) = {one.loss:.4g}"
    for y in (torch.tensor(0), [0], [1, 0, 0]):
        assert torchbp.explain(net, X[0], y, loss=nn.CrossEntropyLoss()).loss == one.loss


@pytest.mark.parametrize("z", [20.0, 36.0, 800.0])
@pytest.mark.parametrize("weight", [None, [0.5, 2.0, 1.0]])
def test_a_class_that_is_sure_keeps_its_small_gradient(z, weight):
    net = nn.Sequential(nn.Linear(1, 3, bias=False)).double()
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[z], [0.0], [0.0]]))
    loss = nn.CrossEntropyLoss(None if weight is None else torch.tensor(weight), reduction="sum")
    right, wrong = (torchbp.explain(net, [1.0], y, loss=loss) for y in (0, 1))
    assert off(right) == off(wrong) == []
    others = torch.tensor(-z).double().exp().item()
    w = weight or [1.0, 1.0]
    assert right["dL/dZ1"].tensor.tolist()[0] == pytest.approx([-2 * w[0] * others, w[0] * others, w[0] * others])
    assert wrong["dL/dZ1"].tensor[0, 1].item() == pytest.approx(-w[1])
    if z == 36:
        check_numbers([right["dL/dZ1"], wrong["dL/dZ1"]])
        assert "computed as minus the sum of the other classes' A1" in right["dL/dZ1"].why


def test_log_softmax_with_its_loss_is_the_same():
    linear = network(nn.Tanh(), nn.Linear(4, 3).double())
    by_log = torchbp.explain(nn.Sequential(*linear, nn.LogSoftmax(1)), X, CLASSES, loss=nn.NLLLoss(WEIGHT))
    whole = torchbp.explain(linear, X, CLASSES, loss=nn.CrossEntropyLoss(WEIGHT))
    assert by_log.loss == pytest.approx(whole.loss)
    torch.testing.assert_close(by_log["dL/dW1"].tensor, whole["dL/dW1"].tensor)
    assert off(by_log) == []
    assert by_log.observations == whole.observations


def test_dropout_draws_its_mask_once_and_it_is_given():
    net = network(nn.Tanh(), nn.Dropout(0.5), nn.Linear(4, 1).double())
    torch.manual_seed(3)
    explanation = torchbp.explain(net, X, Y, steps=2)
    mask = explanation.step.given["m1"]
    assert set(mask.unique().tolist()) == {0.0, 2.0}
    for prime in ("", "′"):
        torch.testing.assert_close(explanation[f"B1{prime}"].tensor, explanation[f"A1{prime}"].tensor * mask)
    torch.testing.assert_close(explanation["dL/dA1"].tensor, explanation["dL/dB1"].tensor * mask)
    assert off(explanation) == []
    assert not torch.equal(explanation.steps[1].step.given["m1"], mask)  # each step draws another one
    assert "m1 (4×4)" in explanation.to_text()
    evaluated = torchbp.explain(net.eval(), X, Y)
    assert "m1" not in evaluated.step.given
    torch.testing.assert_close(evaluated["B1"].tensor, evaluated["A1"].tensor)


@pytest.mark.parametrize("affine", [False, True])
def test_layer_norm(affine):
    net = network(nn.LayerNorm(4, elementwise_affine=affine, dtype=torch.float64), nn.ReLU(), nn.Linear(4, 1).double())
    explanation = torchbp.explain(net, X, Y)
    torch.testing.assert_close(explanation["μ2"].tensor, explanation["Z1"].tensor.mean(1, keepdim=True))
    torch.testing.assert_close(explanation["U2"].tensor.mean(1), torch.zeros(4).double())
    assert explanation["Z2"].equation == ("Z2 = U2 ∘ w2 + b2" if affine else "Z2 = U2")
    z = net[0](X).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(nn.BCEWithLogitsLoss()(net[1:](z), Y), z)
    torch.testing.assert_close(explanation["dL/dZ1"].tensor, gradient)
    assert off(explanation) == []
    check_numbers(explanation.records)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_norm_of_one_feature_in_any_precision(dtype):
    """Its row is 0, and what is left of it in a kernel is rounding."""
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(2, 1), nn.LayerNorm(1), nn.Tanh(), nn.Linear(1, 3)).to(dtype)
    explanation = torchbp.explain(net, X, CLASSES, loss=nn.CrossEntropyLoss())
    assert off(explanation) == []
    assert {record.tensor.dtype for record in explanation.records} == {dtype}


def test_derivatives_by_the_inputs():
    net = network(nn.Tanh(), nn.Linear(4, 1).double())
    x = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(nn.BCEWithLogitsLoss()(net(x), Y), x)
    explanation = torchbp.explain(net, X, Y)
    torch.testing.assert_close(explanation["dL/dX"].tensor, gradient)
    assert [check.ok for check in explanation["dL/dX"].checks] == [True, True]


OPTIMIZERS = {
    "descent": lambda p: torch.optim.SGD(p, lr=0.3),
    "decay": lambda p: torch.optim.SGD(p, lr=0.3, weight_decay=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.3, momentum=0.9, weight_decay=0.1),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.3, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, betas=(0.8, 0.9)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_step_is_the_optimizers(name):
    """From its first step, and from the middle of a training, whose state the optimizer has."""
    net = network(nn.Tanh(), nn.Linear(4, 1).double())
    net[0].bias.requires_grad_(False)
    optimizer = OPTIMIZERS[name](net.parameters())
    for _ in range(2):
        before = copy.deepcopy(optimizer.state_dict())
        explanation = torchbp.explain(net, X, Y, optimizer=optimizer, steps=4)
        torch.testing.assert_close(optimizer.state_dict(), before, rtol=0, atol=0)
        losses = []
        for place in range(4):
            losses.append(nn.BCEWithLogitsLoss()(net(X), Y))
            optimizer.zero_grad()
            losses[-1].backward()
            optimizer.step()
            if place in (0, 3):
                step = explanation.steps[place]
                assert off(step) == []
                assert step.loss_after(step.lr) == step.new_loss
                for key, tensor in step.updated.items():
                    torch.testing.assert_close(net.state_dict()[key], tensor)
        summaries = explanation.steps.summaries()
        torch.testing.assert_close(torch.tensor([s.loss for s in summaries]), torch.stack(losses).float().detach())
        assert "0.bias" not in explanation.updated
    assert explanation.steps[3].step.descent.t in (4, 8)
    check_numbers(explanation.records)


def test_the_equations_of_the_updates():
    net = network()
    equations = {}
    for name, make in OPTIMIZERS.items():
        explanation = torchbp.explain(net, X, torch.ones(4, 4), optimizer=make(net.parameters()))
        equations[name] = [r.equation for r in explanation.records if r.stage == "update" and "W1′" in r.name]
    assert equations == {
        "descent": ["W1′ = W1 − α dL/dW1"],
        "decay": ["W1′ = W1 − α (dL/dW1 + λ W1)"],
        "momentum": ["vW1′ = μ vW1 + dL/dW1 + λ W1", "W1′ = W1 − α vW1′"],
        "nesterov": ["vW1′ = μ vW1 + dL/dW1", "W1′ = W1 − α (dL/dW1 + μ vW1′)"],
        "adam": [
            "mW1′ = β1 mW1 + (1 − β1) (dL/dW1 + λ W1)",
            "vW1′ = β2 vW1 + (1 − β2) (dL/dW1 + λ W1)²",
            "W1′ = W1 − α mW1′/(1 − β1^t)/(sqrt(vW1′/(1 − β2^t)) + ε)",
        ],
        "adamw": [
            "mW1′ = β1 mW1 + (1 − β1) dL/dW1",
            "vW1′ = β2 vW1 + (1 − β2) (dL/dW1)²",
            "W1′ = W1 − α (mW1′/(1 − β1^t)/(sqrt(vW1′/(1 − β2^t)) + ε) + λ W1)",
        ],
    }


BAD = [
    (lambda net: torch.optim.RMSprop(net.parameters()), TypeError, "optimizer=RMSprop has no equations here; use"),
    (lambda net: torch.optim.SGD(nn.Linear(2, 1).parameters(), 0.1), ValueError, "does not have the model's 0.weight"),
    (lambda net: torch.optim.Adam(net.parameters(), amsgrad=True), ValueError, "has amsgrad=True, without an equation"),
    (
        lambda net: torch.optim.SGD([{"params": [p], "lr": 0.1 * i} for i, p in enumerate(net.parameters(), 1)]),
        ValueError,
        "groups have lr=0.1 and 0.2; explain shows one set of settings: use one group",
    ),
]


@pytest.mark.parametrize(("make", "error", "message"), BAD, ids=[message for *_, message in BAD])
def test_optimizers_without_equations(make, error, message):
    net = network(nn.Linear(4, 1).double())
    with pytest.raises(error, match=message):
        torchbp.explain(net, X, Y, optimizer=make(net))


def test_lr_beside_an_optimizer_is_refused():
    net = network(nn.Linear(4, 1).double())
    with pytest.raises(TypeError, match="lr and optimizer are both given"):
        torchbp.explain(net, X, Y, lr=0.1, optimizer=torch.optim.SGD(net.parameters(), lr=0.1))


def test_steps_are_a_sequence_of_explanations():
    explanation = torchbp.explain(network(nn.Tanh(), nn.Linear(4, 1).double()), X, Y, lr=1.0, steps=5)
    assert len(explanation.steps) == 5
    assert explanation.steps[0] is explanation
    assert [step.number for step in explanation.steps[1:4]] == [2, 3, 4]
    for before, after in zip(explanation.steps, explanation.steps[1:], strict=False):
        assert after.loss == before.new_loss
    with pytest.raises(IndexError):
        explanation.steps[5]
    written = json.loads(explanation.to_json())
    assert [step["loss"] for step in written["steps"]] == [step.loss for step in explanation.steps]
    assert written["constants"]["α"] == 1.0
    assert set(written["given"]) == {"X", "y", "W1", "b1", "W2", "b2"}


def test_a_member_of_an_ensemble():
    ensemble = torchbp.nn.MLP(2, 3, 1, members=3, dtype=torch.float64)
    for number, alone in enumerate(torchbp.unstack(ensemble), 1):
        expected = torchbp.explain(alone, X, Y)
        assert torchbp.explain(ensemble, X, Y, member=number).new_loss == expected.new_loss


def test_images_are_flattened():
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 1))
    x = torch.randn(3, 1, 2, 2)
    explanation = torchbp.explain(net, x, torch.ones(3, 1))
    assert explanation["A0"].equation == "A0 = X"
    torch.testing.assert_close(explanation["Z1"].tensor, net(x).detach())
    assert off(explanation) == []


@pytest.mark.parametrize(
    ("loss", "equation", "slope"),
    [
        (nn.MSELoss(), "L = (1/(2 N)) Σ (Z1 − y)²", "dL/dZ1 = (1/N) (Z1 − y)"),
        (nn.MSELoss(reduction="sum"), "L = (1/2) Σ (Z1 − y)²", "dL/dZ1 = Z1 − y"),
        (nn.BCEWithLogitsLoss(), None, "dL/dZ1 = dL/dA1 ∘ A1 ∘ (1 − A1) = (A1 − y)/(2 N)"),
        (nn.L1Loss(reduction="sum"), "L = (1/2) Σ abs(Z1 − y)", "dL/dZ1 = (1/2) sgn(Z1 − y)"),
    ],
)
def test_a_loss_times_a_factor(loss, equation, slope):
    torch.manual_seed(0)
    net = nn.Linear(2, 1).double()
    net = nn.Sequential(net)
    half, whole = torchbp.explain(net, X, Y, loss=loss, factor=0.5), torchbp.explain(net, X, Y, loss=loss)
    assert half.loss == pytest.approx(whole.loss / 2)
    for name in ("dL/dZ1", "dL/dW1", "dL/db1", "dL/dX"):
        torch.testing.assert_close(half[name].tensor, whole[name].tensor / 2)
    assert equation in (None, half["L"].equation)
    assert half["dL/dZ1"].equation == slope
    assert off(half) == []
    check_numbers(half.records)
    assert f"{loss.reduction}, times 0.5; N = 4 rows" in " ".join(half.to_text().split())


def test_identity_is_no_step():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 4), nn.Identity(), nn.Tanh(), nn.Identity(), nn.Linear(4, 1)).double()
    explanation = torchbp.explain(net, X, Y, lr=0.3)
    assert [record.name for record in explanation.records[:5]] == ["Z1", "A1", "Z2", "A2", "L"]
    assert list(explanation.updated) == ["0.weight", "0.bias", "4.weight", "4.bias"]
    torchbp.SGD(net, lr=0.3).backprop_step(X, Y)
    torch.testing.assert_close(dict(net.state_dict()), explanation.updated)
    net[1].register_forward_hook(lambda module, x, z: 2 * z)
    with pytest.raises(TypeError, match="layer '1', an Identity, has a hook"):
        torchbp.explain(net, X, Y)


def test_the_notebook_of_any_step_computes_every_quantity():
    net = network(nn.LayerNorm(4), nn.GELU(), nn.Dropout(0.3), nn.Linear(4, 3)).double()
    smooth = nn.CrossEntropyLoss(WEIGHT, label_smoothing=0.1)
    adamw = torch.optim.AdamW(net.parameters(), lr=0.1)
    explanations = [
        torchbp.explain(net, X, CLASSES, loss=smooth, optimizer=adamw),
        torchbp.explain(net[:1], X, torch.rand(4, 4), loss=nn.MSELoss(), factor=0.5),
        torchbp.explain(nn.Sequential(*net[:1], nn.LogSoftmax(1)), X, CLASSES, loss=nn.NLLLoss()),
    ]
    for explanation in explanations:
        names = {}
        for cell in json.loads(explanation.to_notebook())["cells"]:
            if cell["cell_type"] == "code":
                exec("".join(cell["source"]), names)
        for record in explanation.records:
            torch.testing.assert_close(torch.tensor(names[name_of(record.quantity)]), record.tensor)
        assert "exercise" not in names or names["exercise"].grade(names["answers"]).right


def test_a_summary_holds_no_tensor_but_the_answers_and_computes_the_others_when_asked():
    torch.manual_seed(0)
    net = torchbp.nn.MLP(2, 3, 1)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1, weight_decay=0.01)
    explanation = torchbp.explain(net, *XOR, optimizer=optimizer, steps=4)
    for step, summary in zip(explanation.steps, explanation.steps.summaries(), strict=True):
        held = [value for value in vars(summary).values() if isinstance(value, torch.Tensor | dict)]
        assert len(held) == 1
        assert held[0] is summary.answers
        for name, tensor in summary.values.items():
            assert torch.equal(tensor, step.values[name])
        assert {"Z1", "A2", "L", "dL/dW1", "mW1"} <= set(summary.values)


def test_the_settings_of_the_optimizer_stand_in_every_head():
    net = torchbp.nn.MLP(2, 3, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    explanation = torchbp.explain(net, *XOR, optimizer=optimizer, unscaled=XOR[0] * 10)
    told = explanation.step.descent.described()
    assert "μ = 0.9" in told
    for text in (
        explanation.to_text(),
        explanation.to_markdown(),
        "".join(json.loads(explanation.to_notebook())["cells"][0]["source"]),
    ):
        assert told in text
    assert "update: SGD" in explanation.to_latex()
    assert json.loads(explanation.to_json())["unscaled"]["values"] == (XOR[0] * 10).tolist()
