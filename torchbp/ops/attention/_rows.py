"""Attention some rows of queries at a time, with all of their keys: no matrix of all queries by all keys.

In `attention_by_rows` and `attention_backward_by_rows` every tensor has four dimensions: q (B, Hq, L, E),
k (B, H, S, E), v (B, H, S, Ev), O (B, Hq, L, Ev); where they are there, mask and kept are (B, Hq, L, S), expanded.
Hq is a multiple of H: G = Hq/H heads of q share one head of k and v, and their rows are stacked, G r rows of queries
for the same keys.
"""

import math

import torch

from torchbp.ops.attention._shapes import CACHED, folded, folded_mask, folding, mask_shape

flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default  # in blocks of P, in one kernel

ON_DEVICE = 2**24  # an accelerator launches a kernel for each step, so its blocks are larger
HEIGHT = 64  # rows of a block, where there are so many, however many keys there are: products of few rows are slow


def attention_in_parts(q, k, v, mask, kept, factor, causal, scale):
    """The same as `attention`, without the whole matrix."""
    if kept is None and fits_flash(q, k, v, causal, scale):
        out = attention_by_flash(q, k, v, mask, causal, scale)
    else:
        fold = folding(q, k)
        mask, sees_no_key = in_numbers(mask, q.dtype)
        masks = folded_mask(mask, q, k, fold), None if kept is None else fold(kept)
        out = attention_by_rows(fold(q), fold(k), fold(v), *masks, factor, causal, scale)
        out = out.reshape(*q.shape[:-1], v.shape[-1])
        out = out if sees_no_key is None else out.masked_fill_(sees_no_key, 0.0)
    return out.detach() if out._is_view() else out  # the same memory, but a view may not be written into


def attention_by_flash(q, k, v, mask, causal, scale):
    """O by torch's kernel for the CPU, where it `fits_flash`. Of a row whose every key is masked it makes 0."""
    if mask is not None and mask.dtype is torch.bool:
        mask = seen_as_numbers(mask, q.dtype)
    tensors, mask = (folded(t) for t in (q, k, v)), folded_mask(mask, q, k)
    out, _ = flash(*tensors, 0.0, causal, attn_mask=mask, scale=scale)
    nan = q @ q.new_zeros(q.shape[-1])  # in rows with nan or infinity, of which the kernel makes numbers; 0 elsewhere
    return out.reshape(q.shape).add_(nan.unsqueeze(-1))


def attention_backward_in_parts(do, q, k, v, mask, kept, factor, causal, scale, needs):
    """The same as `attention_backward`, without the whole matrix."""
    shape = mask_shape(mask, q, k) if needs[3] else None
    fold = folded if needs[3] else folding(q, k)
    numbers, sees_no_key = in_numbers(mask, q.dtype)
    if sees_no_key is not None:
        do = do.masked_fill(sees_no_key, 0.0)
    tensors = (None if t is None else fold(t) for t in (do, q, k, v))
    masks = folded_mask(numbers, q, k, fold), None if kept is None else fold(kept)
    *gradients, dmask = attention_backward_by_rows(*tensors, *masks, factor, causal, scale, needs[:3], shape)
    gradients = [
        None if d is None else d.reshape(*t.shape[:-1], d.shape[-1]) for d, t in zip(gradients, (q, k, k), strict=True)
    ]
    if dmask is not None:
        if q.dim() > 4:
            dmask = dmask.reshape(*q.shape[:-1], k.shape[-2])
        dmask = dmask.sum_to_size(mask.shape) if dmask.dim() > 4 else dmask.reshape(mask.shape)
        dmask = dmask.to(mask.dtype)
    return *gradients, dmask


def seen_as_numbers(mask, dtype):
    """0 where a boolean mask is True, and −∞ elsewhere."""
    return torch.zeros_like(mask, dtype=dtype).masked_fill(mask.logical_not(), -math.inf)


def in_numbers(mask, dtype):
    """The mask as numbers that are added to S, with 0 in a row whose every key is masked; and these rows, (…, 1), or
    None where there are none: there O and its gradient are 0."""
    if mask is None:
        return None, None
    if mask.dtype is torch.bool:
        mask = seen_as_numbers(mask, dtype)
    sees_no_key = (mask == -math.inf).all(-1, keepdim=True)
    return (mask.masked_fill(sees_no_key, 0.0), sees_no_key) if sees_no_key.any() else (mask, None)


def fits_flash(q, k, v, causal, scale):
    """Whether torch's kernel for the CPU computes this. It is a third faster than `attention_by_rows`."""
    same = q.device.type == "cpu" and q.shape[-1] == v.shape[-1]
    same = same and (scale > 0 or not causal)  # it multiplies the −∞ of later keys by the scale
    return same and 0 not in q.shape and k.shape[-2] > 0 and all(t.stride(-1) == 1 for t in (q, k, v))


def attention_by_rows(q, k, v, mask, kept, factor, causal, scale):
    """O = P V with P = softmax(S) and S = scale Q Kᵀ + mask.

    With `kept`, the elements of P that dropout keeps, they are multiplied by `factor` = 1/(1 − p).
    """
    out = torch.empty_like(q) if q.shape[3] == v.shape[3] else q.new_empty(*q.shape[:3], v.shape[3])
    if 0 in (*out.shape, k.shape[2]):
        return out.zero_()
    dtype, group = torch.promote_types(q.dtype, torch.float32), q.shape[1] // k.shape[1]
    kept = as_numbers(kept)
    for heads, of_keys, rows, (memory, _) in parts(q, k, dtype):
        q_, k_, v_ = grouped(q, heads, group, dtype), of(k, of_keys, dtype), of(v, of_keys, dtype)
        for i in rows:
            j = slice(0, min(i.stop, k.shape[2]) if causal else k.shape[2])
            seen = None if mask is None else mask[heads][:, i, j]
            p = probabilities_of_rows(stacked(q_, i), k_[:, j], i, seen, causal, scale, memory)
            if kept is not None:
                by_head(p, i).mul_(kept[heads][:, i, j])
            o = torch.bmm(p, v_[:, j])
            out[heads][:, i] = by_head(o if kept is None else o.mul_(factor), i)
    return out


def attention_backward_by_rows(do, q, k, v, mask, kept, factor, causal, scale, needs, mask_shape):
    """dQ, dK, dV, each None where `needs` does not ask for it, and the mask's gradient, of four dimensions.

    `mask_shape` is (B or 1, Hq or 1, L or 1, S or 1), or None where the mask needs no gradient.

    dV = Pᵀ dO, dP = dO Vᵀ, D = Σ P∘dP, dS = P∘(dP − D), dQ = scale dS K, dK = scale dSᵀ Q.
    With dropout, both the P of dV and dP are multiplied by what it keeps and by `factor`.
    """
    dtype, group = torch.promote_types(q.dtype, torch.float32), q.shape[1] // max(k.shape[1], 1)
    needs_dq, needs_dk, needs_dv = needs
    needs_ds = needs_dq or needs_dk or mask_shape is not None
    dq, dk = zeros_for(q) if needs_dq else None, zeros_for(k) if needs_dk else None
    dv = zeros_for(k if v is None else v, do.shape[3]) if needs_dv else None
    dmask = None if mask_shape is None else q.new_zeros(mask_shape, dtype=dtype)
    kept = as_numbers(kept)
    for heads, of_keys, rows, memory in parts(q, k, dtype):
        q_, k_, do_ = grouped(q, heads, group, dtype), of(k, of_keys, dtype), grouped(do, heads, group, dtype)
        v_ = of(v, of_keys, dtype) if needs_ds else None
        # these are the gradients, or in lower precision sums in float32 for them
        dk_, dv_ = (None if t is None else of(t, of_keys, dtype) for t in (dk, dv))
        for i in rows:
            j = slice(0, min(i.stop, k.shape[2]) if causal else k.shape[2])
            q_i, do_i, k_j = stacked(q_, i), stacked(do_, i), k_[:, j]
            seen = None if mask is None else mask[heads][:, i, j]
            p = probabilities_of_rows(q_i, k_j, i, seen, causal, scale, memory[0])
            if needs_dv:
                dropped = p if kept is None else (by_head(p, i) * kept[heads][:, i, j]).view(p.shape)
                dv_[:, j].baddbmm_(dropped.mT, do_i, alpha=factor)
            if not needs_ds:
                continue
            ds = torch.bmm(do_i, v_[:, j].mT, out=block(memory[1], q_i, k_j))  # dP
            if kept is not None:
                by_head(ds.mul_(factor), i).mul_(kept[heads][:, i, j])
            ds.mul_(p)  # P∘dP
            ds.addcmul_(p, ds.sum(2, keepdim=True), value=-1)  # P∘dP − P∘D
            if needs_dq:
                dq[heads][:, i] = by_head(torch.bmm(ds, k_j).mul_(scale), i)
            if needs_dk:
                dk_[:, j].baddbmm_(ds.mT, q_i, alpha=scale)
            if dmask is not None:
                b, h = heads
                at = (slice(b, b + 1), h, i, j)
                place = tuple(slice(None) if size == 1 else a for a, size in zip(at, dmask.shape, strict=True))
                dmask[place] += by_head(ds, i).unsqueeze(0).sum_to_size(dmask[place].shape)
        if dtype is not q.dtype:
            for t, sums in ((dk, dk_), (dv, dv_)):
                if t is not None:
                    t[of_keys] = sums
    return dq, dk, dv, dmask


def probabilities_of_rows(q_i, k_j, i, mask, causal, scale, memory):
    """P of the rows i and the first keys, in this memory."""
    p = block(memory, q_i, k_j).baddbmm_(q_i, k_j.mT, beta=0, alpha=scale)
    if causal and k_j.shape[1] > i.start + 1:
        later = torch.ones(i.stop - i.start, k_j.shape[1] - i.start, dtype=torch.bool, device=p.device).triu_(1)
        by_head(p, i)[:, :, i.start :].masked_fill_(later, -math.inf)
    if mask is not None:
        by_head(p, i).add_(mask)
    return torch.softmax(p, 2, out=p)


def parts(q, k, dtype):
    """For some heads of one batch entry at a time: their place in q, that in k, the slices of rows that cut the scores
    into blocks, and memory for two blocks."""
    _, q_heads, length, _ = q.shape
    batch, heads, keys, _ = k.shape
    if 0 in (batch, heads, length, keys):
        return
    group = q_heads // heads
    cached = CACHED * torch.get_num_threads() if q.device.type == "cpu" else ON_DEVICE
    height = min(length, max(cached // keys, HEIGHT) // group or 1)
    count = min(heads, cached // (group * height * keys) or 1)
    memory = torch.empty(2, count * group * height * (keys + 16), dtype=dtype, device=q.device)
    rows = ranges(length, height)
    for b in range(batch):
        for h in ranges(heads, count):
            yield (b, slice(h.start * group, h.stop * group)), (b, h), rows, memory


def ranges(size, step):
    return [slice(start, min(start + step, size)) for start in range(0, size, step)]


def block(memory, q_i, k_j):
    """This memory as the scores of these queries and keys, (heads, rows, keys)."""
    heads, height, width = *q_i.shape[:2], k_j.shape[1]
    stride = padded(width)
    return memory[: heads * height * stride].view(heads, height, stride)[:, :, :width]


def padded(width):
    """The distance of rows in memory. At a multiple of 128 numbers a column falls into few places of the cache, and a
    product with the transposed block takes 1.4 times as long."""
    return width + 16 if width % 128 == 0 else width


def zeros_for(t, size=None):
    """Zeros with the strides of t, where rows of those strides can be the result of a matrix product; or with rows of
    another size."""
    if size in (None, t.shape[-1]):
        d = torch.zeros_like(t)
        if d.stride(-1) == 1 and 0 not in d.stride():
            return d
    return t.new_zeros(*t.shape[:-1], t.shape[-1] if size is None else size)


def as_numbers(kept):
    """The same bytes as 0 and 1: a product with them takes a quarter of the time of one with booleans."""
    return None if kept is None else kept.view(torch.uint8)


def of(t, place, dtype):
    """The part of t at this place, in this dtype, with rows that a matrix product takes as they are."""
    part = t[place].to(dtype)
    return part if part.stride(-1) == 1 and 0 not in part.stride() else part.contiguous()


def grouped(t, place, group, dtype):
    """The same of heads of q: (heads of k, G, rows, …)."""
    part = of(t, place, dtype)
    return part.unflatten(0, (part.shape[0] // group, group))


def stacked(t, rows):
    """These rows of the G heads under one another: (heads of k, G r, …)."""
    return t[:, 0, rows] if t.shape[1] == 1 else t[:, :, rows].flatten(1, 2)


def by_head(t, rows):
    """The inverse of `stacked`: (heads of q, r, …)."""
    height = rows.stop - rows.start
    return t.view(t.shape[0] * t.shape[1] // height, height, t.shape[2])
