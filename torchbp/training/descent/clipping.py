"""Gradient clipping: a gradient whose norm over all parameters is above a bound is made shorter.

G ← G min(1, bound / (‖G‖₂ + 1e-6))        of an ensemble, of each member on its own; as torch's clip_grad_norm_
"""

import torch

from torchbp.engine.step import derivatives
from torchbp.ops._accumulate import per_member


@torch.no_grad()
def clip_gradients(parameters, bound, members=None):
    """Clip the `.grad` of the parameters in place."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    dims = 0 if members is None else 1
    squares = torch.stack([g.square().flatten(dims).sum(-1) for g in gradients]).sum(0)
    factor = (bound / (squares.sqrt() + 1e-6)).clamp(max=1)
    for gradient in gradients:
        gradient.mul_(per_member(factor, gradient) if members else factor)


@torch.no_grad()
def clipped_step(optimizer, x, y, bound):
    """`backprop_step` of the engine's optimizer, with clipping: it needs the gradients of all parameters first."""
    network = optimizer.network
    network.check()
    network.strict = torch.is_anomaly_enabled()
    parameters = network.parameters()
    learns = [[p is not None and p.requires_grad for p in of_layer] for of_layer in parameters]
    value, scale, ones, passes = derivatives(network, optimizer.loss, parameters, learns, x, y)
    for place, dz, saved in passes:
        for p, needed, (accumulate, of_ones) in zip(
            parameters[place], learns[place], network.accumulate[place], strict=True
        ):
            if needed:
                if p.grad is None:
                    p.grad = torch.zeros_like(p)
                accumulate(p.grad, dz, ones if of_ones else saved, 0, scale)
        del dz, saved
    clip_gradients([p for of_layer in parameters for p in of_layer if p is not None], bound, network.members)
    optimizer.step()
    return value
