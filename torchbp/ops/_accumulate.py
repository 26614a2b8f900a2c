"""Updates in place, out ← β out + s dP, with a β and an s of one network or of each member of an ensemble."""

import torch


def accumulate(gradient, out, dz, saved, beta, scale, **options):
    """out ← β out + s dP in place, of a formula that gives dP."""
    if isinstance(beta, torch.Tensor):
        out.mul_(per_member(beta, out))
    elif beta != 1:
        out.mul_(beta) if beta else out.zero_()
    add_multiple(out, scale, gradient(dz, saved, **options))


def add_multiple(out, scale, tensor):
    """out ← out + s tensor in place; s is a number, or a tensor of one number or of one for each member."""
    if isinstance(scale, torch.Tensor):
        out.addcmul_(tensor, per_member(scale, tensor))
    else:
        out.add_(tensor, alpha=scale)


def per_member(numbers, tensor):
    """One number for all, or one for each member, in the shape (E, 1, …) that multiplies `tensor` (E, …)."""
    return numbers.view(-1, *[1] * (tensor.dim() - 1))
