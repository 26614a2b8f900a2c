"""The founding article's network: each derivative against NumPy, and training against scikit-learn and torch."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

import torchbp
from tests.networks import set_parameters
from tests.published import MAZUR_INPUT, MAZUR_LR, MAZUR_NUMBERS, MAZUR_PARAMETERS, MAZUR_TARGET
from torchbp import ops


def test_each_derivative_equals_its_formula_in_numpy():
    N, inputs, hidden = 7, 5, 4
    X = torch.randn(N, inputs, dtype=torch.float64)
    y = torch.rand(N, 1, dtype=torch.float64).round()
    W1, b1, W2, b2 = (
        torch.randn(*shape, dtype=torch.float64, requires_grad=True)
        for shape in [(hidden, inputs), (hidden,), (1, hidden), (1,)]
    )
    Z1 = ops.linear(X, W1, b1)
    A1 = ops.sigmoid(Z1)
    Z2 = ops.linear(A1, W2, b2)
    A2 = ops.sigmoid(Z2)
    L = ops.binary_cross_entropy(A2, y)
    wanted = {"A2": A2, "Z2": Z2, "W2": W2, "b2": b2, "A1": A1, "Z1": Z1, "W1": W1, "b1": b1}
    ours = dict(zip(wanted, torch.autograd.grad(L, list(wanted.values())), strict=True))

    x, t = X.numpy(), y.numpy()
    w1, c1, w2, c2 = (p.detach().numpy() for p in (W1, b1, W2, b2))
    a1 = 1 / (1 + np.exp(-(x @ w1.T + c1)))
    a2 = 1 / (1 + np.exp(-(a1 @ w2.T + c2)))
    formula = {"A2": (-t / a2 + (1 - t) / (1 - a2)) / N}
    formula["Z2"] = formula["A2"] * a2 * (1 - a2)
    formula["W2"] = formula["Z2"].T @ a1
    formula["b2"] = formula["Z2"].sum(axis=0)
    formula["A1"] = formula["Z2"] @ w2
    formula["Z1"] = formula["A1"] * a1 * (1 - a1)
    formula["W1"] = formula["Z1"].T @ x
    formula["b1"] = formula["Z1"].sum(axis=0)

    np.testing.assert_allclose(L.item(), -np.mean(t * np.log(a2) + (1 - t) * np.log(1 - a2)), rtol=1e-12)
    for name, value in formula.items():
        np.testing.assert_allclose(ours[name].numpy(), value, rtol=1e-12, atol=1e-12, err_msg=f"dL/d{name}")

    # the fused form of the design: dL/dZ2 = (A2 − y)/N
    fused = ops.binary_cross_entropy_with_logits(Z2, y)
    (dZ2,) = torch.autograd.grad(fused, Z2)
    np.testing.assert_allclose(dZ2.numpy(), (a2 - t) / N, rtol=1e-12, atol=1e-12)


def test_mazurs_worked_example():
    net = torchbp.nn.MLP(2, 2, 2, dtype=torch.float64)
    set_parameters(net, MAZUR_PARAMETERS)
    target = torch.tensor(MAZUR_TARGET, dtype=torch.float64)
    output = net.predict_proba(torch.tensor(MAZUR_INPUT, dtype=torch.float64))
    error = 0.5 * (target - output).square().sum()
    error.backward()
    torch.optim.SGD([net[0].weight, net[2].weight], lr=MAZUR_LR).step()

    found = {"A2": output, "L": error, "W2′": net[2].weight, "W1′": net[0].weight}
    for name, value in found.items():
        assert value.flatten().tolist() == pytest.approx(MAZUR_NUMBERS[name], abs=1e-9 if name == "L" else 1e-8), name


def breast_cancer_like(N=64, features=6):
    x = torch.randn(N, features, dtype=torch.float64)
    return x, (x.sum(1, keepdim=True) + torch.randn(N, 1, dtype=torch.float64) > 0).double()


def test_200_steps_follow_scikit_learn():
    x, y = breast_cancer_like()
    net = torchbp.nn.MLP(6, 8, 1, dtype=torch.float64)
    peer = MLPClassifier(
        (8,),
        activation="logistic",
        solver="sgd",
        momentum=0,
        alpha=0,
        shuffle=False,
        learning_rate_init=0.5,
        batch_size=16,
        max_iter=1,
        warm_start=False,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        peer.partial_fit(x.numpy(), y.numpy().ravel(), classes=[0.0, 1.0])  # only to build its arrays
        peer.coefs_ = [net[i].weight.detach().T.numpy().copy() for i in (0, 2)]
        peer.intercepts_ = [net[i].bias.detach().numpy().copy() for i in (0, 2)]
        # its optimizer holds the arrays it was made with: make it anew around ours
        peer._optimizer.params = peer.coefs_ + peer.intercepts_
        peer._optimizer.velocities = [np.zeros_like(p) for p in peer._optimizer.params]
        loss_function, optimizer = torchbp.nn.BCEWithLogitsLoss(), torch.optim.SGD(net.parameters(), lr=0.5)
        for _epoch in range(50):  # of 4 batches
            peer.partial_fit(x.numpy(), y.numpy().ravel())
            for i in range(0, 64, 16):
                optimizer.zero_grad()
                loss_function(net(x[i : i + 16]), y[i : i + 16]).backward()
                optimizer.step()
    for i, layer in enumerate((net[0], net[2])):
        np.testing.assert_allclose(layer.weight.detach().numpy(), peer.coefs_[i].T, rtol=0, atol=1e-10)
        np.testing.assert_allclose(layer.bias.detach().numpy(), peer.intercepts_[i], rtol=0, atol=1e-10)


def test_200_steps_follow_torch():
    x, y = breast_cancer_like()
    ours = torchbp.nn.MLP(6, 8, 8, 1, dtype=torch.float64)
    linear = torch.nn.Linear
    peer = torch.nn.Sequential(
        linear(6, 8), torch.nn.Sigmoid(), linear(8, 8), torch.nn.Sigmoid(), linear(8, 1)
    ).double()
    peer.load_state_dict(ours.state_dict())
    for net, loss_function in ((ours, torchbp.nn.BCEWithLogitsLoss()), (peer, torch.nn.BCEWithLogitsLoss())):
        optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
        for step in range(200):
            rows = slice(16 * (step % 4), 16 * (step % 4) + 16)
            optimizer.zero_grad()
            loss_function(net(x[rows]), y[rows]).backward()
            optimizer.step()
    for a, b in zip(ours.parameters(), peer.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
