"""Which loss explain takes, and what its messages advise, is read from the rules: those of made-up operations too."""

import pytest
import torch
from torch.nn import functional as F

import torchbp
from tests.explanation.samples import XOR
from torchbp.explanation.observations.answers import errors
from torchbp.explanation.observations.saturation import logit_form
from torchbp.ops.expressions import A, Indicator, Number, Z, maximum, y
from torchbp.ops.registry import rule_of, rules
from torchbp.ops.rules import Activation, Loss

X, Y = XOR
SIGN = {  # a loss of answers from -1 to 1, such as those of tanh
    "name": "sign_error",
    "apply": lambda a, y: (a - y).square().mean(),
    "each": lambda a, y: (a - y).square(),
    "derivative": lambda a, y: 2 * (a - y),
    "equation": (A - y) ** 2,
    "slope": 2 * (A - y),
    "domain": (-1.0, 1.0),
    "description": "",
}


class SignError(torch.nn.modules.loss._Loss):
    def forward(self, a, y):
        return F.mse_loss(a, y, reduction=self.reduction)


class SignErrorOfLogits(SignError):
    def forward(self, z, y):
        return super().forward(z.tanh(), y)


def of_logits(of_answers):
    """The same of logits; its equation is another object, of the same meaning."""
    parts = {"each": lambda z, y: (z.tanh() - y).square(), "equation": (A - y) ** 2, "of_answers": of_answers}
    parts |= {"derivative": lambda z, y: 2 * (z.tanh() - y) * (1 - z.tanh() ** 2), "error": 2 * (A - y) * (1 - A**2)}
    return Loss(**SIGN | parts | {"name": "sign_error_of_logits", "answers": rules(Activation)["tanh"]})


def line(*more):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(2, 1), *more).double()


def test_a_model_without_such_answers_is_refused_with_the_activations_and_losses_that_fit(registered):
    rule = Loss(**SIGN)
    loss = registered(rule, SignError)()
    activations = "Hardsigmoid, Sigmoid or Tanh"
    message = f"takes outputs between -1 and 1, and the model does not end with a {activations}; add one, or use "
    with pytest.raises(TypeError, match=f"SignError {message}HuberLoss, KLDivLoss, L1Loss, MSELoss or SmoothL1Loss$"):
        torchbp.explain(line(), X, Y, loss=loss)
    registered(of_logits(rule), SignErrorOfLogits)
    with pytest.raises(TypeError, match=f"SignError {message}SignErrorOfLogits$"):
        torchbp.explain(line(), X, Y, loss=loss)
    torchbp.explain(line(torch.nn.Tanh()), X, Y, loss=loss)


def test_the_losses_that_take_any_number_are_named(registered):
    registered(Loss(**SIGN | {"domain": None}), SignError)
    losses = "HuberLoss, KLDivLoss, L1Loss, MSELoss, SignError or SmoothL1Loss"
    with pytest.raises(ValueError, match=f"y holds 2; .*, and {losses} any number"):
        torchbp.explain(line(), X, 2 * Y)


class HardSigmoid(torch.nn.Module):
    def forward(self, z):
        return (z / 6 + 0.5).clamp(0, 1)


def test_the_loss_is_that_of_answers_where_the_model_gives_them(registered):
    """Of any activation whose answers are probabilities; of another one the loss takes logits."""
    rule = Activation(
        name="hard_sigmoid",
        apply=HardSigmoid().forward,
        forward=HardSigmoid().forward,
        backward=lambda da, z: da * ((z > -3) & (z < 3)) / 6,
        saves="input",
        equation=1 - maximum(1 - maximum(Z / 6 + 0.5, 0), 0),
        slope=Indicator(Z, ">", Number(-3)) * Indicator(Z, "<", Number(3)) / 6,
        description="",
        slope_description="",
        steepest=1 / 6,
        flat="both sides",
        range=(0.0, 1.0),
    )
    explanation = torchbp.explain(line(registered(rule, HardSigmoid)()), X, Y)
    assert type(explanation.step.loss) is torchbp.nn.BCELoss
    assert all(check.ok for record in explanation.records for check in record.checks)
    assert type(torchbp.explain(line(torch.nn.Tanh()), X, Y).step.loss) is torchbp.nn.BCEWithLogitsLoss


def test_the_loss_of_logits_is_the_one_that_names_the_loss_of_answers(registered):
    rule = Loss(**SIGN)
    loss = registered(rule, SignError)()
    registered(of_logits(rule), SignErrorOfLogits)
    explanation = torchbp.explain(line(torch.nn.Tanh()), X, Y, loss=loss)
    assert logit_form(explanation).name == "sign_error_of_logits"
    assert logit_form(torchbp.explain(line(torch.nn.Tanh()), X, Y, loss=torch.nn.MSELoss())) is None


def test_a_loss_of_logits_need_not_say_its_error_in_one_formula(registered):
    rule = of_logits(None)
    object.__setattr__(rule, "error", None)
    explanation = torchbp.explain(line(), X, Y, loss=registered(rule, SignErrorOfLogits)())
    assert explanation["dL/dZ1"].equation == "dL/dZ1 = dL/dA1 ∘ (1 − A1²)"
    assert all(check.ok for record in explanation.records for check in record.checks)


@pytest.mark.parametrize(
    ("loss", "equation", "slope"),
    [
        (torch.nn.L1Loss(), "L = (1/N) Σ abs(Z1 − y)", "dL/dZ1 = (1/N) sgn(Z1 − y)"),
        (
            torch.nn.HuberLoss(delta=0.5, reduction="sum"),
            "L = Σ min(abs(Z1 − y), 0.5) (abs(Z1 − y) − min(abs(Z1 − y), 0.5)/2)",
            "dL/dZ1 = max(min(Z1 − y, 0.5), −0.5)",
        ),
        (
            torch.nn.SmoothL1Loss(beta=0.5),
            "L = (1/N) Σ min(abs(Z1 − y), 0.5) (abs(Z1 − y) − min(abs(Z1 − y), 0.5)/2)/0.5",
            "dL/dZ1 = (1/N) max(min((Z1 − y)/0.5, 1), −1)",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, torch.nn.Module) else "",
)
def test_the_losses_of_regression_are_shown_with_their_numbers(loss, equation, slope):
    explanation = torchbp.explain(line(), X, 3 * Y - 1, loss=loss)
    assert explanation["L"].equation == equation
    assert explanation["dL/dZ1"].equation == slope
    assert all(check.ok for record in explanation.records for check in record.checks)
    for printed in (str(explanation), explanation.to_html()):
        assert rule_of(loss).description in " ".join(printed.split())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("logarithms", "equation", "slope"),
    [
        (False, "L = (1/(NK)) Σ y (ln(max(y, 1e−300)) − A1)", "dL/dA1 = −(1/(NK)) y"),
        (True, "L = (1/(NK)) Σ exp(y) (y − A1)", "dL/dA1 = −(1/(NK)) exp(y)"),
    ],
)
def test_the_divergence_of_two_distributions(logarithms, equation, slope, dtype):
    """0 ln 0 is 0. Whether an answer is wrong is read from its probability, whatever the loss takes."""
    target = torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.0, 1.0]], dtype=dtype)
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.LogSoftmax(1)).to(dtype)
    with torch.no_grad():
        net[0].weight.zero_(), net[0].bias.copy_(torch.tensor([1.0, 2.0, 3.0]))
    target = (target + 1e-3).log() if logarithms else target
    explanation = torchbp.explain(net, X[:2], target, loss=torch.nn.KLDivLoss(log_target=logarithms))
    assert explanation["L"].equation == equation
    assert explanation["dL/dA1"].equation == slope
    assert all(check.ok for record in explanation.records for check in record.checks)
    assert errors(explanation).amax(1).tolist() == pytest.approx(
        [6.5001, 5.5001] if logarithms else [0.5053, 0.3348], abs=1e-3
    )


def test_a_y_of_which_the_loss_is_nan_is_refused():
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.LogSoftmax(1))
    with pytest.raises(ValueError, match=r"y holds -0\.5, of which KLDivLoss is nan; give .* such as probabilities"):
        torchbp.explain(net, X[:1], [[1.5, -0.5]], loss=torch.nn.KLDivLoss())


def test_a_loss_of_classes_takes_a_number_for_each():
    net = torch.nn.Sequential(torch.nn.Conv1d(2, 3, 1))
    with pytest.raises(TypeError, match=r"rows of the shape \(3, 4\), and CrossEntropyLoss .* a Flatten at the end"):
        torchbp.explain(net, torch.zeros(2, 2, 4), [0, 1], loss=torch.nn.CrossEntropyLoss())
    explanation = torchbp.explain(net, torch.zeros(2, 2, 4), torch.zeros(2, 3, 4))  # y in the shape of the output
    assert explanation.values["y"].shape == (2, 12)


def test_why_a_loss_is_not_shown(registered):
    registered(Loss(**SIGN | {"equation": None, "slope": None}), SignError)
    with pytest.raises(TypeError, match="SignError has no equation for each element of y in its rule"):
        torchbp.explain(line(), X, Y, loss=SignError())
    with pytest.raises(TypeError, match="has reduction='batchmean'; the engine descends on a mean or a sum"):
        torchbp.explain(line(), X, Y, loss=torch.nn.KLDivLoss(reduction="batchmean"))
    with pytest.raises(TypeError, match="its beta is 0; use L1Loss"):
        torchbp.explain(line(), X, Y, loss=torch.nn.SmoothL1Loss(beta=0.0))


class Relative(torch.nn.modules.loss._Loss):
    def forward(self, a, y):
        return ((a - y).square() / a).mean()


def test_a_y_of_which_the_loss_is_nan_by_one_answer_alone_is_taken(registered):
    """(A − y)²/A is 0/0 where both are 0, and A is between 0 and 1 here."""
    parts = {"each": lambda a, y: (a - y).square() / a, "derivative": lambda a, y: 1 - (y / a) ** 2}
    parts |= {"equation": (A - y) ** 2 / A, "slope": 1 - (y / A) ** 2, "domain": None}
    loss = registered(Loss(**SIGN | parts), Relative)()
    explanation = torchbp.explain(line(torch.nn.Sigmoid()), X, Y, loss=loss)
    assert [check.ok for record in explanation.records for check in record.checks if not check.ok] == []
