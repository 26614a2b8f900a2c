"""backprop(dz=…): the gradients of a loss of one's own, from ∂L/∂output, beside autograd's."""

import pytest
import torch

import torchbp
from tests.networks import mlp, rows


def policy_gradient(logits, actions, advantages):
    """L = −(1/N) Σ advantage · ln P(action)."""
    return -(advantages * logits.log_softmax(-1).gather(-1, actions.unsqueeze(-1)).squeeze(-1)).mean(-1)


def its_dz(logits, actions, advantages):
    onehot = torch.nn.functional.one_hot(actions, logits.shape[-1])
    return (logits.softmax(-1) - onehot) * advantages.unsqueeze(-1) / advantages.shape[-1]


@pytest.mark.parametrize("as_function", [True, False])
@pytest.mark.parametrize("members", [None, 3])
def test_a_policy_gradient_is_autograds(members, as_function):
    net, other = mlp((3, 5, 4, 2), members), mlp((3, 5, 4, 2), members)
    net[0].bias.requires_grad_(False)
    x, _ = rows(7)
    actions = torch.randint(2, (7,) if members is None else (members, 7))
    advantages = torch.randn(actions.shape, dtype=torch.double)
    output = other(x)
    policy_gradient(output, actions, advantages).sum().backward()
    dz = (lambda z: its_dz(z, actions, advantages)) if as_function else its_dz(output.detach(), actions, advantages)
    before = None if as_function else dz.clone()
    got = torchbp.backprop(net, x, dz=dz)
    torch.testing.assert_close(got, output.detach(), rtol=1e-13, atol=1e-13)
    assert not got.requires_grad
    assert net[0].bias.grad is None
    for p, expected in list(zip(net.parameters(), other.parameters(), strict=True)):
        if p.requires_grad:
            torch.testing.assert_close(p.grad, expected.grad, rtol=1e-12, atol=1e-13)
    if not as_function:
        assert torch.equal(dz, before)


def test_members_may_share_a_dz():
    net, x, dz = mlp((3, 2), 3), rows(7)[0], torch.randn(7, 2, dtype=torch.double)
    torchbp.backprop(net, x, dz=dz)
    torch.testing.assert_close(net[0].weight.grad, (dz.T @ x).expand(3, 2, 3), rtol=1e-12, atol=1e-13)


def test_the_output_itself_is_a_dz():
    net, other, x = mlp((3, 4, 2)), mlp((3, 4, 2)), rows(7)[0]
    got = torchbp.backprop(net, x, dz=lambda z: z)
    (other(x).square().sum() / 2).backward()
    torch.testing.assert_close(got, other(x).detach(), rtol=1e-13, atol=1e-13)
    for p, expected in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p.grad, expected.grad, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (lambda x, y: {"y": y, "dz": y}, TypeError, "y and dz exclude one another"),
        (lambda x, y: {"loss": torch.nn.MSELoss(), "dz": y}, TypeError, "loss and dz exclude one another"),
        (lambda x, y: {}, TypeError, "there is no target; give y, or dz"),
        (lambda x, y: {"dz": y[:, :1]}, ValueError, r"dz has the shape \(7, 1\), and the output \(7, 2\)"),
        (lambda x, y: {"dz": y[0]}, ValueError, r"dz has the shape \(2,\)"),
        (lambda x, y: {"dz": lambda z: 3.0}, TypeError, "dz is a float; give ∂L/∂output as a tensor"),
    ],
)
def test_what_is_no_dz_is_named(arguments, error, message):
    net, (x, y) = mlp((3, 2)), rows(7)
    with pytest.raises(error, match=message):
        torchbp.backprop(net, x, **arguments(x, y))
    assert net[0].weight.grad is None
