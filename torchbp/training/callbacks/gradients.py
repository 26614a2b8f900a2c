"""Watching the gradients: do they reach the first layer, do units still learn, which rows pull hardest?

For rows n with a loss L_n each, and the layers l = 1 … L with Z_l = A_{l−1} W_lᵀ + b_l, A_l = f(Z_l):

    dZ_{l−1} = (dZ_l W_l) ∘ f′(A_{l−1})          of L_n, a row each
    dW_l     = (1/N) dZ_lᵀ A_{l−1}                of the mean loss
    ‖g_n‖²   = Σ_l ‖dz_{n,l}‖² (‖a_{n,l−1}‖² + 1)   the row's own gradient by all W and b, without making it:
               it is dz aᵀ for W and dz for b, and ‖dz aᵀ‖ = ‖dz‖ ‖a‖
               (Goodfellow 2015, Efficient Per-Example Gradient Computations, arXiv:1510.01799)
"""

import torch
from torch.linalg import vector_norm as norm

from torchbp.engine.gradients import gradient_norms
from torchbp.engine.losses import value_and_derivative
from torchbp.engine.network import Network
from torchbp.ops.ensemble_linear import ensemble_dweight
from torchbp.training.callbacks.saturation import SATURATION
from torchbp.training.data.tabular import ROWS_AT_ONCE

PERCENTILES = {
    "sample_gradient/p05": 0.05,
    "sample_gradient/p50": 0.5,
    "sample_gradient/p95": 0.95,
    "sample_gradient/max": 1.0,
}


@torch.no_grad()
def backward_pass(classifier, x, y):
    """A_{l−1} `(N, n_{l−1})` and dZ_l `(N, n_l)` of each layer l = 1 … L, of each row's own loss L_n.

    x, y are raw rows, `(N, in_features)` and `(N, outputs)`, on the classifier's device.
    """
    network = Network(classifier.net, allow_hooks=True)
    parameters = network.parameters()
    output, saved = network.forward(parameters, classifier.standardize(x))
    _, dz, scale = value_and_derivative(classifier.loss, output, y, network.members)
    passes = reversed(list(network.backward(parameters, saved, dz * (scale * len(x)))))
    _, dzs, inputs = zip(*passes, strict=True)
    return inputs, dzs


def full_gradient_norm(classifier, x, y):
    """‖∇L‖₂ over all parameters, L the mean loss of the rows x, y plus ½ λ ‖W‖². It touches no `.grad`.

    Of an ensemble `(E)`, each member's own.
    """
    network = Network(classifier.net, allow_hooks=True)
    decays = dict.fromkeys(classifier.net.parameters(), classifier.hparams.weight_decay)
    p = next(classifier.net.parameters())
    pieces = (
        (classifier.standardize(x[rows].to(p)), y[rows].to(p)) for rows in torch.arange(len(x)).split(ROWS_AT_ONCE)
    )
    return gradient_norms(network, classifier.loss, decays, pieces, len(x)).cpu()


def sample_gradient_norms(inputs, dzs):
    """‖g_n‖, shape `(N,)`: the norm of each row's own gradient by all weights and biases."""
    pairs = zip(inputs, dzs, strict=True)
    return sum(dz.square().sum(-1) * (a.square().sum(-1) + 1) for a, dz in pairs).sqrt()


@torch.no_grad()
def gradient_flow(classifier, x, y):
    """What the monitor records, name: number; the names end in the number of the layer, from 1.

    dz_rms: root mean square of dZ, over rows and units; dw_rms: of dW; dw_to_w: ‖dW‖/‖W‖; saturated: share of the
    hidden layer's outputs where f′ is nearly 0, of relu the share of units that are 0 for all rows; sample_gradient:
    percentiles of ‖g_n‖. Of an ensemble, the means over the members that have not diverged.
    """
    inputs, dzs = backward_pass(classifier, x, y)
    weights = list(classifier.net.parameters())[::2]  # of W_1, b_1, W_2, …
    share, matrix = SATURATION[classifier.net.activation].share, (-2, -1)
    quantities = {
        "dz_rms": [rms(dz) for dz in dzs],
        "dw_rms": [],
        "dw_to_w": [],
        "saturated": [share(a) for a in inputs[1:]],
    }
    for dz, a, weight in zip(dzs, inputs, weights, strict=True):
        dweight = ensemble_dweight(dz, a) / len(x)  # of the mean loss
        quantities["dw_rms"].append(rms(dweight))
        quantities["dw_to_w"].append(norm(dweight, dim=matrix) / norm(weight, dim=matrix))
    names = [f"{name}/{layer}" for name, values in quantities.items() for layer in range(1, len(values) + 1)]
    found = torch.stack([value for values in quantities.values() for value in values])
    rows = sample_gradient_norms(inputs, dzs).sort().values
    at = [round(part * (len(x) - 1)) for part in PERCENTILES.values()]
    found = torch.cat([found, rows[..., at].movedim(-1, 0)])
    if found.dim() > 1:  # of each member
        found = found[:, found.isfinite().all(0)].mean(1)
    return dict(zip([*names, *PERCENTILES], found.tolist(), strict=True))  # to numbers in one step, for a GPU's sake


def rms(matrices):
    return matrices.square().mean((-2, -1)).sqrt()


def hardest_rows(classifier, x, y, count):
    """Indices and ‖g_n‖ of the `count` rows with the largest gradient of their own: hard, or mislabelled.

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
