"""Rules of kinds that torchbp's operations do not have yet, run by the engine and compared with torch's modules.

A layer that saves what its forward returns (LayerNorm), one with a random state and options (Dropout), one that takes
indices (Embedding), a loss with class targets and weights whose mean runs over rows (cross-entropy), and one with an
option (Huber).
"""

import copy

import pytest
import torch
import torch.nn.functional as F

import torchbp
from torchbp.engine.gradients import gradient_norms
from torchbp.engine.network import Network
from torchbp.ops.rules import Layer, Loss, Parameter, register, unregister

# --- layers --------------------------------------------------------------------------------------------------------


def normalised(x, weight, bias, eps=1e-5):
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, correction=0, keepdim=True)
    rstd = (variance + eps).rsqrt()
    xhat = (x - mean) * rstd
    return xhat * weight + bias, (xhat, rstd)


def normalised_dx(dz, saved, weight, bias, eps=1e-5):
    xhat, rstd = saved
    dxhat = dz * weight
    return rstd * (dxhat - dxhat.mean(-1, keepdim=True) - xhat * (dxhat * xhat).mean(-1, keepdim=True))


LAYER_NORM = Layer(
    name="layer_norm",
    apply=F.layer_norm,
    torch_module=torch.nn.LayerNorm,
    options=("eps",),
    forward=normalised,
    backward=normalised_dx,
    saves="returned",
    parameters=(
        Parameter("weight", "g", gradient=lambda dz, saved, eps: (dz * saved[0]).flatten(0, -2).sum(0), equation=None),
        Parameter("bias", "s", gradient=lambda dz, saved, eps: dz.flatten(0, -2).sum(0), equation=None),
    ),
    equation=None,
    backward_equation=None,
    description="Each row is shifted to mean 0 and scaled to variance 1.",
)


def dropped(x, p, training):
    if not training:
        return x.clone(), None
    mask = torch.empty_like(x).bernoulli_(1 - p).div_(1 - p)
    return x * mask, mask


DROPOUT = Layer(
    name="dropout",
    apply=F.dropout,
    torch_module=torch.nn.Dropout,
    options=("p", "training"),
    forward=dropped,
    backward=lambda dz, mask, p, training: dz if mask is None else dz * mask,
    saves="returned",
    parameters=(),
    equation=None,
    backward_equation=None,
    description="Each number is set to 0 with probability p.",
)

EMBEDDING = Layer(
    name="embedding",
    apply=F.embedding,
    torch_module=torch.nn.Embedding,
    options=("num_embeddings",),
    forward=lambda x, weight, num_embeddings: weight[x],
    backward=lambda dz, x, weight, num_embeddings: None,
    saves="input",
    parameters=(
        Parameter(
            "weight",
            "W",
            gradient=lambda dz, x, num_embeddings: dz.new_zeros(num_embeddings, dz.shape[-1]).index_add_(0, x, dz),
            equation=None,
        ),
    ),
    equation=None,
    backward_equation=None,
    description="Each index is replaced by its row of W.",
)

# --- losses --------------------------------------------------------------------------------------------------------


def cross_entropy_each(z, y, weight=None):
    rows = z.shape[:-1]
    return F.cross_entropy(z.flatten(0, -2), y.flatten(), weight, reduction="none").view(rows)


def cross_entropy_dz(z, y, weight=None):
    dz = z.softmax(-1) - F.one_hot(y, z.shape[-1])
    return dz if weight is None else dz * weight[y].unsqueeze(-1)


def check_classes(z, y):
    if y.shape != z.shape[:-1]:
        raise ValueError(f"y has the shape {tuple(y.shape)}; give a class for each of {tuple(z.shape[:-1])} rows")


CROSS_ENTROPY = Loss(
    name="cross_entropy",
    apply=F.cross_entropy,
    torch_module=torch.nn.CrossEntropyLoss,
    options=("weight",),
    option_symbols=("w",),
    each=cross_entropy_each,
    derivative=cross_entropy_dz,
    check=check_classes,
    target="classes",
    count=lambda y, weight=None: y.shape[-1] if weight is None else weight[y].sum(-1),
    equation=None,
    slope=None,
    description="The loss is small when the network gives the correct class a high probability.",
)

HUBER = Loss(
    name="huber_loss",
    apply=F.huber_loss,
    torch_module=torch.nn.HuberLoss,
    options=("delta",),
    option_symbols=("delta",),
    each=lambda x, y, delta: F.huber_loss(x, y, "none", delta),
    derivative=lambda x, y, delta: (x - y).clamp(-delta, delta),
    equation=None,
    slope=None,
    description="Half the square of small errors, and δ times the size of large ones.",
)


@pytest.fixture(autouse=True)
def registered():
    new = LAYER_NORM, DROPOUT, EMBEDDING, CROSS_ENTROPY, HUBER
    for rule in new:
        register(rule)
    yield
    for rule in new:
        unregister(rule)


def linear(*sizes):
    return torch.nn.Linear(*sizes, dtype=torch.double)


def trained_alike(model, loss, x, y, steps=20, **options):
    """Whether torchbp.SGD gives model what torch.optim.SGD gives a copy of it, with the same random numbers."""
    theirs = copy.deepcopy(model)
    options = {"lr": 0.05, "momentum": 0.9, **options}
    ours, reference = torchbp.SGD(model, loss=loss, **options), torch.optim.SGD(theirs.parameters(), **options)
    for step in range(steps):
        torch.manual_seed(step)
        value = ours.backprop_step(x, y)
        torch.manual_seed(step)
        reference.zero_grad()
        expected = loss(theirs(x), y)
        expected.backward()
        reference.step()
        torch.testing.assert_close(value, expected.detach(), rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(model.state_dict(), theirs.state_dict(), rtol=1e-10, atol=1e-11)


def test_a_layer_that_saves_what_its_forward_returns():
    model = torch.nn.Sequential(linear(3, 4), torch.nn.LayerNorm(4, dtype=torch.double), torch.nn.Tanh(), linear(4, 2))
    trained_alike(model, torch.nn.MSELoss(), torch.randn(6, 3).double(), torch.randn(6, 2).double())
    trained_alike(model, torch.nn.MSELoss(), torch.randn(2, 6, 3).double(), torch.randn(2, 6, 2).double())


def test_a_layer_with_a_random_state_reads_its_mode():
    model = torch.nn.Sequential(linear(3, 8), torch.nn.Dropout(0.4), torch.nn.ReLU(), linear(8, 2), torch.nn.Dropout())
    x, y = torch.randn(6, 3).double(), torch.randn(6, 2).double()
    trained_alike(model, torch.nn.MSELoss(), x, y)
    optimizer = torchbp.SGD(model, lr=0.0, loss=torch.nn.MSELoss())
    random = optimizer.backprop_step(x, y).item()
    assert random != optimizer.backprop_step(x, y).item()
    model.eval()
    assert optimizer.backprop_step(x, y).item() == optimizer.backprop_step(x, y).item()


def test_a_layer_that_takes_indices():
    model = torch.nn.Sequential(torch.nn.Embedding(5, 3, dtype=torch.double), torch.nn.Sigmoid(), linear(3, 2))
    trained_alike(model, torch.nn.MSELoss(), torch.tensor([0, 4, 4, 1]), torch.randn(4, 2).double())


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weight", [None, [1.0, 3.0, 0.5]])
def test_a_loss_of_classes_whose_mean_is_over_rows(weight, reduction):
    weight = None if weight is None else torch.tensor(weight).double()
    loss = torch.nn.CrossEntropyLoss(weight, reduction=reduction)
    x, y = torch.randn(7, 3).double(), torch.tensor([0, 2, 1, 1, 0, 2, 2])
    model = torch.nn.Sequential(linear(3, 4), torch.nn.ReLU(), linear(4, 3))
    trained_alike(model, loss, x, y)
    with pytest.raises(ValueError, match="give a class for each"):
        torchbp.backprop(model, x, torch.randn(7, 3).double(), loss)

    # an ensemble, of which each member has classes of its own, or all share them
    nets = [torchbp.nn.MLP(3, 4, 3, dtype=torch.double) for _ in range(2)]
    for targets in (y, torch.stack([y, y.flip(0)])):
        ensemble = torchbp.stack(nets)
        values = torchbp.SGD(ensemble, lr=0.1, loss=loss).backprop_step(x, targets)
        for e, net in enumerate(copy.deepcopy(nets)):
            of_member = targets if targets.dim() == 1 else targets[e]
            value = torchbp.SGD(net, lr=0.1, loss=loss).backprop_step(x, of_member)
            torch.testing.assert_close(values[e], value)
            torch.testing.assert_close(
                {key: tensor[e] for key, tensor in ensemble.state_dict().items()}, dict(net.state_dict())
            )


def test_the_norm_of_the_gradient_over_batches_counts_as_the_loss_does():
    """The mean over all rows, by the weights of their classes, and not the mean of the batches' means."""
    loss = torch.nn.CrossEntropyLoss(torch.tensor([1.0, 30.0, 0.5]).double())
    x, y = torch.randn(7, 3).double(), torch.tensor([0, 2, 1, 1, 0, 2, 2])
    model = torchbp.nn.MLP(3, 4, 3, dtype=torch.double)
    loss(model(x), y).backward()
    expected = torch.stack([(p.grad + 0.1 * p.detach()).square().sum() for p in model.parameters()]).sum().sqrt()
    decays = dict.fromkeys(model.parameters(), 0.1)
    norm = gradient_norms(Network(model), loss, decays, [(x[:4], y[:4]), (x[4:], y[4:])])
    torch.testing.assert_close(norm, expected)


def test_a_loss_with_an_option():
    model = torch.nn.Sequential(linear(3, 4), torch.nn.Tanh(), linear(4, 2))
    loss = torch.nn.HuberLoss(delta=0.3)
    trained_alike(model, loss, torch.randn(6, 3).double(), torch.randn(6, 2).double())
    loss.delta = 0.05  # is read in each step
    trained_alike(model, loss, torch.randn(6, 3).double(), torch.randn(6, 2).double())
