"""`torchbp.backprop`: the gradients of a network by the formulas, without an autograd graph."""

from collections.abc import Callable

import torch

from torchbp.engine.losses import checked_loss, weight_of
from torchbp.engine.network import Network, first_parameter
from torchbp.engine.network.rows import check_rows
from torchbp.engine.optimizers.update_rule import is_per_member, number_like
from torchbp.engine.step import derivatives
from torchbp.ops._accumulate import per_member
from torchbp.printing import with_article


@torch.no_grad()
def backprop(
    model: torch.nn.Module,
    x: torch.Tensor,
    y: torch.Tensor | None = None,
    loss: torch.nn.Module | None = None,
    *,
    dz: torch.Tensor | Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor:
    r"""Fill `.grad` of every parameter as `loss(model(x), y).backward()` does, without building a graph.

        dZ_L = ∂L/∂Z_L;   then from the last layer to the first   dW_l += dZ_lᵀ A_{l−1},   db_l += Σ_n dZ_l,
        dA_{l−1} = dZ_l W_l,   dZ_{l−1} = dA_{l−1} ∘ f′

    A gradient that is there is added to, in its own memory; a parameter that does not require one is left out, and so
    are the layers under the first that learns. For use with any optimizer of torch.

    Args:
        model: an `MLP`, of one network or an ensemble, or a `torch.nn.Sequential` of layers and
            activations that have a rule, ours or torch's.
        x: input, shape `(…, in_features)`, the dtype and device of the model; it gets no gradient. Of an ensemble
            `(N, in_features)`, rows that all members share, or `(E, N, in_features)`.
        y: target, in the shape of the model's output, or for a loss of classes the class of each row; of an ensemble it
            may be shared too.
        loss: a loss that has a rule, a module with reduction "mean" or "sum"; `BCEWithLogitsLoss` (None).
        dz: for a loss of your own, in the place of y and loss: ∂L/∂output in the output's shape, or a function that
            makes it from the output.

    Returns:
        L, a scalar tensor without a graph; reading it is the caller's, so that a GPU is not waited for. Of an ensemble
        (E), each member's own loss, and each gradient is that of its member's own loss. With `dz`, the model's output.

    Raises:
        TypeError: a layer, hook, parametrization or loss that is not supported; y or loss beside dz, or neither.
        ValueError: a target or a dz of another shape.
        RuntimeError: shapes or dtypes that do not fit.
        FloatingPointError: under `torch.autograd.detect_anomaly`, nan or inf in x, or of the layer that it names.

    Example:
        >>> net = torchbp.nn.MLP(30, 16, 1)
        >>> loss = torchbp.backprop(net, torch.randn(32, 30), torch.ones(32, 1))
        >>> policy, states = torchbp.nn.MLP(4, 16, 2), torch.randn(32, 4)
        >>> actions, advantages = torch.randint(2, (32,)), torch.randn(32, 1)
        >>> def dz(logits):  # of L = −(1/N) Σ advantage · ln P(action)
        ...     return advantages * (logits.softmax(-1) - torch.eye(2)[actions]) / 32
        >>> logits = torchbp.backprop(policy, states, dz=dz)
    """
    if dz is not None and (y is not None or loss is not None):
        raise TypeError(
            f"{'loss' if y is None else 'y'} and dz exclude one another: dz is ∂L/∂output of a loss of your own; give "
            "y and loss, or dz"
        )
    if dz is None and y is None:
        raise TypeError("there is no target; give y, or dz for a loss of your own")
    loss, network = checked_loss(loss), Network(model)
    network.check_autocast()
    network.strict = torch.is_anomaly_enabled()
    parameters = network.parameters()
    learns = [[p is not None and p.requires_grad for p in of_layer] for of_layer in parameters]
    try:
        if dz is None:
            result, scale, ones, passes = derivatives(network, loss, parameters, learns, x, y)
        else:
            result, saved = network.forward(parameters, x)
    except (RuntimeError, TypeError):
        check_rows(network, x)
        raise
    if dz is not None:
        derivative = dz_of(dz, result, network.members)
        lowest = next((place for place, of_layer in enumerate(learns) if any(of_layer)), len(learns))
        scale, ones, passes = 1, network.ones(derivative), network.backward(parameters, saved, derivative, lowest)
        del derivative, saved
    for place, dz_of_layer, saved in passes:
        for p, needed, (accumulate, of_ones) in zip(
            parameters[place], learns[place], network.accumulate[place], strict=True
        ):
            if needed:
                accumulate(gradient(p), dz_of_layer, ones if of_ones else saved, 1, scale)
        del dz_of_layer, saved  # so that they are freed before the next layer's are made
    return result


def dz_of(dz, output, members):
    """∂L/∂output in memory of its own, which the backward writes over.

    Raises:
        TypeError: it is no tensor. ValueError: one of another shape.
    """
    given = dz(output) if callable(dz) else dz
    if not isinstance(given, torch.Tensor):
        raise TypeError(
            f"dz is {with_article(type(given).__name__)}; give ∂L/∂output as a tensor, or a function that returns it"
        )
    if given.shape != output.shape and (members is None or given.shape != output.shape[1:]):
        raise ValueError(f"dz has the shape {tuple(given.shape)}, and the output {tuple(output.shape)}; give the same")
    return torch.empty_like(output).copy_(given)


def gradient(parameter):
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def gradient_norms(network, loss, decays, pieces, members=None):
    """‖∇L‖₂ by all parameters that learn, of the loss over all rows plus ½ λ ‖W‖²; of an ensemble (E), one a member.

    It touches no `.grad`, no running statistics and no random stream. A layer that takes statistics of the rows, as
    batch norm in training, takes those of each piece.

    Args:
        decays: λ of each parameter, a dictionary of those that learn: numbers, or tensors of one for each member.
        pieces: the rows x and y, a piece at a time.
        members: a slice of an ensemble, whose rows those are; None is all.
    """
    with torch.no_grad(), network.only_read(), network.of_members(members):
        return _gradient_norms(network, loss, decays, pieces, members)


def _gradient_norms(network, loss, decays, pieces, members):
    mine = ... if members is None else members  # an index
    whole = network.parameters()
    parameters = [tuple(p if p is None else p[mine] for p in of_layer) for of_layer in whole]
    learns = [[p in decays for p in of_layer] for of_layer in whole]
    sums = {p: torch.zeros_like(p[mine]) for p in decays}
    outs = [[sums.get(p) for p in of_layer] for of_layer in whole]
    count = 0
    for x, y in pieces:
        _, scale, ones, passes = derivatives(network, loss, parameters, learns, x, y)
        weight = weight_of(loss, y) if loss.reduction == "mean" else 1
        count = count + weight if loss.reduction == "mean" else 1
        for place, dz, saved in passes:
            for out, (accumulate, of_ones) in zip(outs[place], network.accumulate[place], strict=True):
                if out is not None:
                    accumulate(out, dz, ones if of_ones else saved, 1, scale * weight)
            del dz, saved
        del x, y  # so that they are freed before the next piece is gathered
    first = first_parameter(parameters)
    squares = first.new_zeros(() if network.members is None else len(first))
    for p, decay in decays.items():
        total = sums[p].div_(per_member(count, p) if isinstance(count, torch.Tensor) else count)
        of_each = per_member(number_like(p, decay)[mine], total) if is_per_member(decay) else decay
        total += p[mine] * of_each
        squares += total.square().flatten(0 if network.members is None else 1).sum(-1)
    return squares.sqrt().double()
