"""Guesses from the Jacobian as a whole: it is transposed, permuted, summed, of the wrong sign, or diagonal."""

import torch


def conj(e):
    if not e.complex or e.analytical.shape[1] % 2 or e.analytical.shape[0] % 2:
        return None
    flipped = e.numerical.clone()
    flipped[0::2, 1::2] *= -1
    flipped[1::2, 0::2] *= -1
    return "a conj() is missing in the backward, or is one too many" if e.same(e.analytical, flipped) else None


def transposed(e):
    if len(e.argument_shape) < 2 or e.complex:
        return None
    turned = e.numerical.view(-1, *e.argument_shape).mT.reshape(e.numerical.shape)
    if e.same(e.analytical, turned):
        return f"the transpose of the right gradient of {e.argument}: a .t() is missing or should not be there"
    if len(e.output_shape) >= 2:
        shape = e.output_shape
        turned = e.numerical.view(*shape, -1).transpose(len(shape) - 1, len(shape) - 2).reshape(e.numerical.shape)
        if e.same(e.analytical, turned):
            return "the gradient of the transposed output: a .t() of the incoming one is missing or should not be there"
    return None


def jacobian_transposed(e):
    """g @ W.t() where g @ W belongs: rows and columns are swapped."""
    if e.complex or e.numerical.shape[0] != e.numerical.shape[1] or not e.same(e.analytical, e.numerical.T):
        return None
    return "what multiplies the incoming gradient is transposed: a .t() is missing or should not be there"


def kernel_not_flipped(e):
    """In the gradient of the input of a convolution: rows and columns are those of the reversed positions."""
    if e.complex or len(e.argument_shape) < 3 or len(e.output_shape) != len(e.argument_shape):
        return None
    whole, dims = e.numerical.view(*e.output_shape, *e.argument_shape), len(e.argument_shape)
    for along in (range(2, dims), (dims - 1,)):
        turned = whole.flip([*along, *(d + dims for d in along)]).reshape(e.numerical.shape)
        if e.same(e.analytical, turned):
            return "the kernel is not flipped: a convolution where conv_transpose, the gradient of the input, belongs"
    return None


def not_centred(e):
    """A normalisation that subtracts a mean: so does its gradient."""
    full = e.analytical.view(-1, *e.argument_shape)
    for dim, size in enumerate(e.argument_shape):
        if size > 1 and not e.complex:
            centred = full - full.mean(1 + dim, keepdim=True)
            if e.same(centred.reshape(e.numerical.shape), e.numerical):
                return f"its mean over dimension {dim} of {e.argument} is not subtracted, as the forward subtracts one"
    return None


def not_projected(e):
    """A normalisation that divides by a norm: a longer argument changes nothing, so its gradient is normal to it."""
    value = e.values.get(e.argument)
    if value is None or e.complex:
        return None
    full, x = e.analytical.view(-1, *e.argument_shape), value.view(1, *e.argument_shape)
    for dim, size in enumerate(e.argument_shape):
        along = (full * x).sum(1 + dim, keepdim=True) / (x * x).sum(1 + dim, keepdim=True)
        if size > 1 and e.same((full - x * along).reshape(e.numerical.shape), e.numerical):
            what = f"along {e.argument}, over dimension {dim}, is not subtracted"
            return f"its part {what}: of x/|x| it is (g − x (x·g)/(x·x)) / |x|"
    return None


def swapped(e):
    for name, (analytical, numerical) in e.others.items():
        if e.same(analytical, e.numerical) and e.same(e.analytical, numerical):
            return f"the gradients of {e.argument} and {name} are swapped: returned in the wrong order?"
    return None


def permuted(e):
    for a, n, what in (
        (e.analytical.T, e.numerical.T, f"entries of {e.argument}"),
        (e.analytical, e.numerical, "outputs"),
    ):
        order = (a[:, None, :] - n[None, :, :]).abs().amax(-1).argmin(dim=1)
        turned = n[order]
        fits = e.same(a, turned) if what == "outputs" else e.same(a.T, turned.T)
        if fits and len(set(order.tolist())) == len(order):
            return f"the right gradient with the {what} permuted: {_order_in_words(order.tolist())}"
    return None


def _order_in_words(order):
    n = len(order)
    if order == list(range(n))[::-1]:
        return "flipped"
    shifts = {(o - i) % n for i, o in enumerate(order)}
    return f"rolled by {shifts.pop()}" if len(shifts) == 1 else f"{order[:8]}"


def summed(e):
    """A reduction over a dimension of the argument that the forward does not have."""
    if e.complex:
        return None
    full, shape = e.numerical.view(-1, *e.argument_shape), e.argument_shape
    for dim, size in enumerate(shape):
        if size > 1:
            total = full.sum(1 + dim, keepdim=True).expand_as(full).reshape(e.numerical.shape)
            for matrix, what in ((total, "summed"), (total / size, "averaged")):
                if e.same(e.analytical, matrix):
                    return f"{what} over dimension {dim} of {e.argument}, whose entries have different gradients"
    return None


def signs(e):
    if e.same(e.analytical, e.numerical.abs()):
        return "the absolute value of the right gradient"
    if not e.same(e.analytical.abs(), e.numerical.abs()):
        return None
    value, columns = e.values.get(e.argument), (~e.close).any(dim=0)
    if value is not None and not e.complex:
        for sign, mask in (("<", value < 0), (">", value > 0)):
            if bool((columns == mask).all()):
                return f"the sign is wrong where {e.argument} {sign} 0"
    return "the sign is wrong in some entries"


def diagonal_only(e):
    """A softmax or a normalisation, for example, in which every output depends on every entry."""
    n = e.numerical
    if n.shape[0] != n.shape[1] or len(n) < 2:
        return None
    off = ~torch.eye(len(n), dtype=torch.bool)
    if not bool(e.analytical[off].any()) and bool((n[off].abs() > 1e-6 * n.abs().max()).any()):
        return "only the diagonal of the Jacobian is there: the effect of an entry on other outputs is missing"
    return None


def extra_term(e):
    """A term that is the same for all entries, or a multiple of another argument's gradient."""
    extra = e.analytical - e.numerical
    if not bool(extra.isfinite().all()):
        return None
    for name, (other, _) in e.others.items():
        if other.shape == extra.shape and bool(other.any()) and e.same(extra, other):
            return f"the gradient of {name} is added to it"
    constant = extra.median()
    if e.same(extra, constant.expand_as(extra)):
        return f"{float(constant):.6g} is added to every entry"
    diagonal = torch.eye(*extra.shape, dtype=extra.dtype)
    constant = (extra * diagonal).sum() / diagonal.sum()
    if e.same(extra, constant * diagonal):
        return f"{float(constant):.6g} is added to the derivative"
    return None
