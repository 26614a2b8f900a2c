"""Gradients of a network, layer by layer and row by row: what the monitor and the page of a run show.

For rows n with a loss L_n each, and the layers l = 1 … L with Z_l = A_{l−1} W_lᵀ + b_l, A_l = f(Z_l):

    dZ_{l−1} = (dZ_l W_l) ∘ f′(A_{l−1})          of L_n, a row each
    dW_l     = (1/N) dZ_lᵀ A_{l−1}                of the mean loss
    ‖g_n‖²   = Σ_l ‖dz_{n,l}‖² (‖a_{n,l−1}‖² + 1)   the gradient of L_n by all W and b. It is dz aᵀ for W and dz for
               b, and is not computed itself: ‖dz aᵀ‖ = ‖dz‖ ‖a‖
               (Goodfellow 2015, Efficient Per-Example Gradient Computations, arXiv:1510.01799)
"""

import torch

from torchbp.engine.fitting.epoch import evaluation
from torchbp.engine.gradients import gradient_norms
from torchbp.engine.losses import value_and_derivative
from torchbp.engine.network import Network as Layers
from torchbp.ops.layers.ensemble_linear import ensemble_dweight
from torchbp.ops.registry import rule_of
from torchbp.ops.rules import Activation
from torchbp.training.callbacks.saturation import flat_share
from torchbp.training.data.batches import ROWS_AT_ONCE
from torchbp.training.model.layers import is_linear

PERCENTILES = {
    "sample_gradient/p05": 0.05,
    "sample_gradient/p50": 0.5,
    "sample_gradient/p95": 0.95,
    "sample_gradient/max": 1.0,
}


@torch.no_grad()
def backward_pass(model, x, y, w=None):
    """A_{l−1} `(N, n_{l−1})` and dZ_l `(N, n_l)` of each layer l = 1 … L with weights, of the loss L_n of each row.

    x, y, w are rows as batches have them, on the model's device. The network is as in evaluation, without dropout.
    """
    network = Layers(model.net, allow_hooks=True)
    parameters = network.parameters()
    y, loss = model.task.target(y, w)
    with evaluation(network), network.only_read():
        output, saved = network.forward(parameters, model.scaling(x))
        _, dz, scale = value_and_derivative(loss, output, y, network.members)
        passes = list(network.backward(parameters, saved, dz * (scale * len(x))))
    linear = [(dz, a) for place, dz, a in reversed(passes) if is_linear(network.layers[place][1])]
    return [a for _, a in linear], [dz for dz, _ in linear]


def full_gradient_norm(model, *rows):
    """‖∇L‖₂ over all parameters, L the mean loss of the rows, as batches have them, plus ½ λ ‖W‖², unless the decay is
    decoupled. It touches no `.grad`. The network is as in evaluation, without dropout.

    Of an ensemble one norm for each member, `(E)`.
    """
    network, p = Layers(model.net, allow_hooks=True), next(model.net.parameters())
    decay = 0.0 if model.hparams.optimizer == "adamw" else model.hparams.weight_decay
    rows = [of_rows(t, p) for t in rows]
    loss = model.task.target(*(t[:1] for t in rows[1:]))[1]
    pieces = (
        (model.scaling(x), model.task.target(*y)[0])
        for x, *y in ((t[at].to(p.device) for t in rows) for at in torch.arange(len(rows[0])).split(ROWS_AT_ONCE))
    )
    with evaluation(network):
        return gradient_norms(network, loss, dict.fromkeys(model.net.parameters(), decay), pieces).cpu()


def of_rows(tensor, p):
    """Numbers of rows in the dtype of the parameter p; the indices of classes as they are."""
    return tensor.to(p.dtype) if tensor.is_floating_point() else tensor


def sample_gradient_norms(inputs, dzs):
    """‖g_n‖, `(N,)` or `(E, N)`: the norm of the gradient of each row's loss by all weights and biases."""
    pairs = zip(inputs, dzs, strict=True)
    return sum(dz.square().sum(-1) * (a.square().sum(-1) + 1) for a, dz in pairs).sqrt()


@torch.no_grad()
def gradient_flow(model, x, y, w=None):
    """What the monitor records, {name: number}; the names end in the number of the layer, from 1.

    dz_rms, dw_rms: root mean squares of dZ, over rows and units, and of dW; dw_to_w: ‖dW‖/‖W‖; saturated: the share of
    a hidden layer that hardly learns (`flat_share`); sample_gradient: percentiles of ‖g_n‖. Of an ensemble, the means
    over the members that have not diverged.
    """
    inputs, dzs = backward_pass(model, x, y, w)
    weights = [layer.weight for layer in model.net if is_linear(layer)]
    dweights = [ensemble_dweight(dz, a) / len(x) for dz, a in zip(dzs, inputs, strict=True)]  # of the mean loss
    quantities = {
        "dz_rms": [_root_mean_square(dz) for dz in dzs],
        "dw_rms": [_root_mean_square(dweight) for dweight in dweights],
        "dw_to_w": [_norm(dweight) / _norm(weight) for dweight, weight in zip(dweights, weights, strict=True)],
        "saturated": _flat_shares(model.net, model.scaling(x)),
    }
    names = [f"{name}/{layer}" for name, values in quantities.items() for layer in range(1, len(values) + 1)]
    record = torch.stack([value for values in quantities.values() for value in values])
    sorted_norms = sample_gradient_norms(inputs, dzs).sort().values
    at = [round(part * (len(x) - 1)) for part in PERCENTILES.values()]
    record = torch.cat([record, sorted_norms[..., at].movedim(-1, 0)])
    if record.dim() > 1:  # (quantities, E)
        record = record[:, record.isfinite().all(0)].mean(1)
    return dict(zip([*names, *PERCENTILES], record.tolist(), strict=True))  # one wait for the device, not one each


def _flat_shares(net, x):
    """`flat_share` of each hidden layer, of the network's input x."""
    shares = []
    with evaluation(Layers(net, allow_hooks=True)):
        for layer in net:
            z, x, rule = x, layer(x), rule_of(layer)
            if isinstance(rule, Activation) and rule.flat != "nowhere":
                shares.append(flat_share(rule, rule.derivative(x, z, **rule.options_of(layer))))
    return shares


def _root_mean_square(matrices):
    return matrices.square().mean((-2, -1)).sqrt()


def _norm(matrices):
    return torch.linalg.vector_norm(matrices, dim=(-2, -1))


def hardest_rows(model, rows, count):
    """Indices and ‖g_n‖ of the `count` rows with the largest gradients ‖g_n‖: hard, or mislabelled. rows: as batches
    have them.

    Of an ensemble, the mean over the members that answer.
    """
    p = next(model.parameters())
    pieces = zip(*(of_rows(t, p).split(ROWS_AT_ONCE) for t in rows), strict=True)
    norms = [sample_gradient_norms(*backward_pass(model, *(t.to(p.device) for t in piece))).cpu() for piece in pieces]
    norms = torch.cat(norms, dim=-1)
    if model.members:
        norms = norms[model.chosen.cpu()].mean(0)
    norms, order = norms.sort(descending=True, stable=True)
    return order[:count], norms[:count]
