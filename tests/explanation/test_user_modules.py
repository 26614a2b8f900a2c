"""A rule is compared with the user's own module or loss, which does what the rule says, or does not."""

import copy

import pytest
import torch
from torch.nn import functional as F

import torchbp
from tests.explanation.samples import XOR
from tests.explanation.test_agreement import LEAKY, Shift, off
from torchbp.ops.expressions import A, SumOver, Symbol, X, dZ, y
from torchbp.ops.rules import Activation, Layer, Loss, Parameter


def network(*layers):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(2, 4), *layers, torch.nn.Linear(4, 1)).double()


def referees(explanation, *names):
    return [explanation[name].checks[0].by for name in names]


class Half(torch.nn.Module):
    slope, inplace = 0.5, True

    def forward(self, z):
        return F.leaky_relu(z, self.slope, inplace=self.inplace)


class Tenth(Half):
    slope = 0.1


class Subclass(torch.nn.RReLU):
    def forward(self, z):
        return F.leaky_relu(z, 0.5)


@pytest.mark.parametrize("module", [Half, Tenth, Subclass])
def test_an_activation_is_compared_with_the_users_module(module, registered):
    torch_module = torch.nn.RReLU if module is Subclass else None
    made = registered(Activation(**LEAKY, torch_module=torch_module), module)()
    explanation = torchbp.explain(network(made), *XOR, loss=torch.nn.MSELoss())
    name = module.__name__
    assert referees(explanation, "A1", "A1′") == [name, name]
    others = "Z1", "Z2", "L", "Z2′", "dL/dZ1", "W1′"
    assert referees(explanation, *others) == ["torch"] * 4 + ["autograd", "torch.optim.SGD"]
    if module is Tenth:
        assert off(explanation) == set()
        return
    assert {"A1", "L", "dL/dZ1"} <= off(explanation)
    assert f"check OFF: {name} differs by " in explanation.to_text()
    assert f"{name} differs by " in explanation.to_html()


def test_torchs_own_module_is_compared_with_torch():
    explanation = torchbp.explain(network(torch.nn.LeakyReLU(0.1)), *XOR, loss=torch.nn.MSELoss())
    assert referees(explanation, "A1", "A1′") == ["torch"] * 2
    assert off(explanation) == set()


class TwiceShift(Shift):
    """A layer that does not do what its rule says, and counts its calls in a buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return x + 2 * self.shift


@pytest.mark.parametrize("module", [Shift, TwiceShift])
def test_a_layer_is_compared_with_the_users_module_which_is_not_changed(module, registered):
    rule = Layer(
        name="shift",
        apply=lambda x, s: x + s,
        forward=lambda x, s: x + s,
        backward=lambda dz, x, s: dz.clone(),
        saves="input",
        parameters=(Parameter("shift", "s", gradient=lambda dz, x: dz.sum(-2), equation=SumOver(dZ, rows=True)),),
        equation=X + Symbol("s"),
        backward_equation=dZ,
        description="",
    )
    net = network(registered(rule, module)())
    before = copy.deepcopy(net.state_dict())
    explanation = torchbp.explain(net, *XOR, loss=torch.nn.MSELoss())
    assert referees(explanation, "Z2", "Z2′") == [module.__name__] * 2
    assert ({"Z2", "dL/ds2"} <= off(explanation)) == (module is TwiceShift)
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)


class Quartic(torch.nn.modules.loss._Loss):
    exponent = 4

    def forward(self, a, y):
        each = (a - y) ** self.exponent
        return each.mean() if self.reduction == "mean" else each.sum()


class Square(Quartic):
    exponent = 2


@pytest.mark.parametrize("loss", [Quartic, Square])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_loss_is_compared_with_the_users_module(loss, reduction, registered):
    """`value` need not know the reduction "none"."""
    rule = Loss(
        name="quartic",
        apply=lambda a, y: ((a - y) ** 4).mean(),
        each=lambda a, y: (a - y) ** 4,
        value=lambda a, y, reduction: {"mean": torch.mean, "sum": torch.sum}[reduction]((a - y) ** 4),
        derivative=lambda a, y: 4 * (a - y) ** 3,
        equation=(A - y) ** 4,
        slope=4 * (A - y) ** 3,
        description="",
    )
    made = registered(rule, loss)(reduction=reduction)
    explanation = torchbp.explain(network(torch.nn.Tanh()), *XOR, loss=made)
    assert referees(explanation, "L", "L′", "Z1") == [loss.__name__] * 2 + ["torch"]
    if loss is Quartic:
        assert off(explanation) == set()
    else:
        assert {"L", "dL/dZ2", "dL/dW1"} <= off(explanation)
        assert [check.ok for check in explanation["dL/dZ2"].checks] == [False, False]
