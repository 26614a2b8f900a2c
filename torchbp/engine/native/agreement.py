"""Whether a program makes the steps that the engine makes, but for rounding."""

import torch

# how far apart the two may be, as a part of what the steps change, beside rounding
OF_CHANGE = {torch.float32: 1e-2, torch.float64: 1e-6}


def agree(found, expected, before, dim=None):
    """Whether two tensors are the same but for rounding and a small part of what the steps have changed; with the
    dimension of the members, for each of them."""
    if not expected.is_floating_point():
        return torch.equal(found, expected)
    if dim is None or not expected.dim():
        found, expected, before = (t.reshape(1, -1) for t in (found, expected, before))
    else:
        found, expected, before = (t.movedim(dim, 0).reshape(t.shape[dim], -1) for t in (found, expected, before))
    change, rounding = finite_norms(expected - before), torch.finfo(expected.dtype).eps ** 0.75 * finite_norms(expected)
    same = (found == expected) | (found.isnan() & expected.isnan())
    error = (found - expected).where(~same, 0).norm(dim=1)
    return bool((error <= OF_CHANGE[expected.dtype] * change + rounding).all())


def finite_norms(rows):
    return rows.where(rows.isfinite(), 0).norm(dim=1)
