"""Every layer whose rule has equations: each number is autograd's, each line is true as printed, and nothing of the
model changes."""

import pytest
import torch
from torch import nn

import torchbp
from tests.explanation.lines import check_numbers
from tests.explanation.operations import IMAGES, VECTORS, with_images, with_layer
from torchbp.ops.registry import rules
from torchbp.ops.rules import Layer


def check(net, x, y, **options):
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    explanation = torchbp.explain(net, x, y, **options)
    assert [(r.name, c.by) for r in explanation.records for c in r.checks if c.ok is False] == []
    check_numbers(explanation.records)
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name])
    return explanation


@pytest.mark.parametrize("name", VECTORS)
def test_a_layer_of_vectors(name):
    check(*with_layer(name))


@pytest.mark.parametrize("name", IMAGES)
def test_a_layer_of_images(name):
    """Its rows stand in one dimension in the equations."""
    net, x, y = with_images(name)
    explanation = check(net, x, y)
    assert explanation.values["X"].shape == (3, 24)


@pytest.mark.parametrize("name", ["batch_norm", "group_norm", "prelu_of_channels", "periodic_embedding"])
def test_the_gradients_are_those_of_autograd(name):
    net, x, y = with_layer(name)
    explanation = torchbp.explain(net, x, y)
    nn.BCEWithLogitsLoss()(net(x), y).backward()
    for quantity, key in explanation.chain.keys.items():
        expected = net.get_parameter(key).grad
        torch.testing.assert_close(explanation.values[f"dL/d{quantity}"], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("slopes", [1, 3])
def test_a_prelu_has_no_slope_at_0(slopes):
    """Where a number is exactly 0 the loss has a corner, and no difference quotient says that the gradient is wrong."""
    torch.manual_seed(1)
    net = nn.Sequential(nn.PReLU(slopes), nn.Linear(3, 1)).double()
    explanation = check(net, torch.tensor([[0.0, 1, -1], [0, -1, 2]]), torch.ones(2, 1))
    assert explanation["dL/dX"].checks[1].ok


def test_the_parts_on_the_way_back_are_records():
    net, x, y = with_layer("periodic_embedding")
    explanation = torchbp.explain(net, x, y)
    names = [record.name for record in explanation.records]
    assert names.index("dL/dZ2") < names.index("dL/dU2") < names.index("dL/dw2") < names.index("dL/dZ1")
    assert explanation["dL/dU2"].equation == "dL/dU2 = −sin(U2) ∘ dL/dZ2[waves]"
    assert explanation["dL/dw2"].rule == "dL/dw2 = dL/dU2 · dU2/dw2"
    assert explanation["dL/dZ1"].equation == "dL/dZ1 = dL/dZ2[numbers] + Σₖ dL/dU2 ∘ w2"


def test_a_batch_norm_in_evaluation_is_given_the_statistics_of_the_training():
    net, x, y = with_layer("batch_norm_in_evaluation")
    explanation = torchbp.explain(net, x, y)
    assert torch.equal(explanation.step.given["m2"], net[1].running_mean)
    assert torch.equal(explanation.step.given["v2"], net[1].running_var)
    assert "m2 (6)" in explanation.to_text()


def test_a_layer_of_vectors_refuses_images_by_its_name():
    net = nn.Sequential(nn.PReLU(), nn.LayerNorm((2, 3)), nn.Flatten(), nn.Linear(6, 1))
    with pytest.raises(TypeError, match=r"layer '1', a LayerNorm, takes rows of the shape \(2, 3\).*Flatten"):
        torchbp.explain(net, torch.randn(4, 2, 3), torch.ones(4, 1))


def test_a_glu_along_another_dimension_has_no_equations():
    net = nn.Sequential(nn.PReLU(), nn.GLU(-1), nn.Flatten(), nn.Linear(6, 1))
    with pytest.raises(TypeError, match=r"GLU.* has no equations"):
        torchbp.explain(net, torch.randn(4, 3, 4), torch.ones(4, 1))


def test_the_layers_without_equations_are_these():
    """The chapter says so: a new one must be told there."""
    without = {rule.name for rule in rules(Layer).values() if rule.tree("equation") is None}
    assert {name.rstrip("123d_") for name in without} <= {
        "adaptive_avg_pool", "avg_pool", "max_pool", "conv_transpose", "conv", "dropout", "embedding",
    }  # fmt: skip
