"""Attention in blocks of queries and keys that fit into the processor's cache: no matrix of all queries by all keys.

Every tensor has four dimensions here: q (B, Hq, L, E), k (B, H, S, E), v (B, H, S, Ev), O (B, Hq, L, Ev); lse has
three, (B, Hq, L). Where they are there, mask and kept are (B, Hq, L, S), expanded. Hq is a multiple of H: G = Hq/H
heads of q share one head of k and v, and their rows are stacked, G r rows of queries for the same keys.
"""

import math

import torch

SQUARE = 256  # rows and columns of a block of scores of one head
CACHED = 2**17  # scores in a block of several heads, for each thread: two blocks in float32 are one megabyte
ON_DEVICE = 2**24  # an accelerator launches a kernel for each step, so its blocks are larger


def attention_in_blocks(q, k, v, mask, kept, factor, causal, scale):
    """O = softmax(S) V and lse = ln Σ exp(S), with S = scale Q Kᵀ + mask.

    Each row has a running maximum m of the scores, and with it running sums l = Σ exp(S − m) and o = Σ exp(S − m) V.
    With `kept`, the elements of softmax(S) that dropout keeps, they are multiplied by `factor` = 1/(1 − p) for V.
    """
    dtype = torch.promote_types(q.dtype, torch.float32)
    out = torch.empty_like(q) if q.shape[3] == v.shape[3] else q.new_empty(*q.shape[:3], v.shape[3])
    lse = q.new_empty(q.shape[:3], dtype=dtype)
    if k.shape[2] == 0:
        return out.zero_(), lse.zero_()
    kept = as_numbers(kept)
    for heads, of_keys, rows, columns, (scores, _) in parts(q, k, dtype):
        group = q.shape[1] // k.shape[1]
        q_, k_, v_ = grouped(q, heads, group, dtype), of(k, of_keys, dtype), of(v, of_keys, dtype)
        for i in rows:
            q_i = stacked(q_, i)
            m = q_i.new_full((*q_i.shape[:2], 1), -math.inf)
            l, o = torch.zeros_like(m), q_i.new_zeros(*q_i.shape[:2], v.shape[3])
            for j in columns:
                if causal and j.start >= i.stop:
                    break
                s = torch.bmm(q_i, k_[:, j].mT, out=scores(q_i, j)).mul_(scale)
                each = s.view(-1, i.stop - i.start, s.shape[2])  # the heads of q apart
                if causal and j.stop > i.start + 1:
                    above = torch.ones(each.shape[1:], dtype=torch.bool, device=s.device).triu_(i.start - j.start + 1)
                    each.masked_fill_(above, -math.inf)
                if mask is not None:
                    apply_mask_(each, mask[heads][:, i, j])
                highest = torch.maximum(m, s.amax(2, keepdim=True))
                shift = highest.masked_fill(highest == -math.inf, 0.0)  # where there is no key yet: exp(−∞ − 0) = 0
                s.sub_(shift).exp_()
                before = m.sub_(shift).exp_()  # what the sums so far are multiplied by
                l.mul_(before).add_(s.sum(2, keepdim=True))
                if kept is not None:
                    each.mul_(kept[heads][:, i, j])
                o.mul_(before).baddbmm_(s, v_[:, j])
                m = highest
            # of a row whose every key is masked O = 0, and lse = 0 so that exp(S − lse) = 0
            l.masked_fill_(l == 0, 1.0)
            out[heads][:, i] = o.mul_(factor / l).view(-1, i.stop - i.start, o.shape[2])
            lse[heads][:, i] = l.log_().add_(m.masked_fill_(m == -math.inf, 0.0)).view(-1, i.stop - i.start)
    return out, lse


def attention_backward_in_blocks(do, dlse, q, k, v, mask, kept, out, lse, factor, causal, scale, needs, mask_shape):
    """dQ, dK, dV, each None where `needs` does not ask for it, and the mask's gradient, of four dimensions.

    `dlse` may be None; `mask_shape` is (B or 1, Hq or 1, L or 1, S or 1), or None where the mask needs no gradient.

    P = exp(S − lse), dV = Pᵀ dO, dP = dO Vᵀ, D = Σ dO∘O − dlse, dS = P∘(dP − D), dQ = scale dS K, dK = scale dSᵀ Q.
    With dropout, both the P of dV and dP are multiplied by what it keeps and by `factor`.
    """
    dtype, group = lse.dtype, q.shape[1] // max(k.shape[1], 1)
    needs_dq, needs_dk, needs_dv = needs
    needs_ds = needs_dq or needs_dk or mask_shape is not None
    dq, dk = zeros_for(q) if needs_dq else None, zeros_for(k) if needs_dk else None
    dv = zeros_for(k if v is None else v, do.shape[3]) if needs_dv else None
    dmask = None if mask_shape is None else lse.new_zeros(mask_shape)
    kept = as_numbers(kept)
    for heads, of_keys, rows, columns, (probabilities, derivatives) in parts(q, k, dtype):
        q_, k_, do_ = grouped(q, heads, group, dtype), of(k, of_keys, dtype), grouped(do, heads, group, dtype)
        minus_lse = grouped(lse, heads, group, dtype).neg().unsqueeze(-1)
        if needs_ds:
            v_ = of(v, of_keys, dtype)
            minus_d = (do_ * grouped(out, heads, group, dtype)).sum(-1, keepdim=True).neg_()
            if dlse is not None:
                minus_d += grouped(dlse, heads, group, dtype).unsqueeze(-1)
        # these are the gradients, or in lower precision sums in float32 for them
        dq_ = of(dq, heads, dtype).unflatten(0, (-1, group)) if needs_dq else None
        dk_, dv_ = (None if t is None else of(t, of_keys, dtype) for t in (dk, dv))
        for j in columns:
            for i in rows:
                if causal and j.start >= i.stop:
                    continue
                q_i, do_i = stacked(q_, i), stacked(do_, i)
                p = torch.baddbmm(stacked(minus_lse, i), q_i, k_[:, j].mT, alpha=scale, out=probabilities(q_i, j))
                each = p.view(-1, i.stop - i.start, p.shape[2])  # the heads of q apart
                if mask is not None:
                    apply_mask_(each, mask[heads][:, i, j])
                p.exp_()
                if causal and j.stop > i.start + 1:
                    each.tril_(i.start - j.start)
                if needs_dv:
                    dropped = p if kept is None else (each * kept[heads][:, i, j]).view(p.shape)
                    dv_[:, j].baddbmm_(dropped.mT, do_i, alpha=factor)
                if not needs_ds:
                    continue
                ds = derivatives(q_i, j)
                if kept is None:
                    torch.baddbmm(stacked(minus_d, i), do_i, v_[:, j].mT, out=ds)  # dP − D
                else:
                    torch.bmm(do_i, v_[:, j].mT, out=ds).mul_(factor)
                    ds.view(each.shape).mul_(kept[heads][:, i, j])
                    ds += stacked(minus_d, i)
                ds *= p
                if needs_dq and group == 1:
                    dq_[:, 0, i].baddbmm_(ds, k_[:, j], alpha=scale)
                elif needs_dq:
                    dq_[:, :, i].add_(torch.bmm(ds, k_[:, j]).unflatten(1, (group, -1)), alpha=scale)
                if needs_dk:
                    dk_[:, j].baddbmm_(ds.mT, q_i, alpha=scale)
                if dmask is not None:
                    b, h = heads
                    at = (slice(b, b + 1), h, i, j)
                    place = tuple(slice(None) if size == 1 else a for a, size in zip(at, dmask.shape, strict=True))
                    dmask[place] += ds.view(1, *each.shape).sum_to_size(dmask[place].shape)
        if dtype is not q.dtype:
            for t, at, sums in ((dq, heads, dq_), (dk, of_keys, dk_), (dv, of_keys, dv_)):
                if t is not None:
                    t[at] = sums.view(t[at].shape)
    return dq, dk, dv, dmask


def parts(q, k, dtype):
    """For some heads of one batch entry at a time: their place in q, that in k, the slices of rows and of columns that
    cut the scores into blocks, and two functions of a block's queries and columns that give memory for its scores."""
    _, q_heads, length, _ = q.shape
    batch, heads, keys, _ = k.shape
    if 0 in (batch, heads, length, keys):
        return
    group = q_heads // heads
    square, cached = (SQUARE, CACHED * torch.get_num_threads()) if q.device.type == "cpu" else (2048, ON_DEVICE)
    height = min(length, max(square // group, 1))
    width = min(keys, max(square, square * square // (group * height)))
    height = min(length, max(height, square * square // (group * width)))
    count = min(heads, max(cached // (group * height * width), 1))
    memory = torch.empty(2, count * group * height * width, dtype=dtype, device=q.device)

    def block(number):
        def scores(q_i, j):
            shape = *q_i.shape[:2], j.stop - j.start
            return memory[number, : math.prod(shape)].view(shape)

        return scores

    blocks, rows, columns = (block(0), block(1)), ranges(length, height), ranges(keys, width)
    for b in range(batch):
        for h in ranges(heads, count):
            yield (b, slice(h.start * group, h.stop * group)), (b, h), rows, columns, blocks


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


def ranges(size, step):
    return [slice(start, min(start + step, size)) for start in range(0, size, step)]


def of(t, place, dtype):
    """The part of t at this place, in this dtype, with rows that a matrix product takes as they are."""
    part = t[place].to(dtype)
    return part if part.stride(-1) == 1 and 0 not in part.stride() else part.contiguous()


def grouped(t, place, group, dtype):
    """The same of heads of q: (heads of k, G, rows, …)."""
    return of(t, place, dtype).unflatten(0, (-1, group))


def stacked(t, rows):
    """These rows of the G heads under one another: (heads of k, G r, …)."""
    return t[:, 0, rows] if t.shape[1] == 1 else t[:, :, rows].flatten(1, 2)


def apply_mask_(scores, mask):
    """S + mask in place, or −∞ where a boolean mask is False."""
    if mask.dtype is torch.bool:
        scores.masked_fill_(mask.logical_not(), -math.inf)
    else:
        scores += mask
