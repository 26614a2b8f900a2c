"""The founding article's network: each derivative against NumPy, and training against scikit-learn and torch."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

import torchbp
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
    """Matt Mazur, "A Step by Step Backpropagation Example" (2015): 2-2-2 units, E = ½ Σ (t − o)², learning rate 0.5.

    The article keeps its biases fixed and prints 9 digits.
    """
    net = torchbp.nn.MLP(2, 2, 2, dtype=torch.float64)
    parameters = [[[0.15, 0.20], [0.25, 0.30]], [0.35, 0.35], [[0.40, 0.45], [0.50, 0.55]], [0.60, 0.60]]
    with torch.no_grad():
        for parameter, value in zip(net.parameters(), parameters, strict=True):
            parameter.copy_(torch.tensor(value, dtype=torch.float64))
    target = torch.tensor([0.01, 0.99], dtype=torch.float64)
    output = net.predict_proba(torch.tensor([0.05, 0.10], dtype=torch.float64))
    error = 0.5 * (target - output).square().sum()
    error.backward()
    torch.optim.SGD([net[0].weight, net[2].weight], lr=0.5).step()

    expect = lambda value, digits: pytest.approx(value, abs=digits)  # noqa: E731
    assert output.tolist() == expect([0.75136507, 0.772928465], 1e-8)
    assert error.item() == expect(0.298371109, 1e-9)
    assert net[2].weight.flatten().tolist() == expect([0.35891648, 0.408666186, 0.511301270, 0.561370121], 1e-8)
    assert net[0].weight.flatten().tolist() == expect([0.149780716, 0.19956143, 0.24975114, 0.29950229], 1e-8)


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
