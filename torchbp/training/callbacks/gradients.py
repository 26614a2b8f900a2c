"""Gradients of a network, layer by layer and row by row: what the monitor and the page of a run show.

For rows n with a loss L_n each, and the layers l = 1 … L with Z_l = A_{l−1} W_lᵀ + b_l, A_l = f(Z_l):

    dZ_{l−1} = (dZ_l W_l) ∘ f′(A_{l−1})          of L_n, a row each
    dW_l     = (1/N) dZ_lᵀ A_{l−1}                of the mean loss
    ‖g_n‖²   = Σ_l ‖dz_{n,l}‖² (‖a_{n,l−1}‖² + 1)   the gradient of L_n by all W and b. It is dz aᵀ for W and dz for
               b, and is not computed itself: ‖dz aᵀ‖ = ‖dz‖ ‖a‖
               (Goodfellow 2015, Efficient Per-Example Gradient Computations, arXiv:1510.01799)
"""

import itertools

import torch

from torchbp.engine.gradients import gradient_norms
from torchbp.engine.losses import value_and_derivative
from torchbp.engine.network import Network
from torchbp.ops import registry
from torchbp.ops.layers.ensemble_linear import ensemble_dweight
from torchbp.training.callbacks.saturation import flat_share
from torchbp.training.data.batches import ROWS_AT_ONCE

PERCENTILES = {
    "sample_gradient/p05": 0.05,
    "sample_gradient/p50": 0.5,
    "sample_gradient/p95": 0.95,
    "sample_gradient/max": 1.0,
}


@torch.no_grad()
def backward_pass(classifier, x, y):
    """A_{l−1} `(N, n_{l−1})` and dZ_l `(N, n_l)` of each layer l = 1 … L, of the loss L_n of each row.

    x, y are raw rows, `(N, in_features)` and `(N, outputs)`, on the classifier's device.
    """
    network = Network(classifier.net, allow_hooks=True)
    parameters = network.parameters()
    with network.only_read():
        output, saved = network.forward(parameters, classifier.standardize(x))
    _, dz, scale = value_and_derivative(classifier.loss, output, y, network.members)
    passes = reversed(list(network.backward(parameters, saved, dz * (scale * len(x)))))
    _, dzs, inputs = zip(*passes, strict=True)
    return inputs, dzs


def full_gradient_norm(classifier, x, y):
    """‖∇L‖₂ over all parameters, L the mean loss of the rows x, y plus ½ λ ‖W‖². It touches no `.grad`.

    Of an ensemble one norm for each member, `(E)`.
    """
    network = Network(classifier.net, allow_hooks=True)
    decays = dict.fromkeys(classifier.net.parameters(), classifier.hparams.weight_decay)
    p = next(classifier.net.parameters())
    pieces = (
        (classifier.standardize(x[rows].to(p)), y[rows].to(p)) for rows in torch.arange(len(x)).split(ROWS_AT_ONCE)
    )
    return gradient_norms(network, classifier.loss, decays, pieces).cpu()


def sample_gradient_norms(inputs, dzs):
    """‖g_n‖, `(N,)` or `(E, N)`: the norm of the gradient of each row's loss by all weights and biases."""
    pairs = zip(inputs, dzs, strict=True)
    return sum(dz.square().sum(-1) * (a.square().sum(-1) + 1) for a, dz in pairs).sqrt()


@torch.no_grad()
def gradient_flow(classifier, x, y):
    """What the monitor records, {name: number}; the names end in the number of the layer, from 1.

    dz_rms, dw_rms: root mean squares of dZ, over rows and units, and of dW; dw_to_w: ‖dW‖/‖W‖; saturated: the share of
    a hidden layer that hardly learns (`flat_share`); sample_gradient: percentiles of ‖g_n‖. Of an ensemble, the means
    over the members that have not diverged.
    """
    inputs, dzs = backward_pass(classifier, x, y)
    weights = list(classifier.net.parameters())[::2]  # of W_1, b_1, W_2, …
    dweights = [ensemble_dweight(dz, a) / len(x) for dz, a in zip(dzs, inputs, strict=True)]  # of the mean loss
    quantities = {
        "dz_rms": [_root_mean_square(dz) for dz in dzs],
        "dw_rms": [_root_mean_square(dweight) for dweight in dweights],
        "dw_to_w": [_norm(dweight) / _norm(weight) for dweight, weight in zip(dweights, weights, strict=True)],
        "saturated": _flat_shares(classifier.net, inputs),
    }
    names = [f"{name}/{layer}" for name, values in quantities.items() for layer in range(1, len(values) + 1)]
    record = torch.stack([value for values in quantities.values() for value in values])
    sorted_norms = sample_gradient_norms(inputs, dzs).sort().values
    at = [round(part * (len(x) - 1)) for part in PERCENTILES.values()]
    record = torch.cat([record, sorted_norms[..., at].movedim(-1, 0)])
    if record.dim() > 1:  # (quantities, E)
        record = record[:, record.isfinite().all(0)].mean(1)
    return dict(zip([*names, *PERCENTILES], record.tolist(), strict=True))  # one wait for the device, not one each


def _flat_shares(net, inputs):
    """`flat_share` of each hidden layer, whose outputs are the inputs of the next one."""
    rule, shares = registry.activation(net.activation), []
    if rule.flat == "nowhere":
        return shares
    for number, (x, a) in enumerate(itertools.pairwise(inputs)):
        layer, activation = net[2 * number], net[2 * number + 1]
        z = layer(x) if rule.saves == "input" else None
        shares.append(flat_share(rule, rule.derivative(a, z, **rule.options_of(activation))))
    return shares


def _root_mean_square(matrices):
    return matrices.square().mean((-2, -1)).sqrt()


def _norm(matrices):
    return torch.linalg.vector_norm(matrices, dim=(-2, -1))


def hardest_rows(classifier, x, y, count):
    """Indices and ‖g_n‖ of the `count` rows with the largest gradients ‖g_n‖: hard, or mislabelled.

    Of an ensemble, the mean over the members that answer.
    """
    dtype = next(classifier.parameters()).dtype
    pieces = zip(x.to(dtype).split(ROWS_AT_ONCE), y.to(dtype).split(ROWS_AT_ONCE), strict=True)
    norms = torch.cat(
        [
            sample_gradient_norms(*backward_pass(classifier, x.to(classifier.device), y.to(classifier.device))).cpu()
            for x, y in pieces
        ],
        dim=-1,
    )
    if classifier.members:
        norms = norms[classifier.chosen.cpu()].mean(0)
    norms, rows = norms.sort(descending=True, stable=True)
    return rows[:count], norms[:count]
