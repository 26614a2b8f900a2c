"""The shapes of attention: what fits, leading dimensions that broadcast, heads that share keys, four dimensions."""

import torch

CACHED = 2**17  # scores in a block for each thread: two blocks in float32 are one megabyte


def checked(q, k, v, shared_heads):
    """Q, K and V with the same leading dimensions, the last of which, the heads, may be fewer in K and V if shared."""
    described = f"query {list(q.shape)}, key {list(k.shape)}, value {list(v.shape)}"
    if min(q.dim(), k.dim(), v.dim()) < 2:
        raise RuntimeError(f"{described}: each needs two dimensions or more, (…, heads, length, size)")
    if not q.dtype == k.dtype == v.dtype or not q.is_floating_point():
        raise RuntimeError(f"query {q.dtype}, key {k.dtype}, value {v.dtype}: they must be of one floating dtype")
    if q.shape[-1] != k.shape[-1]:
        raise RuntimeError(f"{described}: the last dimensions of query and key differ, {q.shape[-1]} and {k.shape[-1]}")
    if k.shape[-2] != v.shape[-2]:
        raise RuntimeError(f"{described}: the numbers of keys and values differ, {k.shape[-2]} and {v.shape[-2]}")
    if q.shape[:-2] == k.shape[:-2] == v.shape[:-2]:
        return q, k, v
    heads = 2
    if shared_heads:
        heads = 3
        if min(q.dim(), k.dim(), v.dim()) < 3:
            raise RuntimeError(f"{described}: with enable_gqa each needs a dimension of heads")
        if any(t.shape[-3] == 0 or q.shape[-3] % t.shape[-3] for t in (k, v)):
            raise RuntimeError(f"{described}: the heads of key and value must divide the {q.shape[-3]} of query")
        if k.shape[-3] != v.shape[-3]:
            k, v = as_heads_of(q, k), as_heads_of(q, v)
    try:
        leading = torch.broadcast_shapes(*(t.shape[:-heads] for t in (q, k, v)))
    except RuntimeError as error:
        raise RuntimeError(f"{described}: the leading dimensions do not broadcast: {error}") from None
    return (t.expand(*leading, *t.shape[-heads:]) for t in (q, k, v))


def checked_mask(mask, q, k):
    """The mask with at least two dimensions, if it broadcasts to the scores."""
    if mask.dtype not in (torch.bool, torch.float32, q.dtype):
        raise RuntimeError(f"attn_mask is {mask.dtype}; it must be boolean, float32 or {q.dtype}, the dtype of query")
    target = *q.shape[:-1], k.shape[-2]
    fits = mask.dim() <= len(target)
    if not fits or any(m not in (1, t) for m, t in zip(mask.shape[::-1], target[::-1], strict=False)):
        raise RuntimeError(f"attn_mask {list(mask.shape)} does not broadcast to the scores, {list(target)}")
    return mask if mask.dim() > 1 else mask.expand(1, max(mask.numel(), 1))


def as_heads_of(q, t):
    """K or V with a copy of each head for every head of Q that shares it."""
    return t if t.dim() < 3 or t.shape[-3] == q.shape[-3] else t.repeat_interleave(q.shape[-3] // t.shape[-3], -3)


def heads_summed(d, t):
    """The gradient of K or V, which `as_heads_of` has copied, with as many heads as t has."""
    return (
        d
        if d.dim() < 3 or d.shape[-3] == t.shape[-3]
        else d.reshape(*d.shape[:-3], t.shape[-3], d.shape[-3] // t.shape[-3], *d.shape[-2:]).sum(-3)
    )


def folded(t):
    """(…, H, L, E) in four dimensions."""
    if t.dim() == 4:
        return t
    return t[(None,) * (4 - t.dim())] if t.dim() < 4 else t.flatten(0, -4)


def in_one_batch(t):
    """(…, H, L, E) in four dimensions, with the heads of all batch entries in one."""
    return t.reshape(1, t.shape[:-2].numel(), *t.shape[-2:])


def folding(q, k):
    """How tensors get four dimensions. All scores that fit into one block become one, which is far fewer operations
    than a block for each batch entry."""
    scores = q.shape[:-1].numel() * k.shape[-2]
    return in_one_batch if q.dim() > 3 and 0 < scores <= CACHED else folded


def folded_mask(mask, q, k, fold=folded):
    return None if mask is None else fold(mask.expand(*q.shape[:-1], k.shape[-2]))


def mask_shape(mask, q, k):
    """The shape of the mask in four dimensions, with 1 where it is broadcast."""
    if q.dim() > 4:
        return *folded(q).shape[:3], k.shape[-2]
    return *(1,) * (4 - mask.dim()), *mask.shape
