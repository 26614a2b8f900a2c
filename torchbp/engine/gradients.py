"""`torchbp.backprop`: the gradients of a network by the formulas, without an autograd graph."""

import torch

from torchbp.engine.descent import derivatives
from torchbp.engine.layers import Layers
from torchbp.engine.losses import checked_loss
from torchbp.engine.rules import is_of_each, like
from torchbp.ops.rules import per_member


@torch.no_grad()
def backprop(model, x, y, loss=None):
    r"""Fill `.grad` of every parameter as `loss(model(x), y).backward()` does, without building a graph.

        dZ_L = ∂L/∂Z_L;   then from the last layer to the first   dW_l += dZ_lᵀ A_{l−1},   db_l += Σ_n dZ_l,
        dA_{l−1} = dZ_l W_l,   dZ_{l−1} = dA_{l−1} ∘ f′

    A gradient that is there is added to, in its own memory; a parameter that does not require one is left out, and so
    are the layers under the first that learns. For use with any optimizer of torch.

    Args:
        model: an `MLP`, of one network or an ensemble, or a `torch.nn.Sequential` of Linear, Sigmoid, Tanh and ReLU,
            ours or torch's.
        x: input, shape `(…, in_features)`, the dtype and device of the model; it gets no gradient. Of an ensemble
            `(N, in_features)`, rows that all members share, or `(E, N, in_features)`.
        y: target, in the shape of the model's output; of an ensemble it may be shared too.
        loss: `BCEWithLogitsLoss` (None), `BCELoss` or `MSELoss`, a module with reduction "mean" or "sum".

    Returns:
        L, a scalar tensor without a graph; reading it is the caller's, so that a GPU is not waited for. Of an ensemble
        (E), each member's own loss, and each gradient is that of its member's own loss.

    Raises:
        TypeError: a layer, hook, parametrization or loss that is not supported.
        ValueError: a target of another shape.
        RuntimeError: shapes or dtypes that do not fit.
        FloatingPointError: under `torch.autograd.detect_anomaly`, nan or inf in x, or of the layer that it names.

    Example:
        >>> net = torchbp.nn.MLP(30, 16, 1)
        >>> loss = torchbp.backprop(net, torch.randn(32, 30), torch.ones(32, 1))
    """
    loss, layers = checked_loss(loss), Layers(model)
    layers.check_autocast()
    layers.strict = torch.is_anomaly_enabled()
    parameters = layers.parameters()
    learns = [[p is not None and p.requires_grad for p in pair] for pair in parameters]
    value, scale, ones, passes = derivatives(layers, loss, parameters, learns, x, y)
    _, _, add_dweight, add_dbias = layers.formulas
    for number, dz, a in passes:
        weight, bias = parameters[number]
        if weight.requires_grad:
            add_dweight(gradient(weight), dz, a, 1, scale)
        if bias is not None and bias.requires_grad:
            add_dbias(gradient(bias), dz, ones, 1, scale)
        del dz, a  # so that they are freed before the next layer's are made
    return value


def gradient(parameter):
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


@torch.no_grad()
def gradient_norms(layers, loss, decays, pieces, count, members=None):
    """‖∇L‖₂ over all parameters that learn, of the mean loss over the rows plus ½ λ ‖W‖²; of an ensemble (E), of each.

    It touches no `.grad`.

    Args:
        decays: λ of each parameter, a dictionary of those that learn: numbers, or tensors of one for each member.
        pieces: the rows x and y, a piece at a time; `count` in all.
        members: a slice of an ensemble, whose rows those are; None is all.
    """
    parameters = layers.parameters()
    learns = [[p in decays for p in pair] for pair in parameters]
    sums = {p: p * (per_member(like(p, decay), p) if is_of_each(decay) else decay) for p, decay in decays.items()}
    if members is not None:
        parameters = [tuple(p if p is None else p[members] for p in pair) for pair in parameters]
        sums = {p: total[members] for p, total in sums.items()}
    _, _, add_dweight, add_dbias = layers.formulas
    squares = parameters[0][0].new_zeros(() if layers.members is None else len(parameters[0][0]))
    of_layer = [[sums.get(p) for p in pair] for pair in layers.parameters()]
    for x, y in pieces:
        _, scale, ones, passes = derivatives(layers, loss, parameters, learns, x, y)
        scale = scale * x.shape[-2] / count if loss.reduction == "mean" else scale
        for number, dz, a in passes:
            weight, bias = of_layer[number]
            if weight is not None:
                add_dweight(weight, dz, a, 1, scale)
            if bias is not None:
                add_dbias(bias, dz, ones, 1, scale)
            del dz, a
        del x, y  # so that they are freed before the next piece is gathered
    for total in sums.values():
        squares += total.square().flatten(0 if layers.members is None else 1).sum(-1)
    return squares.sqrt().double()
