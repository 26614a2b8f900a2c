"""Clipping of the gradients of autograd: one whose norm over all parameters is above a bound is made shorter. The
engine clips by `max_grad_norm`.

G ← G min(1, bound / (‖G‖₂ + 1e-6))        of an ensemble, of each member on its own; as torch's clip_grad_norm_
"""

import torch

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
